"""Where one piece lies under the camera. Tested in tests/data/test_demo.py."""

import cmath
from dataclasses import dataclass

import numpy as np

from patchshift.data.demo.canvas import Canvas, FloatArray, rotate


@dataclass(frozen=True)
class Pose:
    """Centre (x + iy) in units from the image's centre, angle in radians, scale."""

    centre: complex
    angle: float
    scale: float

    @staticmethod
    def draw(rng: np.random.Generator, *, shift: float, turn: float, scale: float) -> "Pose":
        """A pose near the nominal one; standard deviations in units, degrees and 1."""
        x, y, angle, size = rng.normal(0, [shift, shift, np.deg2rad(turn), scale])
        return Pose(complex(x, y), float(angle), float(1 + size))

    def frame(self, canvas: Canvas) -> tuple[FloatArray, FloatArray]:
        """The piece's own coordinates of all grid points."""
        x, y = canvas.grid()
        x, y = (x - np.float32(self.centre.real)), (y - np.float32(self.centre.imag))
        return rotate(x / np.float32(self.scale), y / np.float32(self.scale), self.angle)

    def to_image(self, point: complex) -> tuple[float, float]:
        """Image coordinates of a point x + iy of the piece."""
        image = self.centre + self.scale * point * cmath.exp(1j * self.angle)
        return image.real, image.imag

    def direction(self, x: float, y: float) -> tuple[float, float]:
        """An image direction in the piece's own coordinates."""
        turned = complex(x, y) * cmath.exp(-1j * self.angle)
        return turned.real, turned.imag
