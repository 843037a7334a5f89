"""From a surface to a photograph: shading under one lamp, lens and sensor.

Tested in tests/data/test_demo.py.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from patchshift.data.demo.canvas import SUPERSAMPLING, Canvas, FloatArray

GLOSS_SHARPNESS = 70.0
ELECTRONS = 9000.0  # full well of the simulated sensor: sets the shot noise
READ_NOISE = 0.0035


@dataclass(frozen=True)
class Surface:
    """What the camera looks at.

    height: float32 [F, F], units above the table.
    albedo: float32 [3, F, F], share of the light reflected diffusely, RGB.
    gloss: float32 [F, F] or [1, 1], strength of the mirror-like highlight.
    shadow: float32 [F, F] or [1, 1], share of the lamp's light that arrives.
    """

    height: FloatArray
    albedo: FloatArray
    gloss: FloatArray
    shadow: FloatArray


@dataclass(frozen=True)
class Light:
    """One distant lamp and the surrounding light."""

    azimuth: float  # radians, direction in the image that the light comes from
    elevation: float  # radians above the table
    strength: float
    ambient: float
    tint: tuple[float, float, float]
    gradient: tuple[float, float]  # relative change of brightness over the image, along x and y

    @staticmethod
    def draw(rng: np.random.Generator, azimuth: float, elevation: float) -> "Light":
        """Natural variation about a station's nominal lamp, angles in degrees."""
        warmth = rng.normal(0, 0.007)
        return Light(
            azimuth=np.deg2rad(azimuth + rng.normal(0, 5)),
            elevation=np.deg2rad(elevation + rng.normal(0, 2)),
            strength=float(rng.uniform(0.93, 1.06)),
            ambient=float(rng.uniform(0.22, 0.28)),
            tint=(1 + warmth, 1.0, 1 - warmth),
            gradient=(float(rng.normal(0, 0.05)), float(rng.normal(0, 0.05))),
        )

    def offset(self, height: float) -> tuple[float, float]:
        """Where the shadow of a point `height` units above the table falls, relative to the point."""
        reach = height / np.tan(self.elevation)
        return -float(np.cos(self.azimuth) * reach), -float(np.sin(self.azimuth) * reach)


def shade(canvas: Canvas, surface: Surface, light: Light) -> FloatArray:
    """Noise-free exposure: float32 [3, H, W], linear, 1 = white.

    Lambert shading and a Blinn-Phong highlight on the normals of the height field; hollows get less ambient light.
    """
    height = surface.height
    slope_y, slope_x = _slopes(height, canvas.spacing)
    inverse = 1 / np.sqrt(1 + slope_x * slope_x + slope_y * slope_y)
    lamp = np.array(
        [
            np.cos(light.elevation) * np.cos(light.azimuth),
            np.cos(light.elevation) * np.sin(light.azimuth),
            np.sin(light.elevation),
        ],
        dtype=np.float32,
    )
    half = lamp + np.array([0, 0, 1], dtype=np.float32)
    half /= np.sqrt((half * half).sum())
    diffuse = ((lamp[2] - lamp[0] * slope_x - lamp[1] * slope_y) * inverse).clip(0) / lamp[2]
    facing = (half[2] - half[0] * slope_x - half[1] * slope_y) * inverse
    highlight = surface.gloss * np.exp((facing - 1) * np.float32(GLOSS_SHARPNESS))
    openness = (1 - 0.09 * (canvas.low_pass(height, 4) - height)).clip(0.35, 1.15)
    direct = surface.shadow * np.float32(light.strength)
    x, y = canvas.grid()
    field = 1 + (light.gradient[0] * x + light.gradient[1] * y) / 256
    shading = (direct * diffuse * (1 - light.ambient) + light.ambient * openness) * field
    glare = direct * highlight * field
    linear = np.stack([(surface.albedo[c] * shading + glare) * np.float32(light.tint[c]) for c in range(3)])
    steps = range(SUPERSAMPLING)
    parts = [linear[:, row::SUPERSAMPLING, column::SUPERSAMPLING] for row in steps for column in steps]
    return np.asarray(sum(parts[1:], start=parts[0]) / np.float32(len(parts)))


def _slopes(height: FloatArray, spacing: float) -> tuple[FloatArray, FloatArray]:
    padded = np.pad(height, 1, mode="edge")
    scale = np.float32(0.5 / spacing)
    return (padded[2:, 1:-1] - padded[:-2, 1:-1]) * scale, (padded[1:-1, 2:] - padded[1:-1, :-2]) * scale


@dataclass(frozen=True)
class Lens:
    """How sharp and how bright one photograph is."""

    blur: float  # standard deviation, units
    vignette: float  # loss of brightness at the corners

    @staticmethod
    def draw(rng: np.random.Generator) -> "Lens":
        """Natural variation: slightly different focus from image to image."""
        return Lens(blur=float(rng.uniform(0.32, 0.58)), vignette=float(rng.uniform(0.06, 0.12)))


def focus(canvas: Canvas, linear: FloatArray, lens: Lens) -> FloatArray:
    """Defocus and vignette: float32 [3, H, W] -> the same."""
    sigma = lens.blur * canvas.size / 256
    blurred: FloatArray = gaussian_filter(linear, (0, sigma, sigma), truncate=3)
    axis = np.linspace(-1, 1, canvas.size, dtype=np.float32) ** 2
    return blurred * (1 - np.float32(lens.vignette / 2) * (axis[:, None] + axis[None, :]))


def develop(linear: FloatArray) -> FloatArray:
    """Display values 0..255 (not rounded) of a linear exposure: gamma 2 with a soft shoulder in the highlights."""
    value: FloatArray = np.sqrt(linear.clip(0))
    over: FloatArray = (value - 0.85).clip(0)
    return 255 * (value - over + 0.15 * over / (0.15 + over))


def expose(linear: FloatArray, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The stored photograph, uint8 [H, W, 3]: shot noise, read noise, tone curve, rounding."""
    deviation = np.sqrt(linear.clip(0) / ELECTRONS + READ_NOISE**2)
    noisy = linear + deviation * rng.standard_normal(linear.shape, dtype=np.float32)
    return np.rint(develop(noisy)).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
