"""Shifted domains: the same images as another camera, light or fixture would show them.

Each transform of an image draws from its own random stream, seeded by the image's content, the transform's name and the
seed. So adding images changes no other image, an image turns the same way at every severity, only further, and a
transform alone draws what it draws in a composition.
Tested in tests/data/test_shifts.py and tests/data/test_shift_synthesis.py; measured in benchmarks/shifts.py.
"""

import io
import logging
import multiprocessing
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image
from threadpoolctl import threadpool_limits

from patchshift.data.images import raise_all, read_image, read_mask
from patchshift.data.index import ImageRow, write_index
from patchshift.data.shifts.geometric import GEOMETRIC, draw_warp, warp_image, warp_mask
from patchshift.data.shifts.photometric import PHOTOMETRIC
from patchshift.data.shifts.severities import LEVELS
from patchshift.data.streams import draw_stream
from patchshift.errors import UserError
from patchshift.plan.domain_specs import DomainSpec
from patchshift.runtime.files import digest_bytes
from patchshift.runtime.memory import keep_freed_memory
from patchshift.runtime.threads import limit_threads

UInt8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]
Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 8  # images that a worker takes at a time
REPORT_SECONDS = 10
LISTED = 10
WORTH_SECONDS = 6  # of work left: for less, starting workers takes longer than they save

log = logging.getLogger(__name__)


def shift_image(image: UInt8, masks: Sequence[Bool], digest: str, spec: DomainSpec) -> tuple[UInt8, list[Bool]]:
    """One image under a declared shift.

    The geometric transforms are one warp, before the photometric ones; either keep their order among themselves.

    Args:
        image: [H, W, 3] RGB. Where its channels are equal it is grey, and stays so.
        masks: any number of [H, W] masks, to be moved along.
        digest: the image file's digest: with the transform's name and the seed, it seeds each stream.
        spec: which transforms, how strong, and the seed.

    Returns:
        The shifted image and masks, of the same sizes.
    """
    if spec.strength == 0:
        return image, list(masks)
    amounts = {name: LEVELS[name].between(spec.strength) for name in spec.transforms}
    streams = {name: draw_stream(digest, name, spec.seed) for name in amounts}
    pixels = _drop_equal_channels(image)
    moves = {name: amount for name, amount in amounts.items() if name in GEOMETRIC}
    if moves:
        matrix = draw_warp(pixels.shape[:2], moves, streams)
        pixels, masks = warp_image(pixels, matrix), [warp_mask(mask, matrix) for mask in masks]
    for name, amount in amounts.items():
        if name in PHOTOMETRIC:
            pixels = PHOTOMETRIC[name](pixels, amount, streams[name])
    return (pixels if pixels.ndim == 3 else pixels[..., None].repeat(3, axis=2)), list(masks)


def synthesize_shift(rows: Sequence[ImageRow], root: Path, spec: DomainSpec, folder: Path, *, workers: int = 1) -> None:
    """Write all images, masks and ignore masks of a category under a shift, with their own index, into `folder`.

    Images are PNG, under their original path with `.png` added; `index.csv` names the original in `source`. An image
    whose defect left the frame becomes normal; all such are named in one warning.

    Args:
        rows: the clean domain's index.
        root: folder that the index is relative to.
        spec: which transforms, how strong, and the seed.
        folder: where to write; it may exist.
        workers: processes that share the work. The result does not depend on their number.

    Raises:
        UserError: listing every image or mask that cannot be read, and every mask whose size is not its image's; or if
            a worker was killed.
    """
    shift = partial(_shift_rows, root=root, spec=spec, folder=folder)
    outcomes = list(_report_pace(_share_out(shift, rows, workers), len(rows)))
    raise_all([outcome for outcome in outcomes if isinstance(outcome, str)])
    shifted = [outcome for outcome in outcomes if not isinstance(outcome, str)]
    _report_lost_defects(shifted)
    write_index(folder / "index.csv", [outcome.row for outcome in shifted])


@dataclass(frozen=True)
class _Shifted:
    """A shifted image's row, and how much of its defect's area is left; 1 without a defect."""

    row: ImageRow
    left: float


def _shift_rows(rows: Sequence[ImageRow], root: Path, spec: DomainSpec, folder: Path) -> list[_Shifted | str]:
    """What became of some images, each its row or what was wrong with its files."""
    outcomes: list[_Shifted | str] = []
    for row in rows:
        try:
            outcomes.append(_shift_row(row, root, spec, folder))
        except UserError as error:
            outcomes.append(str(error))
    return outcomes


