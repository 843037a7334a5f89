"""The image index: one CSV row per image of a category. After the data stages, nothing else knows a dataset's layout.

Columns: `image` (path under the category's root, the key of the image), `mask` (path, empty: none),
`official_split` (train | test | empty: the dataset has none), `label` (0 normal, 1 anomalous), `defect` (type, empty
for normal images), `source` (empty: an original; else the key of the image this one was made from), `digest`
(SHA-256 of the file).
Tested in tests/data/test_index.py.
"""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from patchshift.errors import UserError
from patchshift.runtime.files import digest_bytes, digest_file, write_text

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

    @property
    def key(self) -> str:
        """What splits, features and scores call this image: in every domain the name of the original."""
        return self.source or self.image


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV atomically."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def read_table(path: Path, header: Sequence[str]) -> list[dict[str, str]]:
    """Read a CSV that has exactly these columns.

    Raises:
        UserError: if there is no such file, or it has other columns, rows of another length, or is not text.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            found, *rows = csv.reader(file, strict=True)
        if found == list(header):
            return [dict(zip(header, row, strict=True)) for row in rows]
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: run the stage that makes it") from None
    except (ValueError, csv.Error):  # empty, not text, or rows of another length
        pass
    raise UserError(f"{path} is damaged (columns should be {', '.join(header)}): delete it and run again")


COLUMNS = [field.name for field in fields(ImageRow)]


def write_index(path: Path, rows: Sequence[ImageRow]) -> None:
    """Write an image index."""
    write_table(path, COLUMNS, map(astuple, rows))


def read_index(path: Path) -> list[ImageRow]:
    """Read an image index, in file order."""
    try:
        return [ImageRow(**{**row, "label": int(row["label"])}) for row in read_table(path, COLUMNS)]  # type: ignore[arg-type]
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): delete it and run again") from None


def add_digests(rows: Sequence[ImageRow], root: Path) -> list[ImageRow]:
    """The same rows with the digests of their files' content."""
    with ThreadPoolExecutor(4) as pool:
        digests = pool.map(lambda row: digest_file(root / row.image), rows)
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
