"""What a detector is fitted on: normal images, which category each comes from, and defective ones.

Tested in tests/detectors/test_training.py.
"""

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from patchshift.data.defects.sources import select_rows
from patchshift.data.index import read_index
from patchshift.data.packs import Pack
from patchshift.data.splits import Split, origin_of, read_split
from patchshift.errors import UserError
from patchshift.features.store import FeatureRows, FeatureStore, pool, warn_of_differences
from patchshift.plan.detector_specs import DETECTOR
from patchshift.runtime.sealed import Check, check_seal_if_any

Int16 = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Positives:
    """Defective images for a positive bank.

    Attributes:
        features: of the images.
        pack: the file of their masks.
    """

    features: FeatureRows
    pack: Path


@dataclass(frozen=True)
class TrainingSet:
    """What a detector is fitted on.

    Attributes:
        features: the n normal images.
        members: the categories that they come from, `dataset/category`; none: one that is not named.
        member_of: [n] index into `members` of each image.
        positives: the defective images.
    """

    features: FeatureRows
    members: Sequence[str] = ()
    member_of: Int16 = field(default_factory=lambda: np.zeros(0, np.int16))
    positives: Sequence[Positives] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of every script that fits: the normal images, and how."""
    parser.add_argument("--members", nargs="+", required=True, help="categories (dataset/category)")
    parser.add_argument("--features", type=Path, nargs="+", required=True, help="their feature stores (HDF5)")
    parser.add_argument("--splits", type=Path, nargs="+", required=True, help="their splits (CSV)")
    parser.add_argument("--turned", type=Path, nargs="+", default=[], help="stores of turned images, by category")
    parser.add_argument("--spec", type=DETECTOR.validate_json, required=True, help="fit spec (JSON)")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--stage", required=True, help="stage version")


def open_training(
    stack: ExitStack,
    *,
    members: Sequence[str],
    features: Sequence[Path],
    splits: Sequence[Path],
    turned: Sequence[Path] = (),
    packs: Sequence[Path] = (),
    indexes: Sequence[Path] = (),
    positives: Sequence[Path] = (),
    positive_packs: Sequence[Path] = (),
    check: Check = check_seal_if_any,
) -> TrainingSet:
    """Open the stores that a detector is fitted on.

    Args:
        stack: closes them.
        members: the category of each of `features`, `dataset/category`.
        features: stores, one for each member.
        splits: their splits, in the same order.
        turned: stores of turned training images, all of the first member first; as many for each.
        packs: packs of the members: the masks of their defective training images; none: these are not used.
        indexes: image indexes of the members, with the packs: a training image whose content is also that of a test
            image is no known defect, with a warning.
        positives: stores of defects that were made from training images, ordered as `turned` is.
        positive_packs: their packs, in the same order.
        check: what is done about the seals of the stores; comparing them reads all features once.

    Raises:
        UserError: if a file is damaged, an image of a split is not in its store, or a defect was made from an image
            that does not train.
    """
    assigned = [read_split(split) for split in splits]
    stores = [stack.enter_context(FeatureStore(path, check=check)) for path in features]
    selections = [
        (member, store.select(split.taken_for_good))
        for member, (store, split) in enumerate(zip(stores, assigned, strict=True))
    ]
    for number, path in enumerate(turned):
        member = number * len(members) // len(turned)
        store, good = stack.enter_context(FeatureStore(path, check=check)), set(assigned[member].taken_for_good)
        selections.append((member, store.select([key for key in store.images if key.rpartition("#")[0] in good])))
    defective = []
    for store, split, pack, index in zip(stores, assigned, packs, indexes, strict=bool(packs)):
        known = [row.key for row in select_rows(read_index(index), split, "train", positive=True)]
        if known:
            defective.append(Positives(store.select(known), pack))
    for number, (path, pack) in enumerate(zip(positives, positive_packs, strict=True)):
        store = stack.enter_context(FeatureStore(path, check=check))
        with Pack(pack) as packed:
            known = [key for key, label in zip(packed.images, packed.labels, strict=True) if label]
        _check_they_train(known, assigned[number * len(members) // len(positives)], pack)
        defective.append(Positives(store.select(known), pack))
    normal = pool([rows for _, rows in selections])
    warn_of_differences(
        "the features of normal images", normal.made, [store for each in defective for store, _ in each.features.parts]
    )
    return TrainingSet(
        normal,
        list(members),
        np.concatenate([np.full(len(rows), member, np.int16) for member, rows in selections]),
        defective,
    )


def _check_they_train(keys: Sequence[str], split: Split, pack: Path) -> None:
    origins = {key: split.parts.get(origin_of(key), "train") for key in keys}  # a user's own have none
    others = [f"{key} ({part})" for key, part in origins.items() if part != "train"]
    if others:
        raise UserError(
            f"{pack} holds defects of images that do not train: {', '.join(others[:5])} ({len(others)} in all). Make "
            "them from the split of the bank, synthetic ones with `part: train`"
        )