def _shift_row(row: ImageRow, root: Path, spec: DomainSpec, folder: Path) -> _Shifted:
    image = read_image(root / row.image, digest=row.digest)
    masks = {name: read_mask(root / path) for name, path in (("mask", row.mask), ("ignore", row.ignore)) if path}
    for name, mask in masks.items():
        if mask.shape != image.shape[:2]:
            raise UserError(
                f"{name} {root / getattr(row, name)} is {mask.shape}, its image {row.image} is {image.shape[:2]}: they "
                "must match"
            )
    moved, moved_masks = shift_image(image, list(masks.values()), row.digest, spec)
    # one mask may serve many images, and each moves it in its own way: all are named after the image
    paths = {"image": f"images/{row.image}.png", "ignore": row.ignore and f"ignore/{row.image}.png"}
    paths["mask"] = row.mask and f"masks/{row.image}.png"
    digest = _save(moved, folder / paths["image"])
    shifted, left = replace(row, **paths, source=row.key, digest=digest), 1.0  # type: ignore[arg-type]
    for name, mask in zip(masks, moved_masks, strict=True):
        if name == "mask" and masks[name].any():
            left = float(mask.sum() / masks[name].sum())
            if left == 0:
                shifted = replace(shifted, label=0, defect="", mask="")
                continue
        _save(mask.astype(np.uint8) * 255, folder / paths[name])
    return _Shifted(shifted, left)


def _report_lost_defects(shifted: Sequence[_Shifted]) -> None:
    gone = [outcome.row.key for outcome in shifted if outcome.left == 0]
    if gone:
        log.warning(
            "%s lost its defect, which left the frame, and counts as normal here: %s%s",
            "1 image" if len(gone) == 1 else f"each of {len(gone)} images",
            ", ".join(gone[:LISTED]),
            f" and {len(gone) - LISTED} more" if len(gone) > LISTED else "",
        )
    smaller = sum(0 < outcome.left < 0.5 for outcome in shifted)
    if smaller:
        log.info("%d images show less than half of their defect's area", smaller)


def _drop_equal_channels(image: UInt8) -> UInt8:
    """A grey image as [H, W]; any other as it is."""
    first = image[..., 0]
    grey = all(np.array_equal(first, image[..., channel]) for channel in (1, 2))
    return np.ascontiguousarray(first) if grey else image


def encode_png(pixels: UInt8) -> bytes:
    """A PNG of [H, W] or [H, W, 3], grey where the channels are equal."""
    buffer = io.BytesIO()
    picture = Image.fromarray(pixels if pixels.ndim == 2 else _drop_equal_channels(pixels))
    # for photographs, run lengths alone make files no larger than a search for repetitions, in two thirds of the time
    picture.save(buffer, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return buffer.getvalue()


def _save(pixels: UInt8, path: Path) -> str:
    """Write a PNG; the digest of the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = encode_png(pixels)
    path.write_bytes(content)
    return digest_bytes(content)


def _report_pace(chunks: Iterable[list[_Shifted | str]], total: int) -> Iterator[_Shifted | str]:
    """Pass the outcomes on; now and then, log how fast they come."""
    start = last = time.monotonic()
    done = 0
    for chunk in chunks:
        yield from chunk
        done += len(chunk)
        now = time.monotonic()
        if now - last >= REPORT_SECONDS or done == total:
            last, pace = now, done / max(now - start, 1e-9)
            log.info("%d of %d images, %.1f images/s, %.0f s left", done, total, pace, (total - done) / pace)


def _share_out(
    shift: Callable[[Sequence[ImageRow]], Result], rows: Sequence[ImageRow], workers: int
) -> Iterator[Result]:
    """Results in order: the first image is shifted here, the others by processes where that is worth their start."""
    start = time.perf_counter()
    yield from _map_in_processes(shift, [rows[:1]], 1)
    left = (time.perf_counter() - start) * (len(rows) - 1)
    chunks = [rows[first : first + CHUNK] for first in range(1, len(rows), CHUNK)]
    yield from _map_in_processes(shift, chunks, workers if left > WORTH_SECONDS else 1)


def _map_in_processes(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    """Results in order, each computed by a process with one numerical thread; a single worker is this process."""
    workers = min(workers, len(items))
    if workers <= 1:
        with threadpool_limits(1):
            yield from map(function, items)
        return
    # forked processes would inherit locks that this process' threads hold
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_prepare_worker)
    try:
        yield from pool.map(function, items)
    except BrokenProcessPool:
        raise UserError(
            "a worker was killed, most likely because memory ran out: run again with fewer cores (--cores)"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare_worker() -> None:
    limit_threads(1)
    keep_freed_memory()
