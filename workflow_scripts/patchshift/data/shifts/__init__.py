"""Shifted domains: the same images as another camera, light or fixture would show them; and views of them.

Each transform of an image draws from its own random stream, seeded by the image's content, the transform's name and the
seed. So adding images changes no other image, an image turns the same way at every severity, only further, and a
transform alone draws what it draws in a composition.
Tested in tests/data/test_shifts.py and tests/data/test_shift_synthesis.py; measured in benchmarks/shifts.py.
"""

import io
import logging
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from patchshift.data.images import read_image, read_mask
from patchshift.data.index import ImageRow, write_index
from patchshift.data.shifts.geometric import GEOMETRIC, draw_warp, warp_image, warp_mask
from patchshift.data.shifts.photometric import PHOTOMETRIC
from patchshift.data.shifts.severities import LEVELS
from patchshift.data.shifts.views import cut_view
from patchshift.data.streams import draw_stream
from patchshift.data.workers import map_rows
from patchshift.errors import UserError
from patchshift.plan.domain_specs import DomainSpec
from patchshift.runtime.files import digest_bytes

UInt8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]

LISTED = 10

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
    """Write all images, masks and ignore masks of a category under a shift or in a view, with their index, to `folder`.

    Images are PNG, under their original path with `.png` added; `index.csv` names the original in `source`. An image
    whose defect left the frame becomes normal; all such are named in one warning.

    Args:
        rows: the clean domain's index.
        root: folder that the index is relative to.
        spec: a domain of kind `shift` or `view`.
        folder: where to write; it may exist.
        workers: processes that share the work. The result does not depend on their number.

    Raises:
        UserError: listing every image or mask that cannot be read, and every mask whose size is not its image's; or if
            a worker was killed.
    """
    shifted = map_rows(partial(_shift_row, root=root, spec=spec, folder=folder), rows, workers)
    _report_lost_defects(shifted)
    write_index(folder / "index.csv", [outcome.row for outcome in shifted])


@dataclass(frozen=True)
class _Shifted:
    """A shifted image's row, and how much of its defect's area is left; 1 without a defect."""

    row: ImageRow
    left: float


def _shift_row(row: ImageRow, root: Path, spec: DomainSpec, folder: Path) -> _Shifted:
    image = read_image(root / row.image, digest=row.digest)
    masks = {name: read_mask(root / path) for name, path in (("mask", row.mask), ("ignore", row.ignore)) if path}
    for name, mask in masks.items():
        if mask.shape != image.shape[:2]:
            raise UserError(
                f"{name} {root / getattr(row, name)} is {mask.shape}, its image {row.image} is {image.shape[:2]}: they "
                "must match"
            )
    if spec.view:
        moved, moved_masks = cut_view(image, list(masks.values()), spec.view)
        pixel = (min(image.shape[:2]) / spec.view.short_side) ** 2  # area of one, in pixels of the original
    else:
        moved, moved_masks = shift_image(image, list(masks.values()), row.digest, spec)
        pixel = 1.0
    # one mask may serve many images, and each moves it in its own way: all are named after the image
    paths = {"image": f"images/{row.image}.png", "ignore": row.ignore and f"ignore/{row.image}.png"}
    paths["mask"] = row.mask and f"masks/{row.image}.png"
    digest = write_png(moved, folder / paths["image"])
    shifted, left = replace(row, **paths, source=row.key, digest=digest), 1.0  # type: ignore[arg-type]
    for name, mask in zip(masks, moved_masks, strict=True):
        if name == "mask" and masks[name].any():
            left = pixel * float(mask.sum() / masks[name].sum())
            if left == 0:
                shifted = replace(shifted, label=0, defect="", mask="")
                continue
        write_png(mask.astype(np.uint8) * 255, folder / paths[name])
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


def write_png(pixels: UInt8, path: Path) -> str:
    """Write a PNG; the digest of the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = encode_png(pixels)
    path.write_bytes(content)
    return digest_bytes(content)
