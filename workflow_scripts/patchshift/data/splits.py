"""Divide the images of a category into train, val and test. Drawn once, saved, never redrawn.

Which images a draw takes is decided by a hash of the seed and each image's key, so an image that comes or goes moves
hardly any other one to another part.

Columns of a split: `image` (the key), `split` (train | val | test | unused), `role` (normal | positive: anomalous and
known to be | contaminant: anomalous, and trained on as if it were good).
Tested in tests/data/test_splits.py; stated exactly in docs/protocol.md.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from patchshift.data.index import ImageRow, shuffle
from patchshift.data.protocols import PROTOCOLS, draw_contaminants, draw_positives, group_images
from patchshift.data.tables import read_table, write_table
from patchshift.errors import UserError
from patchshift.plan.data_specs import SplitSpec

COLUMNS = ["image", "split", "role"]
PARTS = ("train", "val", "test", "unused")
ROLES = ("normal", "positive", "contaminant")


@dataclass(frozen=True)
class Split:
    """Image key -> part, for all images of a category.

    Attributes:
        parts: image key -> train | val | test | unused, in index order.
        anomalous: keys of the images that are anomalous and known to be: role positive.
        contaminants: keys of the anomalous training images that are taken for good.
    """

    parts: dict[str, str]
    anomalous: frozenset[str]
    contaminants: frozenset[str] = frozenset()

    def of(self, part: str) -> list[str]:
        """The keys of one part, in index order."""
        return [key for key, belongs in self.parts.items() if belongs == part]

    def role(self, key: str) -> str:
        """What an image counts as: normal, positive or contaminant."""
        if key in self.contaminants:
            return "contaminant"
        return "positive" if key in self.anomalous else "normal"

    @property
    def taken_for_good(self) -> list[str]:
        """What banks are fitted on: the training images that are good, and the contaminants; in index order."""
        return [key for key in self.of("train") if key not in self.anomalous]


def origin_of(key: str) -> str:
    """The image that one was made from: what stands before the last `#` of its key; itself where there is none."""
    return key.rpartition("#")[0] or key


def split_images(rows: Sequence[ImageRow], spec: SplitSpec) -> Split:
    """Divide images by a protocol.

    Raises:
        UserError: if no good image would train, or no image would be tested; if the protocol needs an official split
            that the images do not have; or if there are too few anomalous images for the contamination.
    """
    groups = group_images(rows, spec)
    assigned = PROTOCOLS[spec.protocol](groups, spec)
    assigned |= dict.fromkeys(draw_positives(groups, assigned, spec), "train")
    parts = {row.key: assigned.get(row.key, "test") for row in rows}
    anomalous = frozenset(row.key for row in rows if row.label)
    good = [key for key, part in parts.items() if part == "train" and key not in anomalous]
    if spec.train_limit is not None:
        kept = shuffle(good, f"{spec.seed} limit")
        good, unused = kept[: spec.train_limit], kept[spec.train_limit :]
        parts |= dict.fromkeys(unused, "unused")
    for part, members in (("train", good), ("test", [key for key, belongs in parts.items() if belongs == "test"])):
        if not members:
            raise UserError(
                f"split protocol '{spec.protocol}' leaves no {part} image of {len(rows)}: add images, or change the "
                "shares of the split"
            )
    tested = [row for row in rows if row.label and parts[row.key] == "test"]
    contaminants = draw_contaminants(tested, len(good), spec)
    parts |= dict.fromkeys(contaminants, "train")
    return Split(parts, anomalous - contaminants, contaminants)


def write_split(path: Path, split: Split) -> None:
    """Save a split."""
    write_table(path, COLUMNS, ((key, part, split.role(key)) for key, part in split.parts.items()))


def read_split(path: Path) -> Split:
    """Read a saved split.

    Raises:
        UserError: if the file is damaged: an image stands in it twice, a part or role is unknown, or a contaminant is
            in another part than train.
    """
    rows = read_table(path, COLUMNS)
    parts = {row["image"]: row["split"] for row in rows}
    wrong = {
        "an image twice": len(parts) != len(rows),
        "an unknown part": not set(parts.values()) <= set(PARTS),
        "an unknown role": not {row["role"] for row in rows} <= set(ROLES),
        "a contaminant outside train": any(row["role"] == "contaminant" and row["split"] != "train" for row in rows),
    }
    if any(wrong.values()):
        named = ", ".join(mistake for mistake, made in wrong.items() if made)
        raise UserError(f"{path} is damaged ({named}): delete it and run again")
    with_role = {role: frozenset(row["image"] for row in rows if row["role"] == role) for role in ROLES}
    return Split(parts, with_role["positive"], with_role["contaminant"])


def count_images(split: Split) -> str:
    """How many images of which role each part has, in one line."""
    counts = Counter((part, split.role(key)) for key, part in split.parts.items())
    shown = {part: [f"{counts[part, role]} {role}" for role in ROLES if counts[part, role]] for part in PARTS}
    return "; ".join(f"{part}: {', '.join(shown[part]) or 'none'}" for part in PARTS if shown[part] or part != "unused")


def identical_across_parts(rows: Sequence[ImageRow], split: Split) -> list[list[str]]:
    """Groups of images with the same content that stand in more than one of train, val and test."""
    groups: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row.digest and split.parts[row.key] != "unused":
            groups[row.digest].append(row.key)
    return [group for group in groups.values() if len({split.parts[key] for key in group}) > 1]
