"""Measure a category for its dataset's card: from its image index, its splits and the pack of its images as they are.

Tested in tests/data/test_card.py.
"""

import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import label

from patchshift.data.card import (
    PATCH_SHARE,
    CategoryCard,
    CategoryFiles,
    Count,
    DefectCard,
    Placed,
    SizeCount,
    Sizes,
    SplitCard,
    Spread,
)
from patchshift.data.index import ImageRow, read_index
from patchshift.data.packs import Pack
from patchshift.data.splits import PARTS, Split, identical_across_parts, read_split
from patchshift.errors import UserError

EXAMPLES = 8  # images of a category that its card shows: a good one, and one of each of its most frequent defect types
EIGHT_CONNECTED = np.ones((3, 3))


def measure_category(files: CategoryFiles) -> CategoryCard:
    """Measure one category.

    Raises:
        UserError: if a file is missing or damaged, or they are not of the same images.
    """
    rows = read_index(files.index)
    splits = {name: _read_split_of(rows, path) for name, path in files.splits.items()}
    with Pack(files.pack) as pack:
        places = pack.rows([row.key for row in rows])
        images = [_measure_image(row, pack, place) for row, place in zip(rows, places, strict=True)]
    defects = [_measure_defect(name, images) for name in sorted({row.defect for row in rows if row.label})]
    areas = [area for defect in defects for area in defect.areas]
    hidden = {image.row.key for image in images if image.hidden}
    return CategoryCard(
        category=files.category,
        normal=sum(not row.label for row in rows),
        anomalous=sum(row.label for row in rows),
        official=_count((row.official_split, "positive" if row.label else "normal", row.defect) for row in rows),
        splits=[_measure_split(name, split, rows, hidden) for name, split in splits.items()],
        sizes=_measure_sizes([image.size for image in images]),
        grey=sum(image.grey for image in images),
        defects=defects,
        area=_spread(areas) if areas else None,
        below_patch=_plain(sum(area < PATCH_SHARE for area in areas) / len(areas)) if areas else None,
        empty_masks=[image.row.key for image in images if image.row.label and image.row.mask and not image.area],
        without_mask=[row.key for row in rows if row.label and not row.mask],
        hidden=[row.key for row in rows if row.key in hidden],
        ignored=_spread([image.ignored for image in images]) if any(image.ignored for image in images) else None,
        label_conflicts=_find_label_conflicts(rows),
        examples=_choose_examples(images),
    )


@dataclass(frozen=True)
class _Measured:
    """What is measured of one image; `area` and `ignored` are shares of its pixels."""

    row: ImageRow
    size: tuple[int, int]
    area: float
    regions: int
    ignored: float
    hidden: bool
    grey: bool


def _measure_image(row: ImageRow, pack: Pack, place: int) -> _Measured:
    mask = pack.mask(place)
    return _Measured(
        row=row,
        size=(mask.shape[0], mask.shape[1]),
        area=_plain(mask.mean()),
        regions=int(label(mask, EIGHT_CONNECTED)[1]) if mask.any() else 0,
        ignored=_plain(pack.ignore(place).mean()) if pack.has_ignore else 0.0,
        hidden=bool(row.label and not pack.labels[place]),
        grey=_is_grey(pack.thumbnail(place)),
    )


def _is_grey(thumbnail: bytes) -> bool:
    with Image.open(io.BytesIO(thumbnail)) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    return bool((pixels == pixels[..., :1]).all())


def _measure_sizes(sizes: Sequence[tuple[int, int]]) -> Sizes:
    distinct = [SizeCount(*size, images) for size, images in Counter(sizes).items()]
    height, width, aspect, pixels = (
        _spread(values)
        for values in zip(*((height, width, width / height, height * width) for height, width in sizes), strict=True)
    )
    return Sizes(
        sorted(distinct, key=lambda each: (-each.images, each.height, each.width)), height, width, aspect, pixels
    )


