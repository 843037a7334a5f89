"""Whose vectors the patches of a target find in the bank of a pool: its own category's, or another's.

Tested in tests/evaluation/test_pools.py.
"""

from pathlib import Path

import numpy as np

from patchshift.data.regions import read_ignored_patches
from patchshift.evaluation.scored import ScoredImages

COMPOSITION = ("own_vector_share", "foreign_neighbours_normal", "foreign_neighbours_anomalous")
"""What `measure_composition` tells."""


def measure_composition(images: ScoredImages, category: str, pack: Path) -> dict[str, float]:
    """How much of a pool's bank is of a category, and how often the category's patches find the others' vectors.

    Args:
        images: n images of the category, scored by the bank.
        category: theirs, `dataset/category`. If the pool has it not, all vectors are another category's. Those of a
            positive bank are nobody's and do not count.
        pack: of the images: what they ignore does not count.

    Returns:
        `own_vector_share`: share of the bank's normal vectors that come from the category;
        `foreign_neighbours_normal` and `foreign_neighbours_anomalous`: share of the patches of normal and of anomalous
        images whose nearest vector comes from another one, absent without such images. All in [0, 1]; nothing where
        the bank does not tell its vectors' categories.

    Raises:
        UserError: if an image is not in the pack.
    """
    if "member" not in images.parts:
        return {}
    foreign = images.parts["member"] != _number(images, category)
    ignored = read_ignored_patches(pack, images.images, images.grid)
    counted = np.ones(foreign.shape, np.bool_) if ignored is None else ~ignored
    vectors = {member: images.facts[f"bank_vectors/{member}"] for member in images.members}
    composition = {"own_vector_share": vectors.get(category, 0.0) / sum(vectors.values())}
    for name, label in (("normal", 0), ("anomalous", 1)):
        of_class = foreign[counted & (images.labels == label)[:, None, None]]
        if of_class.size:
            composition[f"foreign_neighbours_{name}"] = float(of_class.mean())
    return composition


def _number(images: ScoredImages, category: str) -> int:
    """What `member` calls a category; -1, which no vector has, where the pool has it not."""
    return list(images.members).index(category) if category in images.members else -1
