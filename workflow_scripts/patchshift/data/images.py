"""The one place that reads image files.

Tested in tests/data/test_images.py.
"""

import io
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from patchshift.errors import UserError
from patchshift.runtime.files import digest_bytes

UInt8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]
Item = TypeVar("Item")
Result = TypeVar("Result")

WORKERS = 2
LISTED = 50


def read_image(path: Path, *, digest: str | None = None) -> UInt8:
    """An image as RGB.

    Args:
        path: the image file; 16-bit greys are scaled to 8 bits, palettes resolved, transparency dropped.
        digest: SHA-256 that the file must have (the image index's), if given.

    Returns:
        [H, W, 3].

    Raises:
        UserError: if the file is missing, unreadable or truncated, or changed since it was indexed.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if digest is not None and digest_bytes(content) != digest:
        raise UserError(f"{path}: changed since it was indexed; run again with --forcerun index_images")
    return np.asarray(_decode(path, content, "RGB"))


def read_mask(path: Path) -> Bool:
    """A mask: [H, W], True (defective) where any channel is not zero.

    Raises:
        UserError: if the file is missing, unreadable or truncated.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    pixels = np.asarray(_decode(path, content, None))
    return pixels.any(axis=2) if pixels.ndim == 3 else pixels != 0


def resize_image(image: UInt8, size: int) -> UInt8:
    """Squash an [H, W, 3] image to [size, size, 3], bicubic with antialiasing."""
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))


def map_files(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Apply a function that reads files to all items, in threads, in order.

    Raises:
        UserError: one, listing what was wrong with every item, so that all can be mended at once.
    """

    def attempt(item: Item) -> tuple[Result | None, str]:
        try:
            return function(item), ""
        except UserError as error:
            return None, str(error)

    with ThreadPoolExecutor(WORKERS) as pool:
        outcomes = list(pool.map(attempt, items))
    raise_all([mistake for _, mistake in outcomes if mistake])
    return [result for result, _ in outcomes]  # type: ignore[misc]


def raise_all(mistakes: list[str]) -> None:
    """Raise one UserError for many bad files; do nothing where there are none."""
    if mistakes:
        more = [f"and {len(mistakes) - LISTED} more"] if len(mistakes) > LISTED else []
        raise UserError("\n  ".join([f"{len(mistakes)} files cannot be used:", *mistakes[:LISTED], *more]))


def _decode(path: Path, content: bytes, mode: str | None) -> Image.Image:
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            if mode is None:
                return image.copy()
            if image.mode.startswith("I"):  # Pillow would clip 16-bit greys instead of scaling them
                grey = (np.asarray(image, np.float32) / 257).clip(0, 255).astype(np.uint8)
                return Image.fromarray(grey).convert(mode)
            return image.convert(mode)
    except Image.DecompressionBombError as error:
        raise UserError(f"{path}: {error}") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path}: not a readable image ({error})") from error
