"""Divide the images of a category into train, val and test. Drawn once, saved, never redrawn.

Which images a draw takes is decided by a hash of the seed and each image's key, so an image that comes or goes moves
hardly any other one to another part.

Columns of a split: `image` (the key), `split` (train | val | test | unused), `role` (normal | anomalous).
Tested in tests/data/test_splits.py; stated exactly in docs/protocol.md.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from patchshift.data.index import ImageRow, read_table, shuffle, write_table
from patchshift.errors import UserError
from patchshift.plan.specs import SplitSpec

COLUMNS = ["image", "split", "role"]
PARTS = ("train", "val", "test", "unused")


@dataclass(frozen=True)
class Split:
    """Image key -> part, for all images of a category.

    Attributes:
        parts: image key -> train | val | test | unused, in index order.
        anomalous: keys of the anomalous images.
    """

    parts: dict[str, str]
    anomalous: frozenset[str]

    def of(self, part: str) -> list[str]:
        """The keys of one part, in index order."""
        return [key for key, belongs in self.parts.items() if belongs == part]

    @property
    def normal_training(self) -> list[str]:
        """What banks are fitted on."""
        return [key for key in self.of("train") if key not in self.anomalous]


def split_images(rows: Sequence[ImageRow], spec: SplitSpec) -> Split:
    """Divide images by a protocol.

    Raises:
        UserError: if train or test would be empty.
    """
    assigned = PROTOCOLS[spec.protocol](rows, spec)
    parts = {row.key: assigned.get(row.key, "test") for row in rows}
    if spec.train_limit is not None:
        training = shuffle((key for key, part in parts.items() if part == "train"), f"{spec.seed} limit")
        parts |= dict.fromkeys(training[spec.train_limit :], "unused")
    split = Split(parts, frozenset(row.key for row in rows if row.label))
    for part in ("train", "test"):
        if not split.of(part):
            raise UserError(
                f"split protocol '{spec.protocol}' leaves no {part} image of {len(rows)}: add images, or change the "
                "shares of the split"
            )
    return split


def _source_plan(rows: Sequence[ImageRow], spec: SplitSpec) -> dict[str, str]:
    assert spec.train_share is not None
    assert spec.val_anomalous_share is not None
    train, val = _divide(_good_training(rows, spec), spec.train_share, f"{spec.seed} train")
    by_defect: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row.label:
            by_defect[row.defect].append(row.key)
    for anomalous in by_defect.values():
        val += _divide(anomalous, spec.val_anomalous_share, f"{spec.seed} val")[0]
    return dict.fromkeys(train, "train") | dict.fromkeys(val, "val")


def _published(rows: Sequence[ImageRow], spec: SplitSpec) -> dict[str, str]:
    return dict.fromkeys(_good_training(rows, spec), "train")


PROTOCOLS: dict[str, Callable[[Sequence[ImageRow], SplitSpec], dict[str, str]]] = {
    "source_plan": _source_plan,
    "published": _published,
}


def _good_training(rows: Sequence[ImageRow], spec: SplitSpec) -> list[str]:
    """Good images of the official training set; where there is none, a random share of all good images."""
    if any(row.official_split for row in rows):
        return [row.key for row in rows if not row.label and row.official_split == "train"]
    return _divide([row.key for row in rows if not row.label], spec.official_train_share, f"{spec.seed} official")[0]


def _divide(keys: Sequence[str], share: float, draw: str) -> tuple[list[str], list[str]]:
    """A random `share` of the keys (rounded down), and the others."""
    order = shuffle(keys, draw)
    count = int(share * len(keys) + 1e-9)  # 0.7 * 10 is 7, not 6.999...
    return order[:count], order[count:]


def write_split(path: Path, split: Split) -> None:
    """Save a split."""
    roles = (("anomalous" if key in split.anomalous else "normal") for key in split.parts)
    write_table(
        path, COLUMNS, ((key, part, role) for (key, part), role in zip(split.parts.items(), roles, strict=True))
    )


def read_split(path: Path) -> Split:
    """Read a saved split.

    Raises:
        UserError: if the file is damaged, or an image stands in it twice.
    """
    rows = read_table(path, COLUMNS)
    parts = {row["image"]: row["split"] for row in rows}
    if len(parts) != len(rows) or not set(parts.values()) <= set(PARTS):
        raise UserError(f"{path} is damaged (an image twice, or an unknown part): delete it and run again")
    return Split(parts, frozenset(row["image"] for row in rows if row["role"] == "anomalous"))


def identical_across_parts(rows: Sequence[ImageRow], split: Split) -> list[list[str]]:
    """Groups of images with the same content that stand in more than one of train, val and test."""
    groups: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if split.parts[row.key] != "unused":
            groups[row.digest].append(row.key)
    return [group for group in groups.values() if len({split.parts[key] for key in group}) > 1]
