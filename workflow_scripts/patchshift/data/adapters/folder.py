"""The user's own images in folders.

Tested in tests/data/test_adapters.py.
"""

from collections import Counter
from collections.abc import Iterator

from patchshift.data.adapters.tree import Tree, stem
from patchshift.data.index import ImageRow
from patchshift.errors import UserError


def list_folder(tree: Tree) -> Iterator[ImageRow]:
    """`good`, `defect/{type}` and `masks/{type}/NNN.png`, or `train` and `test` that hold these folders each.

    A mask may also be `masks/NNN.png` where no two defective images have that name. Masks are optional, and so is
    `test/good`.

    Raises:
        UserError: if the folders of good images are missing, or a mask could belong to several images.
    """
    if not tree.has_folder("good") and (tree.has_folder("train") or tree.has_folder("test")):
        yield from _list_part(tree, "train")
        yield from _list_part(tree, "test")
    else:
        yield from _list_part(tree, "")


def _list_part(tree: Tree, split: str) -> Iterator[ImageRow]:
    base = f"{split}/" if split else ""
    tree.folders(split)
    if split != "test" or tree.has_folder("test/good"):
        for image in tree.images(f"{base}good"):
            yield ImageRow(image, "", split, 0, "")
    types = tree.folders(f"{base}defect") if tree.has_folder(f"{base}defect") else []
    images = {defect: tree.images(f"{base}defect/{defect}") for defect in types}
    masks = _find_masks(tree, f"{base}masks", images)
    for defect, paths in images.items():
        for image in paths:
            yield ImageRow(image, masks[image], split, 1, defect)


def _find_masks(tree: Tree, folder: str, images: dict[str, list[str]]) -> dict[str, str]:
    names = Counter(stem(image) for paths in images.values() for image in paths)
    masks = {}
    for defect, paths in images.items():
        for image in paths:
            own, common = f"{folder}/{defect}/{stem(image)}.png", f"{folder}/{stem(image)}.png"
            masks[image] = tree.find(own) or tree.find(common)
            if masks[image] == common and names[stem(image)] > 1:
                raise UserError(
                    f"{tree.root / common} could be the mask of {names[stem(image)]} images, {image} among them: put "
                    f"it into the folder of its defect type, {folder}/{defect}/"
                )
    return masks
