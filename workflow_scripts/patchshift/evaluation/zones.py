"""Zones of the image, each with a threshold of its own on its largest patch score.

Patch row r of R lies in zone row floor(r * rows / R), columns likewise: where the patches do not divide evenly, zones
differ by one row or column of patches.
Tested in tests/evaluation/test_zones.py; stated exactly in docs/thresholds.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from patchshift.data.packs import Pack
from patchshift.data.regions import measure_patch_shares, read_ignored_patches
from patchshift.evaluation.calibration import Calibration, ZoneThresholds
from patchshift.evaluation.image_metrics import check_scores
from patchshift.evaluation.policies import POLICIES, divide_rate
from patchshift.evaluation.scored import ScoredImages
from patchshift.evaluation.undefined import Undefined
from patchshift.plan.threshold_specs import FROM_BOTH, PolicySpec, ZonesSpec

Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

UNSEEN = -np.inf
"""Score of a zone of which all patches are ignored: nothing is found there."""
NO_DEFECT = "no defect of a validation image touches this zone: it has the threshold of the whole image"


@dataclass(frozen=True)
class _Validation:
    """Validation images by zones.

    Attributes:
        scores: [n, zones] largest patch scores.
        anomalous: [n] whether an image is.
        touched: [n, zones] where the mask of an anomalous image marks something.
    """

    scores: Float32
    anomalous: Bool
    touched: Bool


def number_zones(grid: tuple[int, int], rows: int, columns: int) -> Int64:
    """The zone of each patch, [grid rows, grid columns]: numbered row by row, from 0.

    Raises:
        Undefined: if the patches are fewer than the zones, in either direction.
    """
    if not grid[0] * grid[1]:
        raise Undefined("the method gave no maps")
    if grid[0] < rows or grid[1] < columns:
        raise Undefined(
            f"{rows} x {columns} zones are more than the {grid[0]} x {grid[1]} patches of this detector: ask for fewer"
        )
    down, across = (np.arange(length) * zones // length for length, zones in zip(grid, (rows, columns), strict=True))
    return np.asarray(down[:, None] * columns + across[None, :], np.int64)


def score_zones(maps: Float32, ignored: Bool | None, rows: int, columns: int) -> Float32:
    """The largest patch score of each image in each zone; NaN where a patch that counts has none.

    Args:
        maps: [n, grid rows, grid columns] patch scores.
        ignored: [n, grid rows, grid columns] patches that do not count; None: all do.
        rows: zones from top to bottom.
        columns: zones from left to right.

    Returns:
        [n, rows * columns] float32, row by row; `UNSEEN` where no patch of a zone counts.

    Raises:
        Undefined: as `number_zones`.
    """
    zones = number_zones((maps.shape[1], maps.shape[2]), rows, columns)
    counted = maps if ignored is None else np.where(ignored, np.float32(UNSEEN), maps)
    return np.stack([counted[:, zones == zone].max(axis=1) for zone in range(rows * columns)], axis=1)


def calibrate_zones(
    policy: PolicySpec, zones: ZonesSpec, validation: Sequence[tuple[ScoredImages, Path]]
) -> tuple[ZoneThresholds, str | None]:
    """Choose the threshold of each zone, by one policy.

    A zone's images are the normal ones and, for policies that look at anomalous images, those whose defect touches it;
    an anomalous image has no part in the zones that its defect does not touch, nor anywhere if its mask marks nothing.
    Where no defect touches a zone, such a policy has nothing to choose from: the zone then has the threshold that the
    policy gives the largest patch score of the whole image, so it raises no more false alarms than without zones.

    Every zone may raise a false alarm, so each gets the policy's `false_alarm_rate` divided by the number of zones,
    exactly: by Bonferroni's inequality all together stay below it.

    Args:
        policy: of the image.
        zones: their grid.
        validation: images, scored by one bank, and the pack of their masks.

    Returns:
        The thresholds, and what they promise together, in words (None: nothing).
    """
    count = zones.rows * zones.columns
    shared = divide_rate(policy, count)
    thresholds: list[float | None] = []
    reasons: list[str | None] = []
    try:
        images = _read(zones, validation)
    except Undefined as error:
        return ZoneThresholds(zones.rows, zones.columns, (None,) * count, (str(error),) * count), None
    for zone in range(count):
        threshold, reason = None, None
        try:
            if policy.policy in FROM_BOTH and images.anomalous.any() and not images.touched[:, zone].any():
                threshold, reason = _choose(policy, images.scores.max(axis=1), images.anomalous), NO_DEFECT
            else:
                seen = (~images.anomalous | images.touched[:, zone]) & (images.scores[:, zone] != UNSEEN)
                if not seen.any() and len(seen):
                    raise Undefined("this zone is ignored in all validation images")
                threshold = _choose(shared, images.scores[seen, zone], images.anomalous[seen])
        except Undefined as error:
            divided = f" (the rate is divided by {count} zones)" if policy.false_alarm_rate and count > 1 else ""
            reason = f"{error}{divided}"
        thresholds.append(threshold)
        reasons.append(reason)
    kept = ZoneThresholds(zones.rows, zones.columns, tuple(thresholds), tuple(reasons))
    return kept, _guarantee(policy, kept, int((~images.anomalous).sum()))


@dataclass(frozen=True)
class ZoneVerdict:
    """What zones say of images.

    Attributes:
        margins: [n] float32, the largest difference of a zone's score and its threshold: defective at 0 and above. NaN
            where a score is.
        fired: [n] names of the zones at or above their threshold, separated by spaces; empty: none.
    """

    margins: Float32
    fired: list[str]


def judge_zones(thresholds: ZoneThresholds, maps: Float32, ignored: Bool | None) -> ZoneVerdict:
    """Decide images by their zones.

    Args:
        thresholds: of the zones, at least one of which has one.
        maps: [n, grid rows, grid columns] patch scores.
        ignored: [n, grid rows, grid columns] patches that do not count; None: all do.

    Raises:
        Undefined: as `number_zones`, or if no zone has a threshold.
    """
    if reason := explain_undecided(thresholds):
        raise Undefined(reason)
    scores = score_zones(maps, ignored, thresholds.rows, thresholds.columns)
    limits = np.array([np.inf if each is None else each for each in thresholds.thresholds], np.float32)
    # in single precision a difference is 0 only between equal numbers, so its sign is that of the comparison
    differences = (scores - limits).clip(np.finfo(np.float32).min, None)
    names = [name_zone(zone, thresholds.columns) for zone in range(len(limits))]
    fired = [" ".join(name for name, above in zip(names, row, strict=True) if above) for row in scores >= limits]
    return ZoneVerdict(differences.max(axis=1), fired)


def explain_undecided(thresholds: ZoneThresholds) -> str | None:
    """Why no image can be decided: no zone has a threshold; None if one has."""
    if any(threshold is not None for threshold in thresholds.thresholds):
        return None
    return next(reason for reason in thresholds.undefined if reason)


def spread_thresholds(thresholds: ZoneThresholds, grid: tuple[int, int]) -> Float32:
    """The threshold of each patch, [grid rows, grid columns]: that of its zone, infinite where it has none.

    Raises:
        Undefined: as `number_zones`.
    """
    limits = np.array([np.inf if each is None else each for each in thresholds.thresholds], np.float32)
    return limits[number_zones(grid, thresholds.rows, thresholds.columns)]


def name_zone(zone: int, columns: int) -> str:
    """`r1c2` for the second zone of the first row."""
    return f"r{zone // columns + 1}c{zone % columns + 1}"


def explain_calibration(calibration: Calibration) -> str | None:
    """Why images cannot be decided at a calibration; None if they can: by its zones where it has some."""
    return explain_undecided(calibration.zones) if calibration.zones else calibration.undefined


def _read(zones: ZonesSpec, validation: Sequence[tuple[ScoredImages, Path]]) -> _Validation:
    scores, labels, touched = [], [], []
    for images, pack in validation:
        numbers = number_zones(images.grid, zones.rows, zones.columns)
        ignored = read_ignored_patches(pack, images.images, images.grid) if images.images else None
        scores.append(score_zones(images.maps, ignored, zones.rows, zones.columns))
        labels.append(images.labels == 1)
        touched.append(np.zeros(scores[-1].shape, np.bool_))
        with Pack(pack) as opened:
            for number in np.flatnonzero(images.labels):
                (row,) = opened.rows([images.images[number]])
                shares = measure_patch_shares(opened.mask(row) & ~opened.ignore(row), images.grid)
                touched[-1][number, numbers[shares > 0]] = True
    return _Validation(np.concatenate(scores), np.concatenate(labels), np.concatenate(touched))


def _choose(policy: PolicySpec, scores: Float32, anomalous: Bool) -> float:
    if not len(scores):
        raise Undefined("no validation image")
    check_scores(scores)
    return POLICIES[policy.policy](policy, scores, anomalous).threshold


def _guarantee(policy: PolicySpec, thresholds: ZoneThresholds, normal: int) -> str | None:
    if policy.policy != "conformal" or explain_undecided(thresholds):
        return None
    assert policy.false_alarm_rate is not None
    count = thresholds.rows * thresholds.columns
    each = "" if count == 1 else f"; each of the {count} zones at most {100 * policy.false_alarm_rate / count:.3g} %"
    return (
        f"of new normal images at most {100 * policy.false_alarm_rate:.3g} % are called defective, on average over "
        f"validation sets: {normal} exchangeable normal validation images{each} (Bonferroni)"
    )
