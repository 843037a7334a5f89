"""Thresholds of pixels: a policy applied to the maps of validation images at the masks' own resolution.

Policies get the pixels as they are as long as these are few (`LARGEST`); more are counted in narrow levels (`LEVELS`),
so memory does not grow with the images.
Tested in tests/evaluation/test_pixel_thresholds.py; stated exactly in docs/thresholds.md.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from patchshift.data.packs import Pack
from patchshift.evaluation.anomaly_maps import upsample_map
from patchshift.evaluation.calibration import PixelThreshold
from patchshift.evaluation.pixel_pool import check_image
from patchshift.evaluation.policies import POLICIES, Choice, choose_step
from patchshift.evaluation.scored import ScoredImages
from patchshift.evaluation.undefined import Undefined
from patchshift.plan.threshold_specs import FROM_BOTH, PolicySpec

Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

LARGEST = 5_000_000
"""Pixels that a policy gets as they are: with what policies make of them, a few hundred MB and seconds."""
LEVELS = 1 << 22
"""Into which the range of the patch scores is divided where pixels are more: about the steps of single precision."""
NO_MAPS = "the method gave no maps"


def calibrate_pixels(
    policy: PolicySpec, validation: Sequence[tuple[ScoredImages, Path]], *, smoothing_sigma: float
) -> PixelThreshold:
    """Choose a threshold of pixels on the maps of validation images.

    Ignored pixels are left out. Policies that look at normal images only see the pixels of normal validation images;
    the others also those of anomalous ones whose mask marks a defect, as defect or normal by the mask.

    Args:
        policy: of the pixels.
        validation: images, scored by one bank, and the pack of their masks.
        smoothing_sigma: smoothing of maps at input size, in pixels.

    Returns:
        The threshold, or the reason why this policy has none; counts are of the pixels that it saw.
    """
    pixels, reason, choice = None, None, None
    try:
        used = [(_select(policy, images, pack), pack) for images, pack in validation]
        _check(policy, validation, used)
        maps = [images.maps for images, _ in used if len(images.images)]
        pixels = PixelScores(min(float(each.min()) for each in maps), max(float(each.max()) for each in maps))
        for images, pack in used:
            for normal, defect in read_pixels(images, pack, smoothing_sigma):
                pixels.add(normal, defect)
        choice = pixels.choose(policy)
    except Undefined as error:
        reason = str(error)
    return PixelThreshold(
        policy=policy.policy,
        threshold=choice.threshold if choice else None,
        undefined=reason,
        normal=pixels.normal if pixels else 0,
        anomalous=pixels.defect if pixels else 0,
        criterion=choice.criterion if choice else None,
    )


def read_pixels(images: ScoredImages, pack: Path, smoothing_sigma: float) -> Iterator[tuple[Float32, Float32]]:
    """The scores of each image's normal and of its defect pixels that are not ignored, [n] and [m] float32.

    Raises:
        Undefined: if a map has NaN.
        UserError: if an image is not in the pack.
    """
    with Pack(pack) as opened:
        for index, (row, patch_map) in enumerate(zip(opened.rows(images.images), images.maps, strict=True)):
            mask, ignore = opened.mask(row), opened.ignore(row) if opened.has_ignore else None
            pixels = upsample_map(patch_map, images.input_size, mask.shape, smoothing_sigma, images.scoring.anomaly_map)
            defect, normal = check_image(index, mask, pixels, ignore)
            yield pixels[normal], pixels[defect]


class PixelScores:
    """Scores of normal and of defect pixels, added image by image.

    Where they are more than `largest`, they are counted in `LEVELS` equal levels between the lowest and the highest
    patch score, which no pixel exceeds but by rounding. Then

    - policies that look at both classes choose among the lower ends of the levels, with exact counts at each: what they
      optimise is exact there, and falls short of the best of all thresholds by what the pixels of one level can change;
    - the others get `largest` evenly spaced order statistics of the normal pixels, rounded by less than a level, and
      the highest pixel as it is: the share of pixels at or above any threshold is off by at most 1 / `largest` beside.

    Args:
        low: the lowest patch score.
        high: the highest.
        largest: pixels up to which they are kept as they are.

    Attributes:
        normal: number of normal pixels.
        defect: number of defect pixels.
    """

    def __init__(self, low: float, high: float, largest: int = LARGEST) -> None:
        self.normal = self.defect = 0
        self._low, self._scale = low, LEVELS / (high - low) if high > low else 0.0
        self._largest = largest
        self._kept: tuple[list[Float32], list[Float32]] = ([], [])
        self._counts: Int64 | None = None
        self._ends = (np.float32(np.inf), np.float32(-np.inf))  # the lowest and the highest pixel

    def add(self, normal: Float32, defect: Float32) -> None:
        """Add the pixels of an image, [n] and [m]."""
        self.normal += normal.size
        self.defect += defect.size
        for kept, scores in zip(self._kept, (normal, defect), strict=True):
            if scores.size:
                kept.append(scores)
                self._ends = (min(self._ends[0], scores.min()), max(self._ends[1], scores.max()))
        if self.normal + self.defect > self._largest:
            self._count()

    def choose(self, policy: PolicySpec) -> Choice:
        """What a policy decides on these pixels.

        Raises:
            Undefined: if it has no threshold on them.
        """
        if not self.normal:
            raise Undefined("no normal pixel in a validation image")
        if self._counts is None:
            scores = np.concatenate([*self._kept[0], *self._kept[1]])
            return POLICIES[policy.policy](policy, scores, np.arange(len(scores)) >= self.normal)
        if policy.policy in FROM_BOTH:
            return self._choose_level(policy)
        scores = self._space_evenly()
        return POLICIES[policy.policy](policy, scores, np.zeros(len(scores), np.bool_))

    def _count(self) -> None:
        if self._counts is None:
            self._counts = np.zeros((2, LEVELS), np.int64)
        for counts, kept in zip(self._counts, self._kept, strict=True):
            for scores in kept:
                counts += np.bincount(self._level(scores), minlength=LEVELS)
            kept.clear()

    def _level(self, scores: Float32) -> Int64:
        exact = (scores.astype(np.float64) - self._low) * self._scale
        return np.asarray(exact.clip(0, LEVELS - 1), np.int64)

    def _choose_level(self, policy: PolicySpec) -> Choice:
        """The level from which pixels are called defective, by the formulas of `policies`."""
        assert self._counts is not None
        if self._ends[0] == self._ends[1]:
            raise Undefined("the validation scores do not differ")
        # [levels + 1] called defective from each level on, the highest first; before all levels: nothing is
        flagged, found = (np.concatenate([[0], np.cumsum(counts[::-1])]) for counts in self._counts)
        best, criterion = choose_step(policy, found, flagged)
        return Choice(self._lower_end(LEVELS - best), criterion)

    def _lower_end(self, level: int) -> float:
        """The lowest single-precision number of a level, or of the first pixel's where nothing lies below it."""
        if level >= LEVELS:
            return float(np.nextafter(self._ends[1], np.float32(np.inf)))
        end = np.float32(self._low + level / self._scale)
        while self._level(np.array([end]))[0] < level:
            end = np.nextafter(end, np.float32(np.inf))
        while (
            end > self._ends[0] and self._level(np.array([below := np.nextafter(end, np.float32(-np.inf))]))[0] >= level
        ):
            end = below
        return float(max(end, self._ends[0]))

    def _space_evenly(self) -> Float32:
        """[largest] order statistics of the normal pixels, the highest one as it is."""
        assert self._counts is not None
        ranks = (np.arange(self._largest) + 0.5) * (self.normal / self._largest)
        levels = np.searchsorted(np.cumsum(self._counts[0]), ranks, "right")
        ends = self._low + (levels + 1) / self._scale if self._scale else np.full(len(levels), self._low)
        scores = np.clip(ends.astype(np.float32), *self._ends)
        scores[-1] = self._ends[1]
        return scores


