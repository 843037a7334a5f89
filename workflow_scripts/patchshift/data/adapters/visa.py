"""VisA (Zou et al. 2022).

Tested in tests/data/test_adapters.py.
"""

import logging
import re
from collections.abc import Iterator

from patchshift.data.adapters.lists import Line, raise_mistakes, read_lines
from patchshift.data.adapters.tree import Tree, name_some, stem
from patchshift.data.index import ImageRow
from patchshift.errors import UserError
from patchshift.plan.data_specs import VISA_SPLIT, VISA_TYPES

UNKNOWN, SEVERAL = "anomaly", "combined"

log = logging.getLogger(__name__)


def list_visa(tree: Tree) -> Iterator[ImageRow]:
    """`Data/Images/{Normal,Anomaly}`, `Data/Masks/Anomaly/NNN.png`, defect types in `image_anno.csv`.

    The official split is in `split_csv/1cls.csv` beside the categories' folders. Without that file there is none.

    Raises:
        UserError: if that list lacks an image.
    """
    images = {kind: tree.images(f"Data/Images/{kind}") for kind in ("Normal", "Anomaly")}
    splits = _read_splits(tree, [path for paths in images.values() for path in paths])
    types = _read_types(tree)
    for image in images["Normal"]:
        yield ImageRow(image, "", splits.get(image, ""), 0, "")
    for image in images["Anomaly"]:
        mask = tree.find(f"Data/Masks/Anomaly/{stem(image)}.png")
        yield ImageRow(image, mask, splits.get(image, ""), 1, types.get(image, UNKNOWN))


def _read_splits(tree: Tree, images: list[str]) -> dict[str, str]:
    path, category = tree.root.parent / VISA_SPLIT, tree.root.name
    if not path.is_file():
        log.warning("%s does not exist: %s has no official split", path, tree.root)
        return {}
    lines, _, mistakes = read_lines(path, ("object", "split", "image"))
    own = [line for line in lines if line.values["object"] == category]
    mistakes += [
        (line.number, f"split '{line.values['split']}' is neither train nor test")
        for line in own
        if line.values["split"] not in ("train", "test")
    ]
    raise_mistakes(path, mistakes)
    splits = {_image_of(line): line.values["split"] for line in own}
    unlisted = [image for image in images if image not in splits]
    if unlisted:
        raise UserError(
            f"{path} does not list {len(unlisted)} images of '{category}' ({name_some(unlisted)}): bring the list that "
            "belongs to these images, or remove it to go on without an official split"
        )
    missing = sorted(splits.keys() - set(images))
    if missing:
        log.warning("%d images that %s lists are missing (%s)", len(missing), path, name_some(missing))
    return splits


def _read_types(tree: Tree) -> dict[str, str]:
    path = tree.root / VISA_TYPES
    if not path.is_file():
        return {}
    lines, _, mistakes = read_lines(path, ("image", "label"))
    raise_mistakes(path, mistakes)
    return {_image_of(line): _defect_type(line.values["label"]) for line in lines}


def _image_of(line: Line) -> str:
    """A listed path below the category's folder: the lists begin it with the category."""
    path = line.values["image"]
    return path[max(path.find("Data/"), 0) :]


def _defect_type(label: str) -> str:
    types = {slug for part in label.split(",") if (slug := re.sub(r"[^a-z0-9]+", "_", part.lower()).strip("_"))}
    return SEVERAL if len(types) > 1 else next(iter(types), UNKNOWN)
