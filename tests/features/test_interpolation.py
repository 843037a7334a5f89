import numpy as np
import pytest
import torch

from patchshift.features.interpolation import interpolation_matrix


@pytest.mark.parametrize(("source", "target"), [(1, 3), (2, 7), (7, 14), (14, 224), (224, 50), (9, 9)])
def test_the_matrix_interpolates_as_torch_does_between_half_pixel_centres(source: int, target: int) -> None:
    unit = torch.eye(source, dtype=torch.float64)[:, None]
    expected = torch.nn.functional.interpolate(unit, size=target, mode="linear", align_corners=False)[:, 0].T
    np.testing.assert_allclose(interpolation_matrix(source, target), expected, atol=1e-12)


def test_weights_of_every_target_add_up_to_one() -> None:
    np.testing.assert_allclose(interpolation_matrix(5, 33).sum(axis=1), 1, rtol=1e-15)
