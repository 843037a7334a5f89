"""Kolektor Surface-Defect Dataset 2 (Bozic et al. 2021).

Tested in tests/data/test_adapters.py.
"""

import logging
import re
from collections.abc import Iterator

from patchshift.data.adapters.tree import Tree, name_some, stem
from patchshift.data.images import map_files, read_mask
from patchshift.data.index import ImageRow
from patchshift.errors import UserError

MASK = "_GT"
COPY = re.compile(r"\([^)]*copy[^)]*\)", re.IGNORECASE)

log = logging.getLogger(__name__)


def list_ksdd2(tree: Tree) -> Iterator[ImageRow]:
    """`{train,test}/NNNNN.png` with `NNNNN_GT.png`. An image is good if its mask is zero everywhere.

    The archive holds a few stray copies, such as `10301_GT (copy).png`: they are left out.

    Raises:
        UserError: if images have no mask, or masks cannot be read.
    """
    found = {split: tree.images(split, (".png",)) for split in ("train", "test")}
    copies = [path for paths in found.values() for path in paths if COPY.search(path)]
    if copies:
        log.warning("%s: %d stray copies are left out: %s", tree.root, len(copies), ", ".join(copies))
    masks = {
        image: tree.find(f"{image[:-4]}{MASK}.png")
        for paths in found.values()
        for image in paths
        if not COPY.search(image) and not stem(image).endswith(MASK)
    }
    without = [image for image, mask in masks.items() if not mask]
    if without:
        raise UserError(
            f"{len(without)} images under {tree.root} have no mask `NNNNN{MASK}.png` ({name_some(without)}): in KSDD2 "
            "good images have one, too; bring the masks, or remove these images"
        )
    defective = map_files(lambda mask: bool(read_mask(tree.root / mask).any()), masks.values())
    for (image, mask), label in zip(masks.items(), defective, strict=True):
        split = image.partition("/")[0]
        yield ImageRow(image, mask if label else "", split, int(label), "defect" if label else "")
