"""Turned copies of a split's good training images: more normal patches for few-shot banks.

AnomalyDINO (Damm et al. 2024) adds the patches of such copies to its bank, for products that lie in any direction.
Tested in tests/data/test_turns.py.
"""

import logging
from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path

from patchshift.data.defects.sources import digests_of_test, part_of
from patchshift.data.images import read_image
from patchshift.data.index import ImageRow, write_index
from patchshift.data.shifts import write_png
from patchshift.data.shifts.geometric import turn_about_centre, warp_image
from patchshift.data.splits import Split
from patchshift.data.workers import map_rows
from patchshift.errors import UserError
from patchshift.plan.domain_specs import TurnSpec

log = logging.getLogger(__name__)


def turn_images(
    rows: Sequence[ImageRow], split: Split, root: Path, spec: TurnSpec, folder: Path, *, workers: int = 1
) -> None:
    """Write turned copies of what the split's banks are fitted on, with their index, into `folder`.

    Copies have the size of their image; what comes into view is mirrored. They count as normal, those of contaminants,
    too: these are taken for good. Their keys are `{image key}#turn{angle:g}`.

    Args:
        rows: the category's image index.
        split: who is train.
        root: folder that the index is relative to.
        spec: by which angles.
        folder: the domain's folder.
        workers: processes that share the work. The result does not depend on their number.

    Raises:
        UserError: if there is nothing to turn, an image is not in the split, or images cannot be read; then one
            message lists them all.
    """
    sources = _choose(rows, split)
    if not sources:
        raise UserError(
            f"split '{spec.split}' has no training image whose content is not also that of a test image: there is "
            "nothing to turn; remove the duplicates (the data card lists them)"
        )
    turned = map_rows(partial(_turn_row, root=root, spec=spec, folder=folder), sources, workers)
    write_index(folder / "index.csv", list(chain.from_iterable(turned)))


def _choose(rows: Sequence[ImageRow], split: Split) -> list[ImageRow]:
    """The training images that are taken for good, in index order; none with the content of a test image."""
    good, tested = set(split.taken_for_good), digests_of_test(rows, split)
    chosen = []
    for row in rows:
        if part_of(row, split) == "train" and row.key in good:
            if row.digest in tested:
                log.warning("%s is not turned: an image of test has the same content", row.key)
            else:
                chosen.append(row)
    return chosen


def _turn_row(row: ImageRow, root: Path, spec: TurnSpec, folder: Path) -> list[ImageRow]:
    """Write the copies of one image; their rows in the domain's index."""
    image = read_image(root / row.image, digest=row.digest or None)
    made = []
    for angle in spec.angles:
        tag = f"turn{angle:g}"
        name = f"images/{row.key}_{tag}.png"
        digest = write_png(warp_image(image, turn_about_centre(image.shape[:2], angle)), folder / name)
        made.append(ImageRow(name, "", "train", 0, "", source=f"{row.key}#{tag}", digest=digest))
    return made
