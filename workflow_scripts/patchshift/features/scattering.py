"""Two-order wavelet scattering: a feature extractor without learned weights.

A scattering transform convolves the image with oriented wavelets, takes the modulus, and repeats that once more on
the result; every map is then averaged locally (Mallat 2012, "Group invariant scattering"; Bruna & Mallat 2013,
"Invariant scattering convolution networks"). Wavelet moduli carry few high frequencies, so each is computed at the
resolution its wavelet's scale allows, and not finer. docs/design/003-scattering.md has the choices made here.

Tested in tests/features/test_scattering.py; measured in benchmarks/extraction.py.
"""

import itertools
import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from patchshift.errors import UserError
from patchshift.plan.backbone_specs import ScatteringSpec

CENTRE_FREQUENCY = 3 * math.pi / 4
"""Of the finest wavelet, in radians per pixel; the customary choice for Morlet scattering."""

ENVELOPE = 0.8
"""Standard deviation of the finest wavelet's Gaussian envelope, in pixels; customary likewise."""

SUPPORT = 3.0
"""Filters are cut at this many standard deviations of their Gaussian."""

INTENSITY = 255.0
"""Images count as 0 .. 255: float16 then keeps full relative precision of all but vanishing coefficients."""

AXES = ("down", "across")
"""The averaging matrices of the rows' axis and of the columns' axis."""


