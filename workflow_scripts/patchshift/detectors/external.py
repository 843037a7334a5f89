"""Scores of another method, read from a table: they take the place of those of a bank.

Columns of the table: `image` (its key in the image index, or its path), `score`, and optionally `map` (path of a `.npy`
or one-channel image file, relative to the table). docs/detectors.md has an example.
Tested in tests/detectors/test_external.py.
"""

import logging
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from patchshift.data.adapters.lists import Line, Mistake, raise_mistakes, read_lines
from patchshift.data.images import decode_image, map_files
from patchshift.data.index import ImageRow
from patchshift.detectors.scores import Scores
from patchshift.errors import UserError
from patchshift.plan.base import leaves_folder

Float32 = npt.NDArray[np.float32]

COLUMNS = ("image", "score", "map")
IMAGE_SUFFIXES = (".png", ".tif", ".tiff")
ONE_CHANNEL = ("L", "I", "F")  # with those that begin so: `I;16`
SMALLEST_INPUT = 224  # pixels: the shorter side that patch maps are taken to lie on, at least

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExternalScores:
    """What a table says of the images asked for.

    Attributes:
        images: their keys.
        scores: one row per image; without maps these are [n, 0, 0].
        map_files: the files that the maps were read from, in the same order; none without maps.
    """

    images: list[str]
    scores: Scores
    map_files: list[Path]

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) in pixels of what the maps lie on: the smallest whole multiple of their size that is large
        enough for smoothing by a few pixels to be smoothing by a part of a patch; (0, 0) without maps."""
        rows, columns = self.scores.maps.shape[1:]
        times = math.ceil(SMALLEST_INPUT / min(rows, columns)) if rows else 0
        return rows * times, columns * times


def read_external(table: Path, rows: Sequence[ImageRow], root: Path, wanted: Sequence[str]) -> ExternalScores:
    """Read the scores of images, and their maps where the table names any. Nothing is rescaled.

    Args:
        table: CSV file.
        rows: the index of the target's images.
        root: the folder that its paths are relative to.
        wanted: keys of the n images whose scores are read.

    Raises:
        UserError: naming all lines with mistakes (a score that is neither a finite number nor nan, an image that stands
            there twice, a map that is missing or lies outside the table's folder), or the images that have no score, or
            all maps that cannot be read or are of another shape than the first.
    """
    lines, columns, mistakes = read_lines(table, ["image", "score"])
    unused = [name for name in columns if name not in COLUMNS]
    if unused:
        log.warning("%s: columns %s are not used (%s are)", table, ", ".join(unused), ", ".join(COLUMNS))
    given, repeated = _find_images(lines, _names(rows, root))
    used = {key: given[key] for key in wanted if key in given}
    mistakes += [*repeated, *_find_bad_scores(used.values()), *_find_bad_maps(used.values(), table.parent)]
    raise_mistakes(table, mistakes)
    missing = [key for key in wanted if key not in used]
    if missing:
        raise UserError(
            f"{table} has no score of {', '.join(missing[:5])} ({len(missing)} in all): add a row for each validation "
            "and test image, with its key in the image index or its path in column image"
        )
    unknown = len(lines) - len(given)
    if unknown:
        log.warning("%s: %d rows are ignored, because the image index does not have their images", table, unknown)
    _warn_of_ignored_regions([row for row in rows if row.key in used])
    scores = np.array([float(line.values["score"]) for line in used.values()], np.float32)
    if np.isnan(scores).any():
        log.warning("%s: %d images have no score (nan): their metrics are undefined", table, np.isnan(scores).sum())
    files = [table.parent / name for line in used.values() if (name := line.values.get("map"))]
    maps = _read_maps(files) if files else np.zeros((len(used), 0, 0), np.float32)
    log.info("scores of %d images, maps of %d", len(used), len(files))
    return ExternalScores(list(used), Scores(scores, maps), files)


def read_map(path: Path) -> Float32:
    """An anomaly map as it was written, in single precision: [rows, columns].

    Raises:
        UserError: if the file is missing, not whole, or holds anything but rows and columns of finite numbers.
    """
    values = _read_array(path) if path.suffix.lower() == ".npy" else _read_picture(path)
    if values.ndim != 2 or not values.size:
        raise UserError(f"{path}: has shape {values.shape}, a map has rows and columns")
    with np.errstate(over="ignore"):  # what becomes infinite is refused
        single = values.astype(np.float32)
    if not np.isfinite(single).all():
        raise UserError(f"{path}: has values that are no finite numbers in single precision")
    return single


def _names(rows: Sequence[ImageRow], root: Path) -> dict[str, str]:
    """What an image may be called -> its key: the key itself, or the file's path from anywhere."""
    paths = {str((root / row.image).absolute()): row.key for row in rows}
    return {**paths, **{row.image: row.key for row in rows}, **{row.key: row.key for row in rows}}


def _find_images(lines: Sequence[Line], names: Mapping[str, str]) -> tuple[dict[str, Line], list[Mistake]]:
    """Key -> its line, of the images that are known; and lines whose image stands in another line already."""
    found: dict[str, Line] = {}
    repeated: list[Mistake] = []
    for line in lines:
        image = line.values["image"]
        key = names.get(image) or names.get(str(Path(image).absolute()))
        if key is not None and found.setdefault(key, line) is not line:
            repeated.append((line.number, f"image '{key}' stands in line {found[key].number} already"))
    return found, repeated


def _find_bad_scores(lines: Iterable[Line]) -> list[Mistake]:
    return [
        (line.number, f"score '{line.values['score']}' is neither a finite number nor nan")
        for line in lines
        if not _is_score(line.values["score"])
    ]


def _is_score(text: str) -> bool:
    """Whether it is a number that single precision holds, or `nan`: the method gave the image none."""
    try:
        value = float(text)
    except ValueError:
        return False
    return math.isnan(value) or abs(value) <= float(np.finfo(np.float32).max)


def _find_bad_maps(lines: Collection[Line], folder: Path) -> Iterator[Mistake]:
    """Maps that are not where they should be, and images without one beside others that have one."""
    has_maps = any(line.values.get("map") for line in lines)
    for line in lines:
        name = line.values.get("map", "")
        if not name and has_maps:
            yield line.number, "map is empty, but other images have one: give one for all, or for none"
        elif name and leaves_folder(name):
            yield line.number, f"map '{name}' leaves the table's folder: no absolute path, no '..'"
        elif name and Path(name).suffix.lower() not in (".npy", *IMAGE_SUFFIXES):
            yield line.number, f"map '{name}' is none of .npy, {', '.join(IMAGE_SUFFIXES)}: write it as one of these"
        elif name and not (folder / name).is_file():
            yield line.number, f"map '{name}' does not exist under {folder}"


def _read_maps(files: Sequence[Path]) -> Float32:
    """[n, rows, columns], one after the other: all together may be large."""
    first = read_map(files[0])
    maps = np.empty((len(files), *first.shape), np.float32)

    def read(numbered: tuple[int, Path]) -> None:
        number, path = numbered
        single = read_map(path)
        if single.shape != first.shape:
            raise UserError(
                f"{path}: has {single.shape[0]} x {single.shape[1]} values, but {files[0].name} has "
                f"{first.shape[0]} x {first.shape[1]}: write all maps of a table in one shape"
            )
        maps[number] = single

    map_files(read, list(enumerate(files)))
    return maps


def _read_array(path: Path) -> npt.NDArray[Any]:
    try:
        # mapped, so that a header cannot ask for more than the file holds
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: is no whole .npy file of numbers: write it anew with numpy.save") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        raise UserError(f"{path}: does not hold one array of real numbers: write it anew with numpy.save")
    return values


def _read_picture(path: Path) -> npt.NDArray[Any]:
    """The pixels as they were written: 8-bit, 16-bit or floating-point."""
    image = decode_image(path)
    if not image.mode.startswith(ONE_CHANNEL) or image.mode == "LA":
        raise UserError(f"{path}: has colours (mode {image.mode}), a map has one channel: write it in grey")
    return np.asarray(image)


def _warn_of_ignored_regions(rows: Sequence[ImageRow]) -> None:
    ignoring = sum(bool(row.ignore) for row in rows)
    if ignoring:
        log.warning(
            "%d images have ignored regions: pixel metrics leave them out, but image scores are taken as the other "
            "method gave them, and it may have looked there",
            ignoring,
        )
