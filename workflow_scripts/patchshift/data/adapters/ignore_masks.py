"""Ignore masks: images whose non-zero pixels are left out of scores and pixel metrics.

Tested in tests/data/test_adapters.py.
"""

import posixpath
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from patchshift.data.adapters.tree import Tree, stem
from patchshift.data.index import ImageRow
from patchshift.errors import UserError


def add_ignore_masks(rows: Sequence[ImageRow], tree: Tree, ignore_mask: str) -> list[ImageRow]:
    """The same rows with their ignore masks; a row that has one of its own keeps it.

    Args:
        rows: the images.
        tree: the files of their category.
        ignore_mask: path of one mask for all images, or of a folder. In a folder, an image's mask is at the image's
            path with suffix `.png`, or directly in the folder as `NNN.png` if only one image has that name.

    Raises:
        UserError: if there is no such path, or the folder has no mask for any image, or one for several.
    """
    ignore_mask = posixpath.normpath(ignore_mask)
    if tree.find(ignore_mask):
        masks = [ignore_mask] * len(rows)
    elif tree.has_folder(ignore_mask):
        masks = _match(rows, tree, ignore_mask)
    else:
        raise UserError(f"ignore_mask: {tree.root / ignore_mask} does not exist: bring it there, or remove the key")
    return [row if row.ignore else replace(row, ignore=mask) for row, mask in zip(rows, masks, strict=True)]


def _match(rows: Sequence[ImageRow], tree: Tree, folder: str) -> list[str]:
    own = [tree.find(f"{folder}/{_as_png(row.image)}") for row in rows]
    left = Counter(stem(row.image) for row, mask in zip(rows, own, strict=True) if not mask)
    masks = []
    for row, mask in zip(rows, own, strict=True):
        name = stem(row.image)
        masks.append(mask or tree.find(f"{folder}/{name}.png"))
        if masks[-1] and not mask and left[name] > 1:
            raise UserError(
                f"ignore_mask: {tree.root / masks[-1]} could belong to {left[name]} images: name it like one of them, "
                f"{folder}/{_as_png(row.image)}"
            )
    if not any(masks):
        raise UserError(
            f"ignore_mask: no file in {tree.root / folder} has the name of an image, such as "
            f"{_as_png(rows[0].image)}: name them like their images"
        )
    return masks


def _as_png(image: str) -> str:
    return PurePosixPath(image).with_suffix(".png").as_posix()
