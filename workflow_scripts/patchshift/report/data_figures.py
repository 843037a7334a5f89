"""The figures of data cards: how large defects are, and whom each split puts where.

Tested in tests/report/test_data_card.py.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from patchshift.data.card import PATCH_SHARE, CategoryCard, DefectCard
from patchshift.report.figures import WIDTH
from patchshift.report.style import INK, MUTED, PALETTE, RULE, colour, figure_style

ROWS = 12  # defect types of a category that are drawn, the most frequent
DOTS = 150  # of a defect type at most: evenly spaced ones stand for more

_BLUE, _VERMILLION, _GREEN = PALETTE[:3]
SEGMENTS = {  # (part, role) -> colour, how much of it, hatching
    ("train", "normal"): (_BLUE, 0.35, ""),
    ("train", "contaminant"): (_BLUE, 1.0, "xxxx"),
    ("train", "positive"): (_BLUE, 1.0, ""),
    ("val", "normal"): (_GREEN, 0.35, ""),
    ("val", "positive"): (_GREEN, 1.0, ""),
    ("test", "normal"): (_VERMILLION, 0.35, ""),
    ("test", "positive"): (_VERMILLION, 1.0, ""),
    ("unused", "normal"): (MUTED, 0.2, ""),
    ("unused", "positive"): (MUTED, 0.6, ""),
}
ROLE_NAMES = {"normal": "good", "positive": "defective", "contaminant": "defective, taken for good"}


def draw_areas(categories: Sequence[CategoryCard]) -> Figure | None:
    """The share of the image that each defect covers, on a log scale; None if no defect has a mask.

    One panel per category, one row per defect type; the dotted line is one patch.
    """
    panels = {each.category: _drawn(each) for each in categories}
    panels = {category: defects for category, defects in panels.items() if defects}
    if not panels:
        return None
    columns = min(3, len(panels))
    names = list(panels)
    bands = [names[first : first + columns] for first in range(0, len(names), columns)]
    heights = [0.62 + 0.24 * max(len(panels[name]) for name in band) for band in bands]
    areas = [area for defects in panels.values() for defect in defects for area in defect.areas]
    limits = (100 * min(min(areas), PATCH_SHARE) / 1.6, min(100, 100 * max(max(areas), PATCH_SHARE) * 1.6))
    with figure_style():
        figure = Figure(figsize=(WIDTH, 0.25 + sum(heights)))
        grid = figure.subplots(len(bands), columns, squeeze=False, height_ratios=heights)
        for axes in grid.flat:
            axes.set_visible(False)
        for axes, (category, defects) in zip(grid.flat, panels.items(), strict=False):
            axes.set_visible(True)
            _draw_panel(axes, category, defects, limits)
        for band in grid:
            for axes in band[:1] if len(bands) > 1 else band:
                axes.set_xlabel("% of the image")
    return figure


def _drawn(category: CategoryCard) -> list[DefectCard]:
    measured = [defect for defect in category.defects if defect.areas]
    frequent = sorted(measured, key=lambda defect: -defect.images)[:ROWS]
    return [defect for defect in measured if defect in frequent]


def _draw_panel(axes: Axes, category: str, defects: Sequence[DefectCard], limits: tuple[float, float]) -> None:
    axes.axvline(100 * PATCH_SHARE, color=INK, linewidth=0.9, linestyle=":")
    for row, defect in enumerate(defects):
        areas = np.asarray(defect.areas)
        shown = 100 * areas[np.unique(np.linspace(0, len(areas) - 1, DOTS).round().astype(int))]
        # a fixed pattern spreads neighbours: no two runs differ
        spread = ((np.arange(len(shown)) * 0.618034) % 1 - 0.5) * 0.5
        axes.plot(
            shown, row + spread, "o", color=colour(1), markersize=3.4, markeredgecolor="white", markeredgewidth=0.3,
            alpha=0.75, linestyle="",
        )  # fmt: skip
        assert defect.area is not None
        quartiles = (defect.area.first_quartile, defect.area.median, defect.area.third_quartile)
        first, median, third = (100 * share for share in quartiles)
        axes.plot([first, third], [row, row], color=INK, linewidth=1.1, solid_capstyle="butt")
        axes.plot([median, median], [row - 0.34, row + 0.34], color=INK, linewidth=2.0, solid_capstyle="butt")
    axes.set(title=shorten(category, 30), xscale="log", xlim=limits, ylim=(len(defects) - 0.4, -0.6))
    axes.set_yticks(range(len(defects)), [shorten(defect.defect, 22) for defect in defects])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: "")
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    for y in range(1, len(defects)):
        axes.axhline(y - 0.5, color=RULE, linewidth=0.6)


def draw_balance(categories: Sequence[CategoryCard]) -> Figure:
    """How many images of which role each part has: one panel per split, one bar per category."""
    splits = list(dict.fromkeys(split.split for category in categories for split in category.splits))
    names = [category.category for category in categories]
    largest = max(category.images for category in categories)
    height = 0.5 + 0.26 * len(names)
    with figure_style():
        figure = Figure(figsize=(WIDTH, 0.75 + height * len(splits)))
        grid = figure.subplots(len(splits), 1, squeeze=False, sharex=True)
        used = set()
        for axes, split in zip(grid[:, 0], splits, strict=True):
            for row, category in enumerate(categories):
                used |= _draw_bar(axes, row, _by_segment(category, split), largest)
            axes.set(title=f"split {split}", ylim=(len(names) - 0.45, -0.55), xlim=(0, largest * 1.01))
            axes.set_yticks(range(len(names)), [shorten(name, 30) for name in names])
            axes.tick_params(axis="y", length=0)
            axes.grid(visible=False, axis="y")
            axes.spines["left"].set_visible(False)
        grid[-1, 0].set_xlabel("images")
        shown = [segment for segment in SEGMENTS if segment in used]
        handles = [_patch(*SEGMENTS[segment]) for segment in shown]
        labels = [f"{part}: {ROLE_NAMES[role]}" for part, role in shown]
        figure.legend(handles, labels, loc="outside lower left", ncols=min(5, len(shown)), handlelength=1.4)
    return figure


def _by_segment(category: CategoryCard, split: str) -> dict[tuple[str, str], int]:
    counts = [count for card in category.splits if card.split == split for count in card.counts]
    return {
        segment: sum(count.images for count in counts if (count.part, count.role) == segment) for segment in SEGMENTS
    }


def _draw_bar(axes: Axes, row: int, counts: dict[tuple[str, str], int], largest: int) -> set[tuple[str, str]]:
    """Draw one category's bar; the segments that it has."""
    left = 0
    for segment, images in counts.items():
        tint, amount, hatching = SEGMENTS[segment]
        axes.barh(
            row, images, 0.72, left=left, color=_mix(tint, amount), hatch=hatching, edgecolor="white", linewidth=0.8
        )
        if images >= 0.011 * largest * (len(str(images)) + 0.5):
            ink = INK if amount < 0.7 else "white"
            axes.text(left + images / 2, row, str(images), ha="center", va="center", fontsize=7.5, color=ink)
        left += images
    return {segment for segment, images in counts.items() if images}


def _patch(tint: str, amount: float, hatching: str) -> Patch:
    return Patch(facecolor=_mix(tint, amount), hatch=hatching, edgecolor="white", linewidth=0.8)


def _mix(tint: str, amount: float) -> tuple[float, float, float]:
    """A colour thinned with white."""
    red, green, blue = (amount * channel + 1 - amount for channel in to_rgb(tint))
    return red, green, blue


def shorten(name: str, length: int) -> str:
    """A name that fits beside an axis."""
    return name if len(name) <= length else name[: length - 1].rstrip() + "…"
