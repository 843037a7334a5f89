"""From patch-resolution maps to masks' resolution: the protocol's upsampling and smoothing.

Tested in tests/evaluation/test_anomaly_maps.py.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from patchshift.features.interpolation import interpolation_matrix

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


def upsample_map(patch_map: Float32, input_size: tuple[int, int], mask_size: tuple[int, int], sigma: float) -> Float32:
    """Bilinear to the network's input size, Gaussian smoothing there, bilinear to the mask's own size.

    All three steps are linear and separable, so they are one matrix for the rows and one for the columns.

    Args:
        patch_map: [h, w] anomaly scores per patch.
        input_size: (height, width) of the network input in pixels.
        mask_size: (height, width) of the mask in pixels.
        sigma: standard deviation of the smoothing in pixels at input size; 0 for none. The image is mirrored at its
            border (the border pixel twice) and the kernel is cut at 4 sigma.

    Returns:
        [height, width] of the mask, float32.
    """
    rows = _axis_operator(patch_map.shape[0], input_size[0], mask_size[0], sigma)
    columns = _axis_operator(patch_map.shape[1], input_size[1], mask_size[1], sigma)
    # in double precision, so that a constant map stays constant and equal patches keep tying
    return (rows @ patch_map.astype(np.float64) @ columns.T).astype(np.float32)


@lru_cache(maxsize=128)
def _axis_operator(patches: int, input_length: int, mask_length: int, sigma: float) -> Float64:
    """[mask_length, patches]: what the three steps do along one axis."""
    operator = interpolation_matrix(patches, input_length)
    if sigma > 0:
        operator = gaussian_filter1d(operator, sigma, axis=0, mode="reflect", truncate=4.0)
    operator = interpolation_matrix(input_length, mask_length) @ operator
    operator.setflags(write=False)
    return operator
