"""Figures of what features tell apart: a map of patches, and each defect type's separability layer by layer.

Tested in tests/report/test_inspection_figures.py.
"""

import math
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from patchshift.evaluation.inspection_store import FEWEST, PatchMap
from patchshift.evaluation.separability import ALL_LAYERS, Separation
from patchshift.report.figures import WIDTH, add_legend, wrap_title
from patchshift.report.style import INK, MUTED, PALETTE, RULE, colour, dot, figure_style, marker

Float32 = npt.NDArray[np.float32]

METHODS = {"tsne": "t-SNE", "umap": "UMAP"}
GREY = "#9aa4ad"  # good patches, behind the coloured ones
_LARGEST = 5.4  # inches that a panel takes across
_FEW = 50  # patches; a type that has fewer is drawn larger


def draw_patch_map(patches: PatchMap, name: str) -> Figure:
    """One panel per method: patches of good images in grey, defective ones in the colour of their type."""
    kinds = ["", *sorted(set(patches.defects) - {""})]
    counts = Counter(patches.defects)
    labels = [f"{kind or 'good'} ({counts[kind]})" for kind in kinds]
    panels = list(patches.coordinates.items())
    side = min(WIDTH / max(len(panels), 1), _LARGEST)
    across = max(side * len(panels), _LARGEST)
    title, note = wrap_title(f"Patches in the plane: {name}", int(10 * across)), _wrap_note(patches, across)
    columns = max(1, int(across / (0.4 + 0.075 * max(map(len, labels)))))
    top = 0.35 + 0.19 * len(title)
    foot = 0.25 + 0.2 * math.ceil(len(kinds) / columns) + 0.14 * len(note)
    down = top + side + foot
    with figure_style():
        figure = Figure(figsize=(across, down))
        figure.set_layout_engine("none")
        figure.text(0.06 / across, 1 - 0.06 / down, "\n".join(title), va="top", fontsize=11, fontweight="bold")
        figure.text(0.06 / across, 0.06 / down, "\n".join(note), va="bottom", fontsize=7.5, color=MUTED)
        if not panels:
            _say(figure.add_subplot(), f"fewer than {FEWEST} patches: nothing to map")
            return figure
        for number, (method, points) in enumerate(panels):
            place = ((number * side + 0.06) / across, foot / down, (side - 0.12) / across, (side - 0.12) / down)
            _draw_points(
                figure.add_axes(place), METHODS[method], points, [kinds.index(kind) for kind in patches.defects]
            )
        figure.legend(
            [_handle(position) for position in range(len(kinds))], labels, loc="upper left", ncols=columns,
            bbox_to_anchor=(0, (foot - 0.02) / down), handlelength=1, columnspacing=1.2, borderpad=0.3,
        )  # fmt: skip
    return figure


def _draw_points(axes: Axes, title: str, points: Float32, positions: Sequence[int]) -> None:
    axes.set(title=title, xticks=[], yticks=[])
    axes.grid(visible=False)
    for line in axes.spines.values():
        line.set(visible=True, color=RULE)
    size = float(np.clip(9000 / len(points), 4, 22))
    kind = np.array(positions)
    for position in range(max(positions) + 1):
        of_kind = points[kind == position]
        larger = 2 if position > 0 and len(of_kind) < _FEW else 1  # else they are lost in the grey
        axes.scatter(of_kind[:, 0], of_kind[:, 1], s=larger * size, linewidths=0.25, **_look(position))


def _wrap_note(patches: PatchMap, across: float) -> list[str]:
    return textwrap.wrap(_explain_map(patches), int(16 * across))


def _explain_map(patches: PatchMap) -> str:
    located = (
        "Coloured: defective patches."
        if patches.located
        else "There are no masks: coloured are any patches of defective images."
    )
    return (
        f"{located} Grey: patches of good test images. Mapped from the first principal components, 50 "
        f"at most, which hold {100 * patches.variance:.0f} % of the variance. Only who is near whom means anything: "
        "not distances between groups, not their size."
    )


