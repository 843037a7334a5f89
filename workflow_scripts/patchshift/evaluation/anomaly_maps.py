"""From patch-resolution maps to masks' resolution: the protocol's upsampling and smoothing.

Tested in tests/evaluation/test_anomaly_maps.py.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from patchshift.features.interpolation import interpolation_matrix
from patchshift.plan.score_specs import AnomalyMapSpec

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

BORDERS = {"symmetric": "reflect", "mirror": "mirror"}
"""What scipy calls the ways on which a map goes on beyond its border."""


def upsample_map(
    patch_map: Float32,
    input_size: tuple[int, int],
    mask_size: tuple[int, int],
    sigma: float,
    anomaly_map: AnomalyMapSpec | None = None,
) -> Float32:
    """Bilinear to the network's input size, Gaussian smoothing there, bilinear to the mask's own size.

    All three steps are linear and separable, so they are one matrix for the rows and one for the columns.

    Args:
        patch_map: [h, w] anomaly scores per patch.
        input_size: (height, width) of the network input in pixels.
        mask_size: (height, width) of the mask in pixels.
        sigma: standard deviation of the smoothing in pixels at input size; 0 for none. The kernel is cut at 4 sigma.
        anomaly_map: the first step, if it is not bilinear, and how the image goes on beyond its border, if it is not
            mirrored with the border pixel twice; None: as the protocol has it.

    Returns:
        [height, width] of the mask, float32.
    """
    anomaly_map = anomaly_map or AnomalyMapSpec()
    rows, columns = (
        _axis_operator(patch_map.shape[axis], input_size[axis], mask_size[axis], sigma, anomaly_map) for axis in (0, 1)
    )
    # in double precision, so that a constant map stays constant and equal patches keep tying
    return (rows @ patch_map.astype(np.float64) @ columns.T).astype(np.float32)


@lru_cache(maxsize=128)
def _axis_operator(
    patches: int, input_length: int, mask_length: int, sigma: float, anomaly_map: AnomalyMapSpec
) -> Float64:
    """[mask_length, patches]: what the three steps do along one axis."""
    enlarge = interpolation_matrix if anomaly_map.upsampling == "bilinear" else _nearest_matrix
    operator = enlarge(patches, input_length)
    if sigma > 0:
        from scipy.ndimage import gaussian_filter1d  # slow to import

        border = BORDERS[anomaly_map.border]
        operator = gaussian_filter1d(operator, sigma, axis=0, mode=border, truncate=4.0)
    operator = interpolation_matrix(input_length, mask_length) @ operator
    operator.setflags(write=False)
    return operator


def _nearest_matrix(source: int, target: int) -> Float64:
    """[target, source] choice of one number each, as torch's `interpolate(mode="nearest")`, in single precision."""
    position = np.arange(target, dtype=np.float32) * np.float32(source / target)
    chosen = np.minimum(position.astype(np.int64), source - 1)
    matrix = np.zeros((target, source))
    matrix[np.arange(target), chosen] = 1
    return matrix
