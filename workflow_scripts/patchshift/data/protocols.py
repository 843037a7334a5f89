"""Who trains, who calibrates and who is tested: one function per split protocol; draws of positives and contaminants.

Tested in tests/data/test_splits.py; stated exactly in docs/protocol.md.
"""

import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from patchshift.data.index import ImageRow, shuffle
from patchshift.errors import UserError
from patchshift.plan.data_specs import SeriesSpec, SplitSpec

THOUSANDTHS = [number / 1000 for number in range(501)]
ROUNDING = 1e-9  # 0.7 * 10 is 7, not 6.999...


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Groups:
    """The images that protocols deal out. Good images in neither group are tested.

    Attributes:
        good: keys of the good training images.
        positive: defect type -> keys of the anomalous training images.
        tested: defect type -> keys of the anomalous test images.
        official: whether the official split says which are for training.
    """

    good: list[str]
    positive: dict[str, list[str]]
    tested: dict[str, list[str]]
    official: bool


Protocol = Callable[[Groups, SplitSpec], dict[str, str]]


def group_images(rows: Sequence[ImageRow], spec: SplitSpec) -> Groups:
    """Good and anomalous images for training and for testing.

    Without an official split, a random share of the good images is for training; all anomalous ones are for testing.
    """
    official = not spec.ignore_official and any(row.official_split for row in rows)
    if official:
        good = [row.key for row in rows if not row.label and row.official_split == "train"]
    else:
        everything = [row.key for row in rows if not row.label]
        good, _ = _divide(everything, spec.official_train_share, f"{spec.seed} official", spec.series)
    positive: dict[str, list[str]] = defaultdict(list)
    tested: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row.label:
            (positive if official and row.official_split == "train" else tested)[row.defect].append(row.key)
    return Groups(good, positive, tested, official)


def _source_plan(groups: Groups, spec: SplitSpec) -> dict[str, str]:
    return _normals_only(groups, spec) | dict.fromkeys(_draw_anomalous(groups.tested, spec), "val")


def _normals_only(groups: Groups, spec: SplitSpec) -> dict[str, str]:
    assert spec.train_share is not None
    _, val = _divide(groups.good, spec.train_share, f"{spec.seed} train", spec.series)
    return _published(groups, spec) | dict.fromkeys(val, "val")


def _official(groups: Groups, spec: SplitSpec) -> dict[str, str]:
    if not groups.official:
        raise UserError(
            "split protocol 'official' needs a dataset with a training and a test set of its own, and these images "
            "have none: use a split with protocol 'source_plan' or 'normals_only'"
        )
    return _normals_only(groups, spec) | dict.fromkeys(_draw_anomalous(groups.positive, spec), "val")


def _published(groups: Groups, spec: SplitSpec) -> dict[str, str]:
    return dict.fromkeys([*groups.good, *(key for keys in groups.positive.values() for key in keys)], "train")


PROTOCOLS: dict[str, Protocol] = {
    "source_plan": _source_plan,
    "normals_only": _normals_only,
    "official": _official,
    "published": _published,
}
"""Each gives the part of every image that is not tested."""


def draw_positives(groups: Groups, assigned: Mapping[str, str], spec: SplitSpec) -> list[str]:
    """The anomalous test images that train as positives: `train_anomalous_share` within each defect type.

    They are drawn from those that a protocol leaves in test, so its own draws stay as they are.

    Args:
        groups: the images.
        assigned: the part of every image that the protocol does not leave in test.
        spec: shares are of all anomalous test images of a type, rounded down.
    """
    drawn = []
    for keys in groups.tested.values():
        left = [key for key in keys if key not in assigned]
        count = int(spec.train_anomalous_share * len(keys) + ROUNDING)
        drawn += _draw(left, count, f"{spec.seed} positives", spec.series)[0]
    return drawn


def draw_contaminants(tested: Iterable[ImageRow], good: int, spec: SplitSpec) -> frozenset[str]:
    """The anomalous images that move from test to training: as evenly over defect types as their numbers allow.

    Those of a smaller share are among those of a larger one.

    Args:
        tested: the anomalous test images.
        good: number of good training images.
        spec: its `train_contamination` is the share of contaminants in good images and contaminants together.

    Raises:
        UserError: if not one anomalous test image would be left; it says how large the share can be.
    """
    share = spec.train_contamination
    count = _count_contaminants(share, good)
    if share and not count:
        log.warning("train_contamination %g of %d good training images is less than half an image: none", share, good)
    by_defect: dict[str, list[str]] = defaultdict(list)
    for row in tested:
        by_defect[row.defect].append(row.key)
    draw = f"{spec.seed} contamination"
    rounds = {key: number for keys in by_defect.values() for number, key in enumerate(shuffle(keys, draw))}
    if count and count >= len(rounds):
        most = len(rounds) - 1
        fitting = [share for share in THOUSANDTHS if 0 < _count_contaminants(share, good) <= most]
        raise UserError(
            f"train_contamination {share:g} takes {count} anomalous images beside {good} good ones, and of "
            f"{len(rounds)} in test one must be left: with these images it can be at most {max(fitting, default=0):g}"
        )
    return frozenset(sorted(shuffle(rounds, draw), key=lambda key: rounds[key])[:count])


def _count_contaminants(share: float, good: int) -> int:
    return int(share * good / (1 - share) + 0.5 + ROUNDING)


def _draw_anomalous(by_defect: dict[str, list[str]], spec: SplitSpec) -> list[str]:
    """Validation's share of anomalous images, within each defect type."""
    assert spec.val_anomalous_share is not None
    drawn = (_divide(keys, spec.val_anomalous_share, f"{spec.seed} val", spec.series)[0] for keys in by_defect.values())
    return [key for keys in drawn for key in keys]


def _divide(keys: Sequence[str], share: float, draw: str, series: SeriesSpec | None) -> tuple[list[str], list[str]]:
    """A random `share` of the keys (rounded down), and the others."""
    return _draw(keys, int(share * len(keys) + ROUNDING), draw, series)


def _draw(keys: Sequence[str], count: int, draw: str, series: SeriesSpec | None) -> tuple[list[str], list[str]]:
    """`count` random keys, and the others; of series, whole ones, as many as fit."""
    if series is None:
        order = shuffle(keys, draw)
        return order[:count], order[count:]
    whole = {group[0]: group for group in find_series(keys, series)}
    drawn: list[str] = []
    others: list[str] = []
    for first in shuffle(whole, draw):
        fits = len(drawn) + len(whole[first]) <= count
        (drawn if fits else others).extend(whole[first])
    return drawn, others


def find_series(keys: Sequence[str], spec: SeriesSpec) -> list[list[str]]:
    """Images of one part, in the order of their numbers.

    Raises:
        UserError: if the pattern finds no number in a key.
    """
    found = {key: re.search(spec.pattern, key) for key in keys}
    without = [key for key, match in found.items() if match is None or not (match[1] or "").isdecimal()]
    if without:
        raise UserError(
            f"series.pattern '{spec.pattern}' finds no number in {', '.join(without[:3])} ({len(without)} in all): "
            "mend the pattern, or remove series"
        )
    numbers = {key: int(match[1]) for key, match in found.items() if match}
    groups: list[list[str]] = []
    for key in sorted(numbers, key=lambda key: (numbers[key], key)):
        if groups and numbers[key] - numbers[groups[-1][-1]] <= spec.gap:
            groups[-1].append(key)
        else:
            groups.append([key])
    return groups
