"""The image index: one CSV row per image of a category. After the data stages, nothing else knows a dataset's layout.

Columns: `image` (path under the category's root, the key of the image), `mask` (path, empty: none),
`official_split` (train | test | empty: the dataset has none), `label` (0 normal, 1 anomalous), `defect` (type, empty
for normal images), `source` (empty: an original; else the key of the image this one was made from, with `#` and a
number where several were made from one), `digest` (SHA-256 of the file), `ignore` (path of an image whose non-zero
pixels are left out of scores and pixel metrics; empty: none).
Tested in tests/data/test_index.py.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from pathlib import Path

import numpy as np
import numpy.typing as npt

from patchshift.data.digests import digest_files
from patchshift.data.tables import read_table, write_table
from patchshift.errors import UserError
from patchshift.runtime.files import digest_bytes

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ImageRow:
    """One image; the fields are the index's columns."""

    image: str
    mask: str
    official_split: str
    label: int
    defect: str
    source: str = ""
    digest: str = ""
    ignore: str = ""

    @property
    def key(self) -> str:
        """What splits, features and scores call this image: in every domain the name of the original."""
        return self.source or self.image


COLUMNS = [field.name for field in fields(ImageRow)]


def write_index(path: Path, rows: Sequence[ImageRow]) -> None:
    """Write an image index."""
    write_table(path, COLUMNS, map(attrgetter(*COLUMNS), rows))


def read_index(path: Path) -> list[ImageRow]:
    """Read an image index, in file order."""
    try:
        return [ImageRow(**{**row, "label": int(row["label"])}) for row in read_table(path, COLUMNS)]  # type: ignore[arg-type]
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): delete it and run again") from None


def add_digests(rows: Sequence[ImageRow], root: Path, cache: Path | None = None) -> list[ImageRow]:
    """The same rows with the digests of their files' content.

    Args:
        rows: the images.
        root: the folder that they are relative to.
        cache: file that remembers digests from one call to the next, so that only new and changed files are read.

    Raises:
        UserError: if a file is missing.
    """
    digests = digest_files([row.image for row in rows], root, cache)
    return [replace(row, digest=digest) for row, digest in zip(rows, digests, strict=True)]


def limit_per_class(rows: Sequence[ImageRow], limit: int) -> list[ImageRow]:
    """At most `limit` images of each official split and defect type, chosen at random but always the same."""
    groups: dict[tuple[str, str], list[ImageRow]] = defaultdict(list)
    for row in rows:
        groups[row.official_split, row.defect].append(row)
    kept = {key for group in groups.values() for key in shuffle((row.image for row in group), "subset")[:limit]}
    return [row for row in rows if row.image in kept]


def shuffle(keys: Iterable[str], draw: str) -> list[str]:
    """Keys in a random order: by a hash of each key and the name of the draw, so the others keep theirs."""
    return sorted(keys, key=lambda key: digest_bytes(f"{draw} {key}".encode()))


def find_rows(wanted: Sequence[str], images: Sequence[str], *, path: Path, lacks: str) -> Int64:
    """Where an artifact holds the named images.

    Args:
        wanted: image keys.
        images: the artifact's image keys, in row order.
        path: the artifact, for the message.
        lacks: what the message says between the artifact and the missing images, e.g. "has no features of".

    Returns:
        [n] the row of each wanted image, in that order.

    Raises:
        UserError: if an image is missing.
    """
    position = {image: row for row, image in enumerate(images)}
    missing = [image for image in wanted if image not in position]
    if missing:
        raise UserError(
            f"{path} {lacks} {', '.join(missing[:5])} ({len(missing)} in all): the images changed since it was made; "
            "delete it and run again"
        )
    return np.array([position[image] for image in wanted], np.int64)
