"""Data cards as pages, and as sections of a study's report.

Tested in tests/report/test_data_card.py.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from patchshift.data.card import CategoryCard, CategoryFiles, Count, DataCard, Placed
from patchshift.data.packs import Pack
from patchshift.data.splits import PARTS
from patchshift.report.background import list_lines
from patchshift.report.data_figures import DOTS, ROWS, draw_areas, draw_balance
from patchshift.report.data_wording import Finding, describe_colour, describe_sizes, list_findings
from patchshift.report.pictures import IGNORED_GREY, MASK_COLOUR, outline, shrink_ignored, shrink_mask, to_data_uri
from patchshift.report.templating import Picture, draw_picture, render

Bool = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]

EXAMPLE_SIDE = 200  # longest side of an example, pixels
OPEN_CATEGORIES = 3  # of more, the details are folded away
GOOD = "good"


@dataclass(frozen=True)
class CountCell:
    """A count in a table; `contaminants` of these are taken for good."""

    images: int
    contaminants: int


@dataclass(frozen=True)
class CountTable:
    """Images by kind and part.

    Attributes:
        groups: what the columns belong to (`split ...`) and how many of them.
        parts: the columns.
        rows: kind (`good`, or a defect type) and whether it is a defect, number of images, and a cell for each column.
    """

    groups: list[tuple[str, int]]
    parts: list[str]
    rows: list[tuple[str, bool, int, list[CountCell]]]


@dataclass(frozen=True)
class Example:
    """An image to show: a data URI, its name, and its defect type (empty: good)."""

    picture: str
    image: str
    defect: str
    marked: bool


@dataclass(frozen=True)
class CategorySection:
    """One category of a card as it is shown."""

    card: CategoryCard
    sizes: str
    colour: str
    counts: CountTable
    examples: list[Example]


@dataclass(frozen=True)
class DatasetSection:
    """A card as it is shown."""

    card: DataCard
    settings: str
    findings: list[Finding]
    areas: Picture | None
    balance: Picture
    categories: list[CategorySection]


def render_card(card: DataCard) -> str:
    """The page of a card; its pictures come from the packs of the dataset's categories."""
    return render("data_card.html", {"section": describe_dataset(card), "open_categories": OPEN_CATEGORIES})


def describe_dataset(card: DataCard) -> DatasetSection:
    """All that a page shows of a dataset.

    Raises:
        UserError: if a pack is missing or lacks an image of the card.
    """
    areas = draw_areas(card.categories)
    return DatasetSection(
        card,
        "\n".join(list_lines(card.settings)),
        list_findings(card.categories),
        draw_picture(areas, f"areas-{card.dataset}", _caption_areas(card.categories)) if areas else None,
        draw_picture(
            draw_balance(card.categories),
            f"balance-{card.dataset}",
            "Images of each part, good ones pale and defective ones dark.",
        ),
        [_describe_category(card.dataset, category) for category in card.categories],
    )


def _caption_areas(categories: Sequence[CategoryCard]) -> str:
    caption = (
        "Share of its image that a defect covers, one dot per image, on a logarithmic scale. Thick marks are medians, "
        "thin lines go from the first to the third quartile. Dotted: one patch of 8 × 8 in 224 × 224 pixels."
    )
    measured = [[defect for defect in category.defects if defect.areas] for category in categories]
    if any(len(defects) > ROWS for defects in measured):
        caption += f" Only the {ROWS} most frequent defect types of a category are drawn."
    if any(len(defect.areas) > DOTS for defects in measured for defect in defects):
        caption += f" Of many images, {DOTS} evenly spaced ones are drawn."
    return caption


def _describe_category(dataset: str, category: CategoryCard) -> CategorySection:
    with Pack(CategoryFiles.of(dataset, category.category).pack) as pack:
        rows = pack.rows([example.image for example in category.examples])
        examples = [_show(pack, row, example) for row, example in zip(rows, category.examples, strict=True)]
    return CategorySection(
        category, describe_sizes(category), describe_colour(category), tabulate_counts(category), examples
    )


def tabulate_counts(category: CategoryCard) -> CountTable:
    """The images of a category by kind, and by part of the official split and of each of the study's."""
    official = [count for count in category.official if count.part]
    tables = {"official split": official} if official else {}
    tables |= {f"split {split.split}": split.counts for split in category.splits}
    parts = {name: [part for part in PARTS if any(c.part == part for c in counts)] for name, counts in tables.items()}
    kinds = [(GOOD, False, category.normal), *((each.defect, True, each.images) for each in category.defects)]
    rows = []
    for kind, is_defect, images in kinds:
        defect = kind if is_defect else ""
        cells = [_fill(tables[name], part, defect, is_defect) for name in tables for part in parts[name]]
        rows.append((kind, is_defect, images, cells))
    return CountTable(
        groups=[(name, len(columns)) for name, columns in parts.items()],
        parts=[part for columns in parts.values() for part in columns],
        rows=rows,
    )


def _fill(counts: Sequence[Count], part: str, defect: str, is_defect: bool) -> CountCell:
    own = [c for c in counts if (c.part, c.defect) == (part, defect) and (c.role != "normal") == is_defect]
    return CountCell(sum(c.images for c in own), sum(c.images for c in own if c.role == "contaminant"))


def _show(pack: Pack, row: int, example: Placed) -> Example:
    mask, ignore = pack.mask(row), pack.ignore(row)
    picture = show_outlined(pack.thumbnail(row), mask, ignore)
    return Example(picture, example.image, example.place, bool(mask.any()))


def show_outlined(thumbnail: bytes, mask: Bool, ignore: Bool) -> str:
    """An image, small, with its defects outlined and its ignored region pale: a data URI.

    Args:
        thumbnail: a JPEG.
        mask: [height, width] of the original image, True where defective.
        ignore: likewise, True where ignored.
    """
    with Image.open(io.BytesIO(thumbnail)) as opened:
        small = opened.convert("RGB")
        small.thumbnail((EXAMPLE_SIDE, EXAMPLE_SIDE), Image.Resampling.LANCZOS)
        picture = np.array(small, np.float64)
    size = (picture.shape[0], picture.shape[1])
    ignored = shrink_ignored(ignore, size)
    picture[ignored] = 0.4 * picture[ignored] + 0.6 * IGNORED_GREY
    inside = shrink_mask(mask, size)
    inside |= outline(inside)  # a pixel away, so that thin defects stay visible
    line = outline(inside)
    picture[outline(inside | line)] *= 0.35  # stands out from bright and from dark images
    picture[line] = MASK_COLOUR
    return to_data_uri(picture)