def _select(policy: PolicySpec, images: ScoredImages, pack: Path) -> ScoredImages:
    """The images whose pixels a policy sees; of these only keys, labels and maps are whole."""
    wanted = np.flatnonzero(images.labels == 0)
    if policy.policy in FROM_BOTH:
        anomalous = np.flatnonzero(images.labels)
        with Pack(pack) as opened:
            rows = opened.rows([images.images[number] for number in anomalous])
            marked = [bool((opened.mask(row) & ~opened.ignore(row)).any()) for row in rows]
        wanted = np.sort(np.concatenate([wanted, anomalous[np.array(marked, np.bool_)]]))
    keys = [images.images[number] for number in wanted]
    return replace(images, images=keys, labels=images.labels[wanted], maps=images.maps[wanted])


def _check(
    policy: PolicySpec,
    validation: Sequence[tuple[ScoredImages, Path]],
    used: Sequence[tuple[ScoredImages, Path]],
) -> None:
    """That there is what a policy needs.

    Raises:
        Undefined: if there is not.
    """
    labels, seen = (np.concatenate([images.labels for images, _ in sources]) for sources in (validation, used))
    if not len(labels):
        raise Undefined("no validation image")
    if policy.policy in FROM_BOTH and not labels.any():
        raise Undefined("no anomalous validation image")
    if policy.policy in FROM_BOTH and not seen.any():
        raise Undefined(f"no validation image has a mask that marks a defect, and policy '{policy.policy}' needs one")
    if not len(seen):
        raise Undefined("no normal validation image")
    for images, _ in used:
        if len(images.images) and not images.maps.size:
            raise Undefined(NO_MAPS)
        if not np.isfinite(images.maps).all():
            broken = int((~np.isfinite(images.maps)).any(axis=(1, 2)).sum())
            raise Undefined(f"the map of {broken} of {len(images.images)} validation images is not finite")
