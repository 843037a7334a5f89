"""Figures of shifts: images under each of them with their defects outlined, and what severity does to a metric.

Tested in tests/report/test_shift_gallery.py.
"""

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from patchshift.report.figures import WIDTH, add_legend
from patchshift.report.results import Value
from patchshift.report.style import MUTED, colour, dashes, figure_style, marker

UInt8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]

SEVERITIES = ("clean", "mild", "moderate", "severe")
OUTLINE = "#56B4E9"  # as defects are outlined in the report's pictures
HALO = "#10151a"

_GAP = 0.05  # inches between pictures
_LARGEST = 1.7  # inches that a picture takes across
_LETTER = 0.068  # inches that a letter of a name takes, on average
_DISTANCE = 0.015  # from a defect to its outline, of the longer side


@dataclass(frozen=True)
class Picture:
    """An image as it is shown.

    Attributes:
        image: [H, W, 3] RGB.
        mask: [H, W], True where defective; it may have another size than the image, of the same shape.
    """

    image: UInt8
    mask: Bool


def draw_gallery(rows: Mapping[str, Sequence[Picture]], columns: Sequence[str]) -> Figure:
    """Example images in each domain, defects outlined.

    Args:
        rows: name of an example -> its picture in each domain.
        columns: names of the domains, `clean` first.
    """
    return _draw_blocks([rows], columns)


