import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from patchshift.errors import UserError
from patchshift.features.scattering import ScatteringTransform, averaging_matrix, morlet_bank
from patchshift.plan.backbone_specs import ScatteringSpec

SMALL = ScatteringSpec(source="scattering", image_size=64)


def scatter(spec: ScatteringSpec, images: torch.Tensor) -> dict[str, torch.Tensor]:
    with torch.inference_mode():
        return dict(ScatteringTransform(spec)(images))


def random_images(count: int, size: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("octaves", "orientations", "stride"), [(4, 4, 8), (3, 6, 8), (2, 3, 2), (4, 2, 4), (2, 1, 16), (4, 8, 8)]
)
def test_layers_have_the_channels_and_resolution_of_the_spec(octaves: int, orientations: int, stride: int) -> None:
    spec = ScatteringSpec(
        source="scattering", image_size=128, octaves=octaves, orientations=orientations, stride=stride
    )
    maps = scatter(spec, random_images(2, 128))
    assert list(maps) == spec.layers
    channels = (3, octaves * orientations, orientations**2 * octaves * (octaves - 1) // 2)
    for values, count in zip(maps.values(), channels, strict=True):
        assert values.shape == (2, count, 128 // stride, 128 // stride)
        assert values.dtype == torch.float32
        assert values.isfinite().all()
        assert (values >= 0).all()


@given(scale=st.sampled_from([1, 2, 4]), orientations=st.integers(1, 8), step=st.sampled_from([1, 2, 4]))
@settings(deadline=None, max_examples=20)
def test_wavelets_have_zero_mean(scale: float, orientations: int, step: int) -> None:
    bank = morlet_bank(scale, orientations, step)
    assert bank.shape[0] == 2 * orientations
    assert (bank.shape[-1] - step) % 2 == 0
    assert bank.sum((-2, -1)).abs().max() < 1e-5


@given(size=st.sampled_from([16, 32, 64]), step=st.sampled_from([1, 2, 4, 8]))
@settings(deadline=None)
def test_averages_keep_constants_and_total_intensity(size: int, step: int) -> None:
    matrix = averaging_matrix(size, step)
    assert matrix.shape == (size // step, size)
    assert torch.allclose(matrix.sum(1), torch.ones(size // step), atol=1e-5)
    signal = torch.rand(size)
    assert (matrix @ signal).mean().item() == pytest.approx(signal.mean().item(), rel=0.1)


def test_transform_equals_its_definition_by_direct_summation() -> None:
    """One path of each order, summed sample by sample with the wavelets' formula."""
    size, stride, xi, sigma = 32, 4, 3 * np.pi / 4, 0.8
    spec = ScatteringSpec(source="scattering", image_size=size, octaves=2, orientations=4, stride=stride)
    images = random_images(1, size)
    maps = scatter(spec, images)

    def respond(signal: np.ndarray, scale: float, angle: float, step: int) -> np.ndarray:
        radius = int(np.ceil(3 * sigma * scale))
        offsets = np.arange(-radius, radius + 1.0) if step == 1 else np.arange(-radius, radius) + 0.5
        out = np.zeros((len(signal) // step,) * 2, complex)
        envelope = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * (sigma * scale) ** 2))
        wave = np.exp(1j * xi / scale * (offsets[None] * np.cos(angle) + offsets[:, None] * np.sin(angle)))
        wavelet = envelope / envelope.sum() * (wave - (envelope * wave).sum() / envelope.sum())
        for row, column in np.ndindex(out.shape):
            rows = np.rint((row + 0.5) * step - 0.5 + offsets).astype(int) % len(signal)
            columns = np.rint((column + 0.5) * step - 0.5 + offsets).astype(int) % len(signal)
            out[row, column] = (signal[np.ix_(rows, columns)] * wavelet).sum()
        return np.abs(out)

    luminance = images[0].mean(0).double().numpy() * 255
    first = respond(luminance, 1, np.pi / 4, 1)
    second = respond(first, 2, np.pi / 2, 2)
    for values, layer, channel, step in ((first, "first_order", 1, 1), (second, "second_order", 1 * 4 + 2, 2)):
        matrix = averaging_matrix(len(values), stride // step).double().numpy()
        expected = matrix @ values @ matrix.T
        np.testing.assert_allclose(maps[layer][0, channel].numpy(), expected, rtol=1e-3, atol=1e-3)


def test_constant_images_have_their_colour_and_no_texture() -> None:
    colour = torch.tensor([0.2, 0.5, 1.0])
    maps = scatter(SMALL, colour.view(1, 3, 1, 1).expand(1, 3, 64, 64))
    assert torch.allclose(maps["colour"][0, :, 3, 3], colour * 255, rtol=1e-5)
    assert maps["first_order"].max() < 1e-3
    assert maps["second_order"].max() < 1e-3


@pytest.mark.parametrize("orientation", range(4))
def test_waves_excite_the_wavelet_of_their_frequency_and_angle(orientation: int) -> None:
    octave, angle = 1, np.pi * orientation / 4
    y, x = np.mgrid[:64, :64]
    wave = 0.5 + 0.4 * np.cos(3 * np.pi / 4 / 2**octave * (x * np.cos(angle) + y * np.sin(angle)))
    image = torch.from_numpy(wave).float().expand(1, 3, 64, 64)
    centre = scatter(SMALL, image)["first_order"][0, :, 2:-2, 2:-2].mean((1, 2))
    assert centre.argmax() == octave * 4 + orientation


def test_shifted_images_have_shifted_maps() -> None:
    images = random_images(1, 64)
    maps, moved = scatter(SMALL, images), scatter(SMALL, images.roll((8, -16), (2, 3)))
    for layer, values in maps.items():
        assert torch.allclose(values.roll((1, -2), (2, 3)), moved[layer], rtol=1e-4, atol=1e-3)


def test_mirrored_images_have_mirrored_maps_so_samples_are_centred() -> None:
    images = random_images(1, 64)
    maps, mirrored = scatter(SMALL, images), scatter(SMALL, images.flip(3))
    angles = [0, 3, 2, 1]  # angle a becomes pi - a
    expected = {
        "colour": maps["colour"],
        "first_order": maps["first_order"].unflatten(1, (4, 4))[:, :, angles].flatten(1, 2),
        "second_order": maps["second_order"].unflatten(1, (6, 4, 4))[:, :, angles][:, :, :, angles].flatten(1, 3),
    }
    for layer, values in expected.items():
        assert torch.allclose(values.flip(3), mirrored[layer], rtol=1e-4, atol=1e-3)


def test_an_image_is_not_touched_by_its_batch() -> None:
    images = random_images(3, 64)
    together = scatter(SMALL, images)
    for position, (layer, values) in itertools.product(range(3), together.items()):
        assert torch.equal(values[position], scatter(SMALL, images[position : position + 1])[layer][0])


def test_float16_holds_the_coefficients_of_extreme_images() -> None:
    board = (torch.arange(64)[:, None] + torch.arange(64)[None]) % 2
    for image in (board, torch.ones(64, 64)):
        for values in scatter(SMALL, image.float().expand(1, 3, 64, 64)).values():
            assert values.half().isfinite().all()


@pytest.mark.parametrize("size", [(64, 128), (128, 64)])
def test_rectangles_of_repeated_squares_have_repeated_maps(size: tuple[int, int]) -> None:
    """Images are continued periodically, so a square and two of it side by side are the same signal."""
    square = random_images(2, 64)
    repeats = (1, 1, size[0] // 64, size[1] // 64)
    spec = ScatteringSpec(source="scattering", image_size=size)
    expected, maps = scatter(SMALL, square), scatter(spec, square.repeat(repeats))
    for layer, values in expected.items():
        torch.testing.assert_close(maps[layer], values.repeat(repeats), rtol=1e-4, atol=1e-3)


def test_turned_rectangles_have_turned_colours_and_rows_stay_rows() -> None:
    images = torch.rand(1, 3, 64, 96)
    upright = scatter(ScatteringSpec(source="scattering", image_size=(64, 96)), images)
    turned = scatter(ScatteringSpec(source="scattering", image_size=(96, 64)), images.mT)
    assert {layer: values.shape[2:] for layer, values in upright.items()} == dict.fromkeys(upright, (8, 12))
    torch.testing.assert_close(turned["colour"].mT, upright["colour"], rtol=1e-4, atol=1e-3)
    angles = [2, 1, 0, 3]  # of a turned image: angle a becomes pi / 2 - a
    first_order = turned["first_order"].mT.unflatten(1, (4, 4))[:, :, angles].flatten(1, 2)
    torch.testing.assert_close(first_order, upright["first_order"], rtol=1e-4, atol=1e-3)


def test_all_constants_move_with_the_module() -> None:
    maps = ScatteringTransform(SMALL).to("meta")(torch.rand(1, 3, 64, 64, device="meta"))
    assert {values.device.type for values in maps.values()} == {"meta"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_neither_overflows_nor_changes_much(dtype: torch.dtype) -> None:
    board = (torch.arange(64)[:, None] + torch.arange(64)[None]) % 2
    images = torch.cat([random_images(1, 64), board.float().expand(1, 3, 64, 64)])
    exact = scatter(SMALL, images)
    with torch.autocast("cpu", dtype=dtype):
        rounded = scatter(SMALL, images)
    for layer, values in exact.items():
        assert rounded[layer].isfinite().all()
        torch.testing.assert_close(rounded[layer].float(), values, rtol=0.05, atol=0.01 * values.max().item())


@pytest.mark.parametrize(("size", "pixels"), [(32, "32 x 32"), ((32, 256), "32 x 256"), ((256, 32), "256 x 32")])
def test_wavelets_wider_than_the_image_are_refused(size: int | tuple[int, int], pixels: str) -> None:
    spec = ScatteringSpec(source="scattering", image_size=size, octaves=5)
    with pytest.raises(UserError, match=f"wider than an image of {pixels} pixels"):
        ScatteringTransform(spec)
