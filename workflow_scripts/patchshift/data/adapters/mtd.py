"""Magnetic Tile Defects (Huang et al. 2020).

Tested in tests/data/test_adapters.py.
"""

from collections.abc import Iterator

from patchshift.data.adapters.tree import Tree
from patchshift.data.index import ImageRow

DEFECTS = ("Blowhole", "Break", "Crack", "Fray", "Uneven")


def list_mtd(tree: Tree) -> Iterator[ImageRow]:
    """`MT_{Free,defect}/Imgs/*.jpg`, masks beside as `.png`; no official split."""
    for kind in ("Free", *DEFECTS):
        normal = kind == "Free"
        for image in tree.images(f"MT_{kind}/Imgs", (".jpg",)):
            mask = tree.find(f"{image[:-4]}.png")  # good images have masks, too, all zero
            yield ImageRow(image, "" if normal else mask, "", int(not normal), "" if normal else kind.lower())
