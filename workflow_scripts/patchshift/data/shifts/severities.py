"""How strong each transform is at each severity: the one table of shift strengths.

The moderate column is the source plan's where it names a range: colour factors 0.7 to 1.3, Gaussian blur of kernel 3 to
5 pixels (sigma = 0.3 ((kernel - 1) / 2 - 1) + 0.8), Gaussian noise of sigma 0.01 to 0.05, rotation to 10 degrees, crops
of 0.9 to 1.0 of the area. Mild is about half of moderate, severe about twice.
docs/data.md shows the table. Tested in tests/data/test_shift_severities.py.
"""

from dataclasses import astuple, dataclass

import numpy as np

Ends = tuple[float, float]


@dataclass(frozen=True)
class Levels:
    """Between which two amounts a transform draws, uniformly, at each severity."""

    identity: Ends
    mild: Ends
    moderate: Ends
    severe: Ends

    def between(self, strength: float) -> Ends:
        """The ends of the range at a strength: 0 identity, 1 mild, 2 moderate, 3 severe, linear in between."""
        lows, highs = np.array(astuple(self)).T
        return float(np.interp(strength, range(4), lows)), float(np.interp(strength, range(4), highs))


def _around(middle: float, mild: float, moderate: float, severe: float) -> Levels:
    """Levels that reach equally far to both sides of the identity."""
    return Levels((middle, middle), *((middle - reach, middle + reach) for reach in (mild, moderate, severe)))


LEVELS: dict[str, Levels] = {
    # share of the area that is kept
    "crop": Levels((1, 1), (0.95, 1), (0.9, 1), (0.8, 1)),
    # degrees, counter-clockwise
    "rotation": _around(0, 5, 10, 20),
    # of the width to the right, of the height downwards
    "translation": _around(0, 0.025, 0.05, 0.1),
    # how far each corner moves: of the width to the right, of the height downwards
    "perspective": _around(0, 0.025, 0.05, 0.1),
    # factors
    "brightness": _around(1, 0.15, 0.3, 0.6),
    "contrast": _around(1, 0.15, 0.3, 0.6),
    "saturation": _around(1, 0.15, 0.3, 0.6),
    # degrees on the colour circle
    "hue": _around(0, 9, 18, 36),
    # light gained at the bright end of the gradient and lost at the dark end, of the light in the middle
    "illumination": Levels((0, 0), (0.1, 0.2), (0.2, 0.4), (0.4, 0.8)),
    # light lost in the corners, of the light in the middle
    "vignetting": Levels((0, 0), (0.1, 0.25), (0.25, 0.5), (0.5, 0.9)),
    # sigma in pixels
    "gaussian_blur": Levels((0, 0), (0.4, 0.6), (0.8, 1.1), (1.6, 2.2)),
    # length of the path, of the shorter side
    "motion_blur": Levels((0, 0), (0.01, 0.015), (0.02, 0.03), (0.04, 0.06)),
    # radius of the disc that a point becomes, of the shorter side
    "defocus": Levels((0, 0), (0.003, 0.005), (0.006, 0.01), (0.012, 0.02)),
    # sigma, of full scale
    "gaussian_noise": Levels((0, 0), (0.005, 0.025), (0.01, 0.05), (0.02, 0.1)),
    # sigma at full scale, of full scale
    "shot_noise": Levels((0, 0), (0.01, 0.03), (0.02, 0.06), (0.04, 0.12)),
    # share of the pixels
    "salt_and_pepper": Levels((0, 0), (0.001, 0.005), (0.005, 0.015), (0.015, 0.04)),
    # quality, from 1 to 100
    "jpeg": Levels((100, 100), (70, 85), (40, 60), (15, 30)),
}
