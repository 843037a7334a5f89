"""Rectangles of an image: around the defects of a mask, with context, inside the frame.

Tested in tests/data/test_crops.py.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import find_objects, label

Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, order=True)
class Box:
    """Rows `top` to `bottom` and columns `left` to `right` of an image; the ends are not part of it."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """To index an array [H, W, ...]."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def widened(self, margin: int) -> "Box":
        """The box with `margin` pixels more on each side, wherever the image ends."""
        return Box(self.top - margin, self.left - margin, self.bottom + margin, self.right + margin)

    def overlaps(self, other: "Box") -> bool:
        """Whether the two share a pixel."""
        return (
            self.top < other.bottom and other.top < self.bottom and self.left < other.right and other.left < self.right
        )

    def framed(self, shape: tuple[int, int], minimum: tuple[int, int] = (0, 0)) -> "Box":
        """The box grown around its centre to at least `minimum` (rows, columns), then moved into the image.

        Where the image is smaller than that, the box has its whole extent.
        """
        top, bottom = _frame(self.top, self.bottom, minimum[0], shape[0])
        left, right = _frame(self.left, self.right, minimum[1], shape[1])
        return Box(top, left, bottom, right)


def find_boxes(mask: Bool, margin: int) -> list[Box]:
    """The boxes of the 8-connected regions of a mask [H, W], `margin` wider than the regions, sorted.

    Boxes that overlap are one: the smallest box around both. Boxes may reach over the image's border.
    """
    regions, _ = label(mask, np.ones((3, 3)))
    found = [Box(rows.start, columns.start, rows.stop, columns.stop) for rows, columns in find_objects(regions)]
    return merge_boxes(box.widened(margin) for box in found)


def merge_boxes(boxes: Iterable[Box]) -> list[Box]:
    """The smallest boxes around the given ones that do not overlap, sorted."""
    merged: list[Box] = []
    for box in boxes:
        joined = box
        while near := [other for other in merged if other.overlaps(joined)]:
            merged = [other for other in merged if other not in near]
            group = [joined, *near]
            joined = Box(
                min(box.top for box in group),
                min(box.left for box in group),
                max(box.bottom for box in group),
                max(box.right for box in group),
            )
        merged.append(joined)
    return sorted(merged)


def _frame(start: int, stop: int, minimum: int, extent: int) -> tuple[int, int]:
    length = min(max(stop - start, minimum), extent)
    start = min(max((start + stop - length) // 2, 0), extent - length)
    return start, start + length
