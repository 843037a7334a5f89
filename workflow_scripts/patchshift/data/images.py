"""The one place that reads image files.

Tested in tests/data/test_images.py.
"""

import io
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from patchshift.errors import UserError
from patchshift.runtime.files import digest_bytes
from patchshift.runtime.pools import map_in_order

UInt8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]
Item = TypeVar("Item")
Result = TypeVar("Result")

WORKERS = 2
LISTED = 50

SIXTEEN_BIT = 65535


def read_image(path: Path, *, digest: str | None = None) -> UInt8:
    """An image as RGB.

    Greys become three equal channels, 16-bit greys are scaled to 8 bits, palettes are resolved, transparency is
    dropped. Orientation tags are ignored, because masks have none.

    Args:
        path: the image file.
        digest: SHA-256 that the file must have (the image index's), if given.

    Returns:
        [H, W, 3].

    Raises:
        UserError: if the file is missing, unreadable, truncated, too large or of another pixel type, or changed since
            it was indexed.
    """
    return np.asarray(_read_colours(path, digest).convert("RGB"))


def read_resized(path: Path, size: tuple[int, int], *, digest: str | None = None) -> UInt8:
    """An image as `read_image` reads it, squashed to `size` (height, width): [*size, 3]; bicubic, with antialiasing.

    Raises:
        UserError: as `read_image`.
    """
    image = _read_colours(path, digest).resize(size[::-1], Image.Resampling.BICUBIC)
    return np.asarray(image.convert("RGB"))


def read_mask(path: Path) -> Bool:
    """A mask: [H, W], True (defective) where any channel but transparency is not zero.

    Raises:
        UserError: if the file is missing, unreadable, truncated or too large.
    """
    image = decode_image(path)
    if image.mode in ("LA", "RGBA"):
        image = image.convert(image.mode[:-1])
    # A palette's indices are taken as they are: annotation tools write the class there, 0 is background.
    pixels = np.asarray(image) != 0
    defective: Bool = pixels.any(axis=2) if pixels.ndim == 3 else pixels
    return defective


def read_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image in pixels.

    Raises:
        UserError: as `read_image`.
    """
    width, height = decode_image(path).size
    return height, width


def map_files(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Apply a function that reads files to all items, in threads, in order.

    Raises:
        UserError: one, listing what was wrong with every item, so that all can be mended at once.
    """
    return list(stream_files(function, items))


def stream_files(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Apply a function that reads files to all items, in threads, in order; few results are held at a time.

    Results end at the first item that is wrong; the others are still read.

    Raises:
        UserError: as `map_files`, after the last item.
    """

    def attempt(item: Item) -> tuple[Result | None, str]:
        try:
            return function(item), ""
        except UserError as error:
            return None, str(error)

    mistakes: list[str] = []
    with ThreadPoolExecutor(WORKERS) as pool:
        for result, mistake in map_in_order(pool, attempt, items, ahead=2 * WORKERS):
            if mistake:
                mistakes.append(mistake)
            elif not mistakes:
                yield result  # type: ignore[misc]
    raise_all(mistakes)


def raise_all(mistakes: list[str]) -> None:
    """Raise one UserError for many bad files; do nothing where there are none."""
    if mistakes:
        count = "1 file" if len(mistakes) == 1 else f"{len(mistakes)} files"
        more = [f"and {len(mistakes) - LISTED} more"] if len(mistakes) > LISTED else []
        raise UserError("\n  ".join([f"{count} cannot be used:", *mistakes[:LISTED], *more]))


def decode_image(path: Path, digest: str | None = None) -> Image.Image:
    """An image as it is stored, whatever its mode.

    Raises:
        UserError: as `read_image`, but for pixel types.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if digest is not None and digest_bytes(content) != digest:
        raise UserError(f"{path}: changed since it was indexed; run again with --forcerun index_images")
    try:
        image = Image.open(io.BytesIO(content))
        image.load()
    except Image.DecompressionBombError as error:  # Pillow's limit, about 180 million pixels
        raise UserError(f"{path}: too large ({error}): shrink it or cut it into parts") from error
    except MemoryError:
        raise
    except UnidentifiedImageError as error:
        raise UserError(f"{path}: not a readable image (empty, or of no known format)") from error
    except Exception as error:  # decoders fail on damaged files in many ways
        raise UserError(f"{path}: not a readable image ({error})") from error
    return image


def _read_colours(path: Path, digest: str | None) -> Image.Image:
    """An image in 8-bit grey or RGB; greys stay one channel, a third of the work for what follows."""
    image = decode_image(path, digest)
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_eight_bits(path, image)
    return image if image.mode == "L" else image.convert("RGB")


def _to_eight_bits(path: Path, image: Image.Image) -> Image.Image:
    # Pillow would clip at 255 instead of scaling.
    pixels = np.asarray(image)
    if image.mode == "F" or pixels.min() < 0 or pixels.max() > SIXTEEN_BIT:
        raise UserError(f"{path}: pixels are neither 8-bit nor 16-bit: convert it, with a scale of your choice")
    return Image.fromarray((pixels.astype(np.float32) * (255 / SIXTEEN_BIT) + 0.5).astype(np.uint8))