def _measure_defect(name: str, images: Sequence[_Measured]) -> DefectCard:
    own = [image for image in images if image.row.label and image.row.defect == name]
    areas = sorted(image.area for image in own if image.area)
    return DefectCard(
        defect=name,
        images=len(own),
        areas=areas,
        area=_spread(areas) if areas else None,
        regions=_spread([image.regions for image in own if image.area]) if areas else None,
        below_patch=sum(area < PATCH_SHARE for area in areas),
    )


def _read_split_of(rows: Sequence[ImageRow], path: Path) -> Split:
    split = read_split(path)
    if set(split.parts) != {row.key for row in rows}:
        raise UserError(f"{path} is not of the images of the index: delete it and run again")
    return split


def _measure_split(name: str, split: Split, rows: Sequence[ImageRow], hidden: set[str]) -> SplitCard:
    parts = {part: split.of(part) for part in PARTS}
    positive = {part: sum(key in split.anomalous for key in keys) for part, keys in parts.items()}
    seen = sum(key in split.anomalous and key not in hidden for key in parts["test"])
    copies = [Counter(split.parts[row.key] for row in group) for group in _identical(rows)]
    within = {part: sum(images[part] > 1 for images in copies) for part in PARTS}
    return SplitCard(
        split=name,
        counts=_count((split.parts[row.key], split.role(row.key), row.defect) for row in rows),
        shares={part: _plain(len(keys) / len(rows)) for part, keys in parts.items()},
        anomalous={
            part: _plain(positive[part] / len(parts[part])) if parts[part] else None for part in ("val", "test")
        },
        f1_floor=_plain(2 * seen / (seen + len(parts["test"]))) if seen else None,
        identical_across=[
            [Placed(key, split.parts[key]) for key in group] for group in identical_across_parts(rows, split)
        ],
        identical_within={part: groups for part, groups in within.items() if groups},
    )


def _count(kinds: Iterable[tuple[str, str, str]]) -> list[Count]:
    return [Count(*kind, images) for kind, images in sorted(Counter(kinds).items())]


def _identical(rows: Sequence[ImageRow]) -> list[list[ImageRow]]:
    """Groups of several images with the same content."""
    groups: dict[str, list[ImageRow]] = defaultdict(list)
    for row in rows:
        if row.digest:
            groups[row.digest].append(row)
    return [group for group in groups.values() if len(group) > 1]


def _find_label_conflicts(rows: Sequence[ImageRow]) -> list[list[Placed]]:
    conflicts = [group for group in _identical(rows) if len({row.label for row in group}) > 1]
    return [[Placed(row.key, row.defect) for row in group] for group in conflicts]


def _choose_examples(images: Sequence[_Measured]) -> list[Placed]:
    good = [image.row for image in images if not image.row.label]
    by_defect: dict[str, list[_Measured]] = defaultdict(list)
    for image in images:
        if image.row.label:
            by_defect[image.row.defect].append(image)
    frequent = sorted(by_defect, key=lambda defect: (-len(by_defect[defect]), defect))[: EXAMPLES - 1]
    middle = [_middle(by_defect[defect]).row for defect in sorted(frequent)]
    return [Placed(row.key, row.defect) for row in [*good[len(good) // 2 :][:1], *middle]]


def _middle(images: Sequence[_Measured]) -> _Measured:
    """The image of middle area, of those whose mask marks something if there are any."""
    ranked = sorted(images, key=lambda image: (image.area, image.row.key))
    marked = [image for image in ranked if image.area] or ranked
    return marked[(len(marked) - 1) // 2]


def _spread(values: Sequence[float]) -> Spread:
    return Spread(len(values), *map(_plain, np.quantile(np.asarray(values, np.float64), [0, 0.25, 0.5, 0.75, 1])))


def _plain(value: float) -> float:
    """A number without the last digits, which differ between processors."""
    return float(f"{value:.9g}")
