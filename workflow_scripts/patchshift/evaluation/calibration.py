"""What validation images are made into: thresholds of images, pixels and zones, and probabilities.

Tested in tests/evaluation/test_thresholds.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PixelThreshold:
    """A threshold of the pixels of maps at the masks' own resolution, smoothed as for pixel metrics.

    Attributes:
        policy: the policy's name.
        threshold: pixels at or above it are called defective; None if the policy cannot be calibrated.
        undefined: why there is no threshold; None if there is one.
        normal: number of normal validation pixels that the policy saw.
        anomalous: number of defective validation pixels that it saw.
        criterion: value of what the policy optimises; None if it optimises nothing.
    """

    policy: str
    threshold: float | None
    undefined: str | None
    normal: int
    anomalous: int
    criterion: float | None = None


@dataclass(frozen=True)
class ZoneThresholds:
    """Thresholds of the largest patch score in each zone of a grid.

    Attributes:
        rows: zones from top to bottom.
        columns: zones from left to right.
        thresholds: rows x columns of them, row by row; None where a zone has none and calls no image defective.
        undefined: why the policy has none there, in the same order; None where it has one. A zone that no defect
            touches has a reason, and the threshold of the whole image.
    """

    rows: int
    columns: int
    thresholds: tuple[float | None, ...]
    undefined: tuple[str | None, ...]


@dataclass(frozen=True)
class Probabilities:
    """How an image score becomes the probability that the image is defective.

    Attributes:
        intercept: Platt's; None if undefined.
        slope: Platt's, per unit of score: p = 1 / (1 + exp(-(intercept + slope * score))).
        scores: ascending scores at which the isotonic probability is known, linear between them, constant outside.
        isotonic: those probabilities.
        undefined: why there are none; None if there are.
    """

    intercept: float | None
    slope: float | None
    scores: tuple[float, ...]
    isotonic: tuple[float, ...]
    undefined: str | None


@dataclass(frozen=True)
class Calibration:
    """A threshold and where it comes from.

    Attributes:
        policy: the policy's name.
        threshold: scores at or above it are called defective; None if the policy cannot be calibrated.
        undefined: why there is no threshold; None if there is one.
        normal: number of normal validation images.
        anomalous: number of anomalous validation images.
        criterion: value of what the policy optimises (`f1_max`: the validation F1).
        guarantee: what the policy promises on new images, in words; None if nothing.
        location: mean of the finite scores of normal validation images; None with `scale`.
        scale: their standard deviation (divisor n - 1); None if there are fewer than two, or all are equal.
        pixels: the threshold of pixels; None if none was asked for.
        zones: the thresholds of zones, which then decide in place of `threshold`; None if none were asked for.
        probabilities: of images; None if none were made.
    """

    policy: str
    threshold: float | None
    undefined: str | None
    normal: int
    anomalous: int
    criterion: float | None
    guarantee: str | None
    location: float | None = None
    scale: float | None = None
    pixels: PixelThreshold | None = None
    zones: ZoneThresholds | None = None
    probabilities: Probabilities | None = None


def as_calibration(content: Mapping[str, Any]) -> Calibration:
    """A calibration from what `dataclasses.asdict` made of it, and JSON of that."""
    parts: dict[str, Any] = dict(content)
    kinds: dict[str, type[Any]] = {"pixels": PixelThreshold, "zones": ZoneThresholds, "probabilities": Probabilities}
    for name, kind in kinds.items():
        if parts.get(name) is not None:
            values = {key: tuple(value) if isinstance(value, list) else value for key, value in parts[name].items()}
            parts[name] = kind(**values)
    return Calibration(**parts)
