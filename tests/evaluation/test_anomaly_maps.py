import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from patchshift.evaluation.anomaly_maps import upsample_map
from patchshift.plan.score_specs import AnomalyMapSpec


def torch_bilinear(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    tensor = torch.from_numpy(values.astype(np.float64))[None, None]
    return torch.nn.functional.interpolate(tensor, size=size, mode="bilinear", align_corners=False)[0, 0].numpy()


def random_map(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).normal(size=(height, width)).astype(np.float32)


@pytest.mark.parametrize("mask_size", [(56, 40), (113, 301), (20, 33)])
def test_upsampling_equals_its_three_steps(mask_size: tuple[int, int]) -> None:
    patch_map = random_map(7, 5)
    smooth = gaussian_filter(torch_bilinear(patch_map, (56, 40)), 4.0, mode="reflect", truncate=4.0)
    expected = torch_bilinear(smooth, mask_size)
    result = upsample_map(patch_map, (56, 40), mask_size, 4.0)
    assert result.dtype == np.float32
    assert result.shape == mask_size
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-6)


def test_upsampling_without_smoothing_is_bilinear() -> None:
    patch_map = random_map(6, 9)
    np.testing.assert_allclose(
        upsample_map(patch_map, (48, 72), (48, 72), 0.0), torch_bilinear(patch_map, (48, 72)), rtol=0, atol=1e-6
    )


def test_a_map_at_its_own_size_is_unchanged() -> None:
    patch_map = random_map(6, 9)
    np.testing.assert_array_equal(upsample_map(patch_map, (6, 9), (6, 9), 0.0), patch_map)


def test_a_constant_map_stays_constant() -> None:
    result = upsample_map(np.full((28, 28), 0.3, np.float32), (224, 224), (371, 263), 4.0)
    assert np.unique(result).tolist() == [np.float32(0.3)]


def test_a_single_patch_fills_the_mask() -> None:
    assert (upsample_map(np.ones((1, 1), np.float32), (32, 32), (5, 7), 4.0) == 1).all()


def torch_nearest(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    tensor = torch.from_numpy(values.astype(np.float64))[None, None]
    return torch.nn.functional.interpolate(tensor, size=size, mode="nearest")[0, 0].numpy()


@pytest.mark.parametrize("input_size", [(56, 40), (50, 33), (7, 5), (226, 301)])
@pytest.mark.parametrize("border", ["symmetric", "mirror"])
def test_nearest_upsampling_and_either_border_equal_their_steps(input_size: tuple[int, int], border: str) -> None:
    patch_map = random_map(7, 5)
    spec = AnomalyMapSpec.model_validate({"upsampling": "nearest", "border": border})
    large = torch_nearest(patch_map, input_size)
    np.testing.assert_array_equal(upsample_map(patch_map, input_size, input_size, 0.0, spec), large.astype(np.float32))
    smooth = gaussian_filter(large, 1.5, mode="mirror" if border == "mirror" else "reflect", truncate=4.0)
    result = upsample_map(patch_map, input_size, (20, 33), 1.5, spec)
    np.testing.assert_allclose(result, torch_bilinear(smooth, (20, 33)), rtol=0, atol=1e-6)


def test_the_border_alone_changes_what_lies_near_it() -> None:
    patch_map = random_map(28, 28)
    ours = upsample_map(patch_map, (224, 224), (224, 224), 4.0)
    mirrored = upsample_map(patch_map, (224, 224), (224, 224), 4.0, AnomalyMapSpec(border="mirror"))
    difference = np.abs(ours - mirrored)
    assert difference.max() > 1e-3
    assert difference[16:-16, 16:-16].max() <= 1e-6


def test_the_protocol_is_what_nothing_else_is_said_of() -> None:
    patch_map = random_map(7, 5)
    arguments = (patch_map, (56, 40), (20, 33), 4.0)
    np.testing.assert_array_equal(upsample_map(*arguments), upsample_map(*arguments, AnomalyMapSpec()))