def draw_transform_gallery(rows: Mapping[str, Sequence[Picture]], columns: Sequence[str] = SEVERITIES) -> Figure:
    """One image under every transform (rows, in two blocks side by side) and severity (columns), defects outlined.

    Args:
        rows: name of a transform -> its picture at each severity.
        columns: names of the severities.
    """
    half = -(-len(rows) // 2)
    items = list(rows.items())
    return _draw_blocks([dict(items[:half]), dict(items[half:])], columns)


def _draw_blocks(blocks: Sequence[Mapping[str, Sequence[Picture]]], columns: Sequence[str]) -> Figure:
    blocks = [block for block in blocks if block]
    names = {name: wrap_name(name, 18 if len(blocks) == 1 else 12) for block in blocks for name in block}
    labels = 0.1 + _LETTER * max(len(line) for lines in names.values() for line in lines)
    block_width = WIDTH / len(blocks)
    width = min((block_width - labels) / len(columns), _LARGEST)
    block_width = labels + width * len(columns)
    across = block_width * len(blocks)
    # bold letters are wider
    titles = [wrap_name(column, int(width / _LETTER / 1.15)) for column in columns]
    heading = 0.1 + 0.14 * max(map(len, titles))
    heights = [[_GAP + (width - _GAP) * _tallest(pictures) for pictures in block.values()] for block in blocks]
    down = heading + max(map(sum, heights))
    with figure_style():
        figure = Figure(figsize=(across, down))
        figure.set_layout_engine("none")
        for number, block in enumerate(blocks):
            left, top = number * block_width + labels, down - heading
            for column, title in enumerate(titles):
                middle = left + column * width + (width - _GAP) / 2
                figure.text(
                    middle / across, (top + 0.04) / down, "\n".join(title), ha="center", va="bottom", fontsize=8,
                    fontweight="bold",
                )  # fmt: skip
            for (name, pictures), height in zip(block.items(), heights[number], strict=True):
                for column, picture in enumerate(pictures):
                    place = (left + column * width, top - height + _GAP, width - _GAP, height - _GAP)
                    draw_picture(figure.add_axes(np.divide(place, (across, down, across, down)).tolist()), picture)
                figure.text(
                    (left - 0.07) / across, (top - (height - _GAP) / 2) / down, "\n".join(names[name]), ha="right",
                    va="center", fontsize=8,
                )  # fmt: skip
                top -= height
    return figure


def _tallest(pictures: Sequence[Picture]) -> float:
    """Height over width, the most of some pictures."""
    return max(float(picture.image.shape[0] / picture.image.shape[1]) for picture in pictures)


def wrap_name(name: str, letters: int) -> list[str]:
    """A name in lines of at most so many letters, broken between its words only."""
    lines = [""]
    for word in re.findall(r"[^ _/#-]*[ _/#-]?", name):
        if lines[-1] and len(lines[-1] + word.rstrip()) > letters:
            lines.append("")
        lines[-1] += word
    return [line.strip() for line in lines]


def draw_picture(axes: Axes, picture: Picture) -> None:
    """An image that fills its axes, defects outlined."""
    from scipy.ndimage import distance_transform_edt  # slow to import, and who draws no pictures needs none of it

    height, width = picture.image.shape[:2]
    # edges at whole numbers, whatever the size of image and mask
    axes.imshow(picture.image, extent=(0, width, height, 0), interpolation="lanczos", interpolation_stage="rgba")
    if picture.mask.any():
        rows, columns = picture.mask.shape
        # at some distance, so that thin defects stay visible; beyond the frame, so that lines close
        margin = round(_DISTANCE * max(rows, columns)) + 2
        distance = distance_transform_edt(~np.pad(picture.mask, margin))
        x = (np.arange(columns + 2 * margin) - margin + 0.5) * width / columns
        y = (np.arange(rows + 2 * margin) - margin + 0.5) * height / rows
        for line, thickness in ((HALO, 1.5), (OUTLINE, 0.8)):
            axes.contour(x, y, distance, levels=[_DISTANCE * max(rows, columns)], colors=[line], linewidths=thickness)
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()


def draw_severity_ladder(panels: Mapping[str, Mapping[str, Sequence[tuple[float, Value]]]]) -> Figure:
    """Image AUROC against severity: one panel per shift, one line per category, with intervals.

    Args:
        panels: shift -> category -> (severity from 0 to 3, value) in rising order; what is undefined is left out.
    """
    categories = list(dict.fromkeys(category for lines in panels.values() for category in lines))
    columns = min(3, len(panels))
    bands = -(-len(panels) // columns)
    values = [
        end
        for lines in panels.values()
        for steps in lines.values()
        for _, value in steps
        for end in (value.low, value.value)
        if end is not None
    ]
    lowest = min([0.5, *(np.floor(value * 20) / 20 for value in values)])
    with figure_style():
        figure = Figure(figsize=(WIDTH, 0.35 + bands * (0.55 + 0.62 * WIDTH / max(columns, 2))))
        grid = figure.subplots(bands, columns, squeeze=False, sharex=True, sharey=True)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        for axes, (shift, lines) in zip(grid.flat, panels.items(), strict=False):
            axes.axhline(0.5, color=MUTED, linewidth=0.8, linestyle=":")
            for category, steps in lines.items():
                _draw_steps(axes, steps, categories.index(category), len(categories))
            axes.set(title=textwrap.fill(shift, 90 // columns), xlim=(-0.2, 3.2), ylim=(lowest - 0.02, 1.02))
            axes.set_xticks(range(4), SEVERITIES)
            axes.tick_params(labelbottom=True)
            axes.grid(visible=False, axis="x")
        for axes in grid[:, 0]:
            axes.set_ylabel("image AUROC (chance is 0.5)")
        handles = [_ladder_line(position) for position in range(len(categories))]
        add_legend(figure, handles, categories)
    return figure


def _ladder_line(position: int) -> Line2D:
    return Line2D(
        [], [], color=colour(position), linestyle=dashes(position), marker=marker(position),
        markersize=5, markeredgecolor="white", markeredgewidth=0.6,
    )  # fmt: skip


def _draw_steps(axes: Axes, steps: Sequence[tuple[float, Value]], position: int, count: int) -> None:
    # neighbours' intervals stand beside each other
    offset = (position - (count - 1) / 2) * min(0.08, 0.3 / count)
    line = _ladder_line(position)
    points = []
    for severity, value in steps:
        if value.value is not None:
            points.append((severity + offset, value.value))
        if value.low is not None and value.high is not None:
            ends = [value.low, value.high]
            axes.plot([severity + offset] * 2, ends, color=line.get_color(), linewidth=1.1, alpha=0.7)
    line.set_data([x for x, _ in points], [y for _, y in points])
    line.set_zorder(3)
    axes.add_line(line)
