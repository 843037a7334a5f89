"""Drawing on a finer grid: coordinates, smooth random fields and distances to shapes.

Lengths are in units of 1/256 of the image's width, so one scene can be drawn at any size. Arrays are
float32 [F, F], F = `SUPERSAMPLING` times the image size, unless said otherwise. Tested in tests/data/test_demo.py.
"""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FloatArray = NDArray[np.floating[Any]]  # always float32; arithmetic with Python numbers hides that from type checkers

UNITS = 256
SUPERSAMPLING = 2


@dataclass(frozen=True)
class Canvas:
    """A square image of `size` pixels, drawn on a grid `SUPERSAMPLING` times finer."""

    size: int

    @property
    def fine(self) -> int:
        """Rows and columns of the fine grid."""
        return self.size * SUPERSAMPLING

    @property
    def spacing(self) -> float:
        """Distance between fine grid points, in units."""
        return UNITS / self.fine

    def grid(self) -> tuple[FloatArray, FloatArray]:
        """x to the right and y downwards, in units from the image's centre; read-only."""
        return _grid(self.fine)

    def around(self, place: tuple[float, float]) -> tuple[FloatArray, FloatArray]:
        """x and y, in units from a place (x, y)."""
        x, y = self.grid()
        return x - np.float32(place[0]), y - np.float32(place[1])

    def noise(self, rng: np.random.Generator, scale: float) -> FloatArray:
        """A smooth random field of about unit variance that varies over `scale` units."""
        cells = int(np.ceil(UNITS / scale)) + 1
        return resize(rng.standard_normal((cells, cells), dtype=np.float32), self.fine)

    def low_pass(self, field: FloatArray, scale: float) -> FloatArray:
        """The field without detail finer than about `scale` units."""
        small = Image.fromarray(field).reduce(max(round(scale / self.spacing), 1))
        return resize(np.asarray(small, dtype=np.float32), self.fine)

    def window(self, low: FloatArray, high: FloatArray, margin: float) -> tuple[slice, slice]:
        """Slices (rows, columns) of the fine grid that hold the box from `low` to `high` (x, y) and a margin."""
        first = np.floor((np.minimum(low, high) - margin + UNITS / 2) / self.spacing).astype(int)
        last = np.ceil((np.maximum(low, high) + margin + UNITS / 2) / self.spacing).astype(int)
        first, last = first.clip(0, self.fine), last.clip(0, self.fine)
        return slice(first[1], last[1]), slice(first[0], last[0])


@cache
def _grid(fine: int) -> tuple[FloatArray, FloatArray]:
    axis = ((np.arange(fine, dtype=np.float32) + 0.5) / fine - 0.5) * np.float32(UNITS)
    x, y = np.meshgrid(axis, axis)
    x.flags.writeable = y.flags.writeable = False
    return x, y


def resize(field: FloatArray, side: int) -> FloatArray:
    """A float32 [h, w] field as [side, side], bicubic (area-averaging where it shrinks)."""
    if field.shape == (side, side):
        return field
    return np.asarray(Image.fromarray(field).resize((side, side), Image.Resampling.BICUBIC), dtype=np.float32)


def ramp(values: FloatArray, start: float, stop: float) -> FloatArray:
    """0 at `start`, 1 at `stop` (which may be smaller), smooth between, constant beyond."""
    t: FloatArray = ((values - np.float32(start)) * np.float32(1 / (stop - start))).clip(0, 1)
    return t * t * (3 - 2 * t)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A random number between `low` and `high`, small and large magnitudes alike."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def rotate(x: FloatArray, y: FloatArray, angle: float) -> tuple[FloatArray, FloatArray]:
    """Coordinates in a frame turned by `angle` radians."""
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return cosine * x + sine * y, cosine * y - sine * x


def blob_distance(
    x: FloatArray, y: FloatArray, rng: np.random.Generator, radius: float, *, roughness: float
) -> FloatArray:
    """Approximate signed distance to a random lobed, elongated outline about the origin; negative inside.

    Args:
        radius: mean radius, units.
        roughness: relative depth of the outline's lobes; 0 is an ellipse.
    """
    x, y = rotate(x, y, rng.uniform(0, np.pi))
    stretch = np.float32(rng.uniform(1, 1.5))
    x, y = x / stretch, y * stretch
    angle = np.arctan2(y, x)
    outline = np.ones_like(angle)
    for lobes in range(2, 8):
        outline += np.float32(rng.normal(0, roughness / lobes)) * np.cos(lobes * angle + np.float32(rng.uniform(0, 7)))
    return np.hypot(x, y) - np.float32(radius) * outline.clip(0.3, 2)


def wander(
    rng: np.random.Generator, start: tuple[float, float], heading: float, length: float, *, bend: float, jitter: float
) -> FloatArray:
    """A random path of unit-spaced points (x, y), float32 [K, 2].

    Args:
        bend: standard deviation of the curvature, radians per unit, itself varying slowly.
        jitter: standard deviation of the independent turn at each point, radians.
    """
    steps = max(int(length), 2)
    curvature = np.interp(
        np.arange(steps), np.arange(0, steps + 12, 12), rng.normal(0, bend, steps // 12 + 1 + (steps % 12 > 0))
    )
    angle = heading + np.cumsum(curvature) + rng.normal(0, jitter, steps)
    moves = np.stack([np.cos(angle), np.sin(angle)], axis=1) * (length / steps)
    return np.concatenate([[start], start + np.cumsum(moves, axis=0)]).astype(np.float32)


def path_distance(canvas: Canvas, points: FloatArray, reach: float) -> tuple[FloatArray, FloatArray]:
    """Distance to a path and the position along it (0 start, 1 end) of its nearest point.

    Args:
        points: float32 [K, 2], (x, y) in units.
        reach: distances beyond it are infinite.
    """
    x, y = canvas.grid()
    distance = np.full(x.shape, np.inf, dtype=np.float32)
    along = np.zeros(x.shape, dtype=np.float32)
    segments = len(points) - 1
    for number, (start, stop) in enumerate(pairwise(points)):
        window = canvas.window(start, stop, reach)
        dx, dy = stop - start
        px, py = x[window] - start[0], y[window] - start[1]
        share = ((px * dx + py * dy) / (dx * dx + dy * dy + 1e-9)).clip(0, 1)
        new = np.hypot(px - share * dx, py - share * dy)
        nearer = (new < distance[window]) & (new <= reach)
        distance[window][nearer] = new[nearer]
        along[window][nearer] = ((number + share) / segments)[nearer]
    return distance, along
