"""Example images of a category, as every domain's pack holds them.

Tested in tests/report/test_examples.py.
"""

import io
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from patchshift.data.index import shuffle
from patchshift.data.packs import Pack
from patchshift.report.shift_gallery import Picture

DEFECTS = 3  # types of defects that are shown
LONGEST = 20  # characters of a file's name


def choose_examples(pack: Path) -> list[str]:
    """A good image, and one of each of a few types of defects: always the same ones."""
    with Pack(pack) as clean:
        by_type: dict[str, str] = {}
        order = shuffle(clean.images, "examples")
        defect = dict(zip(clean.images, clean.defects, strict=True))
        for image in order:
            by_type.setdefault(defect[image], image)
    return [by_type[name] for name in sorted(by_type)][: 1 + DEFECTS]


def show_examples(packs: Sequence[Path], images: Sequence[str]) -> dict[str, list[Picture]]:
    """Type of defect (`good` without) -> its example in each pack, with its mask there."""
    shown: dict[str, list[Picture]] = {}
    for position, path in enumerate(packs):
        with Pack(path) as pack:
            for number, row in enumerate(pack.rows(images)):
                if position == 0:
                    shown[pack.defects[row] or "good"] = []
                list(shown.values())[number].append(_read_picture(pack, row))
    return shown


def read_pictures(path: Path, images: Sequence[str]) -> list[tuple[str, Picture]]:
    """Name and picture of each of some images, with its mask: type of defect (`good` without), and file.

    Raises:
        UserError: if an image is not in the pack.
    """
    with Pack(path) as pack:
        return [
            (f"{pack.defects[row] or 'good'}\n{_shorten(image)}", _read_picture(pack, row))
            for image, row in zip(images, pack.rows(images), strict=True)
        ]


def _shorten(image: str) -> str:
    """A file's name without its folder; of a long one the end, where numbers are."""
    name = PurePosixPath(image).name
    return name if len(name) <= LONGEST else f"\N{HORIZONTAL ELLIPSIS}{name[1 - LONGEST :]}"


def _read_picture(pack: Pack, row: int) -> Picture:
    thumbnail = np.asarray(Image.open(io.BytesIO(pack.thumbnail(row))).convert("RGB"))
    return Picture(thumbnail, pack.mask(row))