class ScatteringTransform(nn.Module):
    """Scattering coefficients of orders zero (colours), one and two; see `build_backbone` for the contract.

    With J octaves, L orientations and an image of H x W pixels, layers have H / stride rows and W / stride columns, and

    - `colour`: 3 channels, the locally averaged image;
    - `first_order`: J L channels, octave by octave, the averaged moduli of the luminance's wavelet responses;
    - `second_order`: L^2 J (J - 1) / 2 channels, for each octave and each coarser one, L x L pairs of angles.

    All are nonnegative and in units of the image, which counts as 0 .. 255. Sample (i, j) of a layer is centred on
    the pixels it stands for; the image is continued periodically at its borders.

    Raises:
        UserError: if the coarsest wavelet is wider than the image.
    """

    def __init__(self, spec: ScatteringSpec) -> None:
        super().__init__()
        self.steps = [min(2**octave, spec.stride) for octave in range(spec.octaves)]  # pixels per sample of the moduli
        for octave, step in enumerate(self.steps):
            for step_before in {1, *self.steps[:octave]}:
                bank = morlet_bank(2**octave / step_before, spec.orientations, step // step_before)
                if bank.shape[-1] > min(spec.input_size) // step_before:
                    height, width = spec.input_size
                    raise UserError(
                        f"scattering: wavelets of {spec.octaves} octaves are wider than an image of {height} x {width} "
                        "pixels: set fewer octaves, fewer orientations or a larger image_size"
                    )
                self.register_buffer(f"wavelets_{octave}_{step_before}", bank)
        for step, (axis, side) in itertools.product({1, *self.steps}, zip(AXES, spec.input_size, strict=True)):
            self.register_buffer(f"{axis}_{step}", averaging_matrix(side // step, spec.stride // step))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Images [B, 3, H, W] in [0, 1] -> layer name -> [B, C, H / stride, W / stride]."""
        # One image at a time: its maps stay in the cache (twice as fast), and no other image can touch its result.
        scattered = [self._scatter(image) for image in images.contiguous() * INTENSITY]
        return {layer: torch.stack([maps[layer] for maps in scattered]) for layer in scattered[0]}

    def _scatter(self, image: Tensor) -> dict[str, Tensor]:
        luminance = image.mean(0, keepdim=True)
        first_order, second_order = [], []
        for octave, step in enumerate(self.steps):
            first = self._modulus(luminance, octave, 1)
            first_order.append(self._average(first, step))
            # A modulus varies no faster than its wavelet's envelope: finer wavelets would find nothing in it.
            for coarser in range(octave + 1, len(self.steps)):
                second = self._modulus(first, coarser, step)
                second_order.append(self._average(second, self.steps[coarser]))
        return {
            "colour": self._average(image, 1),
            "first_order": torch.cat(first_order),
            "second_order": torch.cat(second_order),
        }

    def _modulus(self, maps: Tensor, octave: int, step: int) -> Tensor:
        """Moduli of each map's responses to an octave's wavelets, at the octave's own resolution.

        Args:
            maps: [C, n, m], `step` pixels a sample.
            octave: whose wavelets.
            step: pixels a sample; the octave's own is a multiple of it.

        Returns:
            [C L, n step / s, m step / s] with s the octave's own step.
        """
        wavelets = self.get_buffer(f"wavelets_{octave}_{step}")
        stride = self.steps[octave] // step
        margin = (wavelets.shape[-1] - stride) // 2
        periodic = functional.pad(maps[:, None], (margin,) * 4, mode="circular")
        # Squares of responses to an image of 0 .. 255 do not fit into float16, which autocast may compute them in.
        responses = functional.conv2d(periodic, wavelets, stride=stride).float()
        real, imaginary = responses.square_().chunk(2, dim=1)
        return (real + imaginary).sqrt_().flatten(0, 1)

    def _average(self, maps: Tensor, step: int) -> Tensor:
        """Local averages of maps [C, n, m] with `step` pixels per sample: [C, H / stride, W / stride]."""
        down, across = (self.get_buffer(f"{axis}_{step}") for axis in AXES)
        return down @ (maps @ across.T)


def morlet_bank(scale: float, orientations: int, step: int) -> Tensor:
    """Sampled Morlet wavelets at evenly spaced angles in [0, pi), as real convolution kernels.

    A Morlet wavelet is a Gaussian envelope times a complex wave, minus the share of the envelope that makes its mean
    zero (Bruna & Mallat 2013). With more than four orientations the envelope is longer across the wave vector,
    which sharpens the choice of angles.

    Args:
        scale: dilation in samples; 1 is the finest wavelet.
        orientations: how many angles, L.
        step: the convolution's stride; kernels are centred on the middle of `step` samples.

    Returns:
        [2 L, 1, K, K] float32: the L real parts, then the L imaginary parts; K - step is even.
    """
    along = ENVELOPE * scale
    across = along * max(orientations / 4, 1)
    y, x = np.meshgrid(*[_offsets(across, step)] * 2, indexing="ij")
    wavelets = []
    for angle in np.pi * np.arange(orientations) / orientations:
        u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        envelope = np.exp(-0.5 * ((u / along) ** 2 + (v / across) ** 2))
        envelope /= envelope.sum()
        wave = envelope * np.exp(1j * CENTRE_FREQUENCY / scale * u)
        wavelets.append(wave - wave.sum() * envelope)
    bank = np.stack(wavelets)
    return torch.from_numpy(np.concatenate([bank.real, bank.imag])[:, None].astype(np.float32))


def averaging_matrix(size: int, step: int) -> Tensor:
    """Periodic Gaussian averaging of a signal and subsampling, as a matrix.

    Args:
        size: samples in; a multiple of `step`.
        step: samples in per sample out; the Gaussian's standard deviation is `ENVELOPE * step`.

    Returns:
        [size / step, size] float32; rows sum to one, and each is centred on the samples its output stands for.
    """
    offsets = _offsets(ENVELOPE * step, step)
    weights = np.exp(-0.5 * (offsets / (ENVELOPE * step)) ** 2)
    matrix = np.zeros((size // step, size))
    for row in range(size // step):
        centre = (row + 0.5) * step - 0.5
        np.add.at(matrix[row], np.rint(centre + offsets).astype(int) % size, weights / weights.sum())
    return torch.from_numpy(matrix.astype(np.float32))


def _offsets(deviation: float, step: int) -> npt.NDArray[np.float64]:
    """Sample positions, relative to the middle of `step` samples, that cover a Gaussian's support."""
    half = step % 2 / 2 + math.ceil(SUPPORT * deviation)
    return np.arange(0.5 - half, half)