def _look(position: int) -> dict[str, Any]:
    """How patches of the n-th kind are drawn, the good ones being the first."""
    if position == 0:
        return {"color": GREY, "marker": "o", "alpha": 0.45, "edgecolors": "none", "zorder": 1}
    look = {"alpha": 0.85, "edgecolors": "white", "zorder": 2}
    return {"color": colour(position), "marker": marker((position - 1) // len(PALETTE)), **look}


def _handle(position: int) -> Line2D:
    look = _look(position)
    return Line2D([], [], linestyle="", marker=look["marker"], color=look["color"], alpha=look["alpha"], markersize=5)


def draw_separability(separations: Sequence[Separation], name: str) -> Figure:
    """A row per defect type, in it a dot per layer: image AUROC with its interval, and beside it patch AUROC."""
    types = list(dict.fromkeys(each.defect for each in separations))
    layers = list(dict.fromkeys(each.layer for each in separations))
    with figure_style():
        rows = max(len(types), 1)
        figure = Figure(figsize=(WIDTH, 1.25 + 0.18 * math.ceil(len(layers) / 3) + rows * (0.2 + 0.15 * len(layers))))
        figure.suptitle(
            "\n".join(wrap_title(f"Separability by layer: {name}", 95)), x=0.01, ha="left", fontweight="bold"
        )
        if not types:
            _say(figure.add_subplot(), "no defective test image: nothing to separate")
            return figure
        panels = figure.subplots(1, 2, sharey=True, width_ratios=[1.25, 1])
        for axes, title in zip(panels, ("images, with interval", "patches"), strict=True):
            axes.set(title=title, xlim=(-0.01, 1.01), xlabel="AUROC (chance is 0.5)")
            axes.axvline(0.5, color=MUTED, linewidth=0.9)
            axes.grid(visible=False, axis="y")
            axes.tick_params(axis="y", length=0)
            axes.spines["left"].set_visible(False)
            for border in range(1, len(types)):
                axes.axhline(border - 0.5, color=RULE, linewidth=0.6)
        for each in separations:
            y = types.index(each.defect) + ((layers.index(each.layer) + 0.5) / len(layers) - 0.5) * 0.76
            look = _look_of_layer(each.layer, layers)
            _draw_value(panels[0], each.image_auroc, y, look, (each.low, each.high))
            _draw_value(panels[1], each.patch_auroc, y, look)
        counts = {each.defect: each.images for each in separations}
        labels = [f"{kind}\n{counts[kind]} image{'s' * (counts[kind] != 1)}" for kind in types]
        panels[0].set_yticks(range(len(types)), labels)
        panels[0].set_ylim(len(types) - 0.5, -0.5)
        add_legend(figure, [Line2D([], [], **_look_of_layer(layer, layers)) for layer in layers], layers)
    return figure


def _look_of_layer(layer: str, layers: Sequence[str]) -> dict[str, Any]:
    """How a layer's values are drawn; all of them together alike, however many there are."""
    if layer == ALL_LAYERS:
        return dot(0) | {"color": INK, "marker": "*", "markersize": 8}
    return dot(layers.index(layer))


def _draw_value(
    axes: Axes, value: float, y: float, look: Mapping[str, Any], ends: tuple[float, float] = (math.nan, math.nan)
) -> None:
    if math.isnan(value):
        transform = axes.get_yaxis_transform()  # x in shares of the axes, y in data
        axes.text(0.01, y, "undefined", va="center", fontsize=7, color=MUTED, transform=transform)
        return
    axes.plot(ends, [y, y], color=look["color"], linewidth=1.3, alpha=0.75, solid_capstyle="butt")
    axes.plot([value], [y], **look, clip_on=False)


def _say(axes: Axes, sentence: str) -> None:
    axes.set_axis_off()
    axes.text(0.5, 0.5, sentence, ha="center", va="center", color=MUTED, transform=axes.transAxes)
