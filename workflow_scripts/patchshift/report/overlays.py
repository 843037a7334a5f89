"""Figures of where features respond: overlays of activation energy by layer, and of attention by group of heads.

Tested in tests/report/test_overlays.py.
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from patchshift.evaluation.head_groups import group_heads
from patchshift.features.attention_store import AttentionMaps
from patchshift.features.interpolation import interpolation_matrix
from patchshift.report.figures import WIDTH, wrap_title
from patchshift.report.pictures import COLOURS
from patchshift.report.shift_gallery import Picture, draw_picture, wrap_name
from patchshift.report.style import MUTED, RULE, figure_style

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
UInt8 = npt.NDArray[np.uint8]

NO_IMAGE = "There is nothing to show: the split has no test image of this category."

_GAP = 0.05  # inches between pictures
_LARGEST = 1.7  # inches that a picture takes across
_LETTER = 0.068  # inches that a letter of a name takes, on average
_TALLEST = 1.3  # height of a picture over the width of its column; taller images are shown narrower
_FOOT = 0.32  # inches below the pictures for the scales
_NOTE_LINE = 0.13  # inches per line of the note below them


@dataclass(frozen=True)
class Overlay:
    """One column of maps, over the same images.

    Attributes:
        title: what it shows, in one line or more.
        maps: [m, rows, columns].
    """

    title: str
    maps: Float32

    @property
    def ends(self) -> tuple[float, float]:
        """What the ends of the colours mean: nearly the lowest and the highest of the values."""
        low, high = (float(end) for end in np.quantile(self.maps, [0.01, 0.995]))
        return (low, high) if high > low else (low, low + 1)


def draw_energies(pictures: Sequence[tuple[str, Picture]], energies: Mapping[str, Float32], name: str) -> Figure:
    """Each image, and over it the activation energy of each layer.

    Args:
        pictures: name (in one line or more) and picture of the m images; where there is none, the figure says so.
        energies: layer -> [m, rows, columns], 1 being the mean of the training images.
        name: what is shown, for the title.
    """
    title = f"Activation energy: {name}"
    if not pictures:
        return _draw_sentence(title, NO_IMAGE)
    overlays = [Overlay(f"{layer}, {maps.shape[1]} x {maps.shape[2]}", maps) for layer, maps in energies.items()]
    note = (
        "Length of the feature vector at each position, 1 being the mean over the training images. Blue lines: "
        "defects. A strong response is no sign of a defect by itself: edges and texture respond, too."
    )
    return _draw_overlays(pictures, overlays, title, note)


def draw_attention(pictures: Sequence[tuple[str, Picture]], attention: AttentionMaps, name: str) -> Figure:
    """Each image, and over it the attention of the class token, the mean of each group of heads.

    Args:
        pictures: name (in one line or more) and picture of the m images; where there is none, the figure says so.
        attention: on the same images, or the reason why there is none.
        name: what is shown, for the title.
    """
    title = f"Attention of the class token, {attention.block}: {name}"
    if attention.undefined:
        return _draw_sentence(title, f"There is nothing to show: {attention.undefined}.")
    if not pictures:
        return _draw_sentence(title, NO_IMAGE)
    even = attention.maps.shape[2] * attention.maps.shape[3]
    groups = group_heads(attention.maps)
    overlays = [
        Overlay(
            f"{'heads' if len(group) > 1 else 'head'} {', '.join(map(str, group))}",
            attention.maps[:, group].mean(axis=1) * even,
        )
        for group in groups
    ]
    grouped = "Heads that look at the same places are one group. " if len(groups) < attention.maps.shape[1] else ""
    note = (
        f"1 is attention spread evenly over all patches. {grouped}"
        f"{100 * float(attention.others.mean()):.2g} % of the attention goes to the class token itself and to "
        "registers, which stand at no place. Blue lines: defects. Attention says where the token reads, not what a "
        "detector will find."
    )
    return _draw_overlays(pictures, overlays, title, note)


def _draw_overlays(
    pictures: Sequence[tuple[str, Picture]], overlays: Sequence[Overlay], title: str, note: str
) -> Figure:
    names = [[line for part in name.split("\n") for line in wrap_name(part, 20)] for name, _ in pictures]
    labels = 0.1 + _LETTER * max(len(line) for lines in names for line in lines)
    width = min((WIDTH - labels) / (1 + len(overlays)), _LARGEST)
    across = max(labels + width * (1 + len(overlays)), 4.5)
    title_lines, note_lines = wrap_title(title, int(across / 0.088)), textwrap.wrap(note, int(across / 0.058))
    headings = [wrap_name(overlay.title, int(width / _LETTER / 1.15)) for overlay in overlays]
    heading = 0.1 + 0.14 * max([1, *map(len, headings)])
    top = 0.12 + 0.19 * len(title_lines)
    shapes = [picture.image.shape[0] / picture.image.shape[1] for _, picture in pictures]
    heights = [_GAP + (width - _GAP) * min(shape, _TALLEST) for shape in shapes]
    foot = _FOOT * bool(overlays) + 0.12 + _NOTE_LINE * len(note_lines)
    down = top + heading + sum(heights) + foot
    with figure_style():
        figure = Figure(figsize=(across, down))
        figure.set_layout_engine("none")

        def place(left: float, bottom: float, wide: float, high: float) -> tuple[float, float, float, float]:
            return left / across, bottom / down, wide / across, high / down

        figure.text(0.06 / across, 1 - 0.06 / down, "\n".join(title_lines), va="top", fontsize=9.5, fontweight="bold")
        figure.text(0.06 / across, 0.06 / down, "\n".join(note_lines), va="bottom", fontsize=7, color=MUTED)
        bottom = down - top - heading
        for column, lines in enumerate([["image"], *headings]):
            middle = labels + column * width + (width - _GAP) / 2
            figure.text(
                middle / across, (bottom + 0.04) / down, "\n".join(lines), ha="center", va="bottom", fontsize=8,
                fontweight="bold",
            )  # fmt: skip
        for row, ((_, picture), height) in enumerate(zip(pictures, heights, strict=True)):
            shown = [picture, *(_lay_over(picture, overlay.maps[row], overlay.ends) for overlay in overlays)]
            wide = (height - _GAP) / shapes[row]
            for column, each in enumerate(shown):
                left = labels + column * width + (width - _GAP - wide) / 2
                draw_picture(figure.add_axes(place(left, bottom - height + _GAP, wide, height - _GAP)), each)
            figure.text(
                (labels - 0.07) / across, (bottom - (height - _GAP) / 2) / down, "\n".join(names[row]), ha="right",
                va="center", fontsize=8,
            )  # fmt: skip
            bottom -= height
        for column, overlay in enumerate(overlays, start=1):
            left = labels + column * width + 0.12 * width
            _draw_scale(figure, place(left, bottom - 0.1, 0.7 * width, 0.07), overlay.ends)
    return figure


def _draw_sentence(title: str, sentence: str) -> Figure:
    with figure_style():
        figure = Figure(figsize=(WIDTH, 1.2))
        figure.set_layout_engine("none")
        figure.text(
            0.01, 0.92, "\n".join(wrap_title(title, int(WIDTH / 0.088))), va="top", fontsize=9.5, fontweight="bold"
        )
        figure.text(0.01, 0.1, textwrap.fill(sentence, 110), va="bottom", color=MUTED)
    return figure


def _draw_scale(figure: Figure, place: tuple[float, float, float, float], ends: tuple[float, float]) -> None:
    axes = figure.add_axes(place)
    axes.imshow(_colours(np.linspace(0, 1, 256)[None]), aspect="auto", extent=(*ends, 0, 1))
    low, high = ends
    marks = [low, *([1.0] if low + 0.15 * (high - low) < 1 < high - 0.15 * (high - low) else []), high]
    axes.set(yticks=[], xticks=marks)
    axes.set_xticklabels(_tell_apart(marks))
    axes.tick_params(axis="x", labelsize=7, length=2, pad=1.5)
    axes.grid(visible=False)
    for line in axes.spines.values():
        line.set(visible=True, color=RULE)


def _tell_apart(numbers: Sequence[float]) -> list[str]:
    """Numbers in as few digits, from two on, as it takes to tell them from each other and from 1."""
    different = {*numbers, 1.0}
    digits = next(
        (many for many in range(2, 9) if len({f"{each:.{many}g}" for each in different}) == len(different)), 9
    )
    return [f"{number:.{digits}g}" for number in numbers]


def _lay_over(picture: Picture, values: Float32, ends: tuple[float, float]) -> Picture:
    """The image in grey under a map, which is interpolated bilinearly."""
    height, width = picture.image.shape[:2]
    down, across = interpolation_matrix(values.shape[0], height), interpolation_matrix(values.shape[1], width)
    low, high = ends
    level = np.clip((down @ values.astype(np.float64) @ across.T - low) / (high - low), 0, 1)
    opacity = (0.35 + 0.45 * level)[..., None]  # what is ordinary stays recognisable
    grey = picture.image.astype(np.float64).mean(axis=2, keepdims=True)
    laid = (1 - opacity) * 0.9 * grey + opacity * _colours(level) * 255
    return Picture(np.rint(laid).astype(np.uint8), picture.mask)


def _colours(level: Float64) -> Float64:
    """[..., 3] in [0, 1]."""
    return np.asarray(mpl.colormaps[COLOURS](level)[..., :3], np.float64)
