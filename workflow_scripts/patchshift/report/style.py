"""One look for all figures: colours that colour-blind readers tell apart, type, and byte-identical files.

Tested in tests/report/test_figures.py.
"""

import io
import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from matplotlib.transforms import Bbox

from patchshift.runtime.files import atomic_path

# Okabe and Ito (2008), "Color Universal Design", without its yellow, which is too pale for lines on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#4D4D4D")
INK = "#1b1f24"
MUTED = "#5b6570"
RULE = "#d9dee3"
HATCHES = ("", "////", "....", "xxxx")
Dashes = Literal["-", "--", ":", "-."]
MARKERS = "osD^vP"  # fewer than colours by one, so that a pair of both comes again late
DASHES: tuple[Dashes, ...] = ("-", "--", ":", "-.")
PRINT_DPI = 200
JPEG_WIDTH = 1600  # pixels, at most
JPEG_QUALITY = 85
_FORMATS: dict[str, dict[str, Any]] = {
    ".png": {
        "format": "png", "dpi": PRINT_DPI, "metadata": {"Software": None},
        "pil_kwargs": {"compress_level": 1},  # photographs take half the time, and a tenth more room
    },
    ".svg": {"format": "svg", "metadata": dict.fromkeys(("Creator", "Date", "Format", "Type"))},
}  # fmt: skip

_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib; the page puts its own, narrower type in its place
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "text.parse_math": False,  # names are names, dollar signs included
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "figure.facecolor": "white",
    "hatch.linewidth": 0.6,
    "svg.fonttype": "none",  # text stays text
    "figure.constrained_layout.use": True,
}
_LAID_OUT: dict[Any, Any] = {"figure.constrained_layout.use": False, "figure.autolayout": False}
"""Settings under which nothing is laid out: with them a figure is drawn once, not twice."""


@contextmanager
def figure_style(salt: str = "patchshift") -> Iterator[None]:
    """The settings that every figure is drawn and saved under; `salt` fixes the ids inside an SVG."""
    with mpl.rc_context({**_SETTINGS, "svg.hashsalt": salt}):
        yield


def colour(position: int) -> str:
    """The colour of the n-th group."""
    return PALETTE[position % len(PALETTE)]


def marker(position: int) -> str:
    """The marker of the n-th group."""
    return MARKERS[position % len(MARKERS)]


def dot(position: int) -> dict[str, Any]:
    """How a single value of the n-th group is drawn."""
    return {
        "color": colour(position), "marker": marker(position), "markersize": 5, "linestyle": "",
        "markeredgecolor": "white", "markeredgewidth": 0.5,
    }  # fmt: skip


def whisker(position: int) -> dict[str, Any]:
    """How the interval of a single value of the n-th group is drawn."""
    return {"color": colour(position), "linewidth": 0.9, "alpha": 0.55}


def hatch(position: int) -> str:
    """The hatching that tells groups apart once colours repeat."""
    return HATCHES[position // len(PALETTE) % len(HATCHES)]


def dashes(position: int) -> Dashes:
    """The line style that tells groups apart once colours repeat."""
    return DASHES[position // len(PALETTE) % len(DASHES)]


def scale_axis(axis: Axis, values: Iterable[float]) -> None:
    """Logarithmic where sizes or times span more than a factor of five; numbers written out, not as powers."""
    values = [value for value in values if value > 0]
    if not values or max(values) < 5 * min(values):
        return
    set_scale = axis.axes.set_xscale if axis is axis.axes.xaxis else axis.axes.set_yscale
    set_scale("log")
    decades = math.log10(max(values) / min(values))
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2.5 else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: show_size(value)))
    axis.set_minor_locator(NullLocator())


def show_size(value: float) -> str:
    """A number in three digits at most: 0.02, 450, 12k, 3.4M, 1.2G."""
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{float(f'{value / unit:.3g}'):g}{letter}"
    return f"{float(f'{value:.3g}'):g}"


def to_svg(figure: Figure, name: str) -> str:
    """A figure as an SVG element for a page; `name` keeps its ids apart from those of the page's other figures."""
    buffer = io.StringIO()
    with figure_style(name):
        figure.savefig(buffer, **_FORMATS[".svg"])
    return inline_svg(buffer.getvalue(), name)


def inline_svg(text: str, name: str) -> str:
    """An SVG file as an element for a page; `name` keeps its ids apart from those of the page's other figures."""
    text = text[text.index("<svg") :]
    prefix = re.sub(r"[^A-Za-z0-9_-]", "-", name)
    text = re.sub(r'(\bid="|url\(#|xlink:href="#)', rf"\g<1>{prefix}-", text)
    # the page sets the size, from the view box
    return re.sub(
        r'^<svg ([^>]*?)(?:width|height)="[^"]*" ([^>]*?)(?:width|height)="[^"]*"', r"<svg \1\2", text, count=1
    )


def save_figure(figure: Figure, *paths: Path) -> None:
    """Write a figure at print size, nothing of it cut off, as PNG or SVG; equal figures give equal bytes.

    Layout and measuring take as long as drawing, so all files of a figure share them.

    Args:
        figure: the figure; from then on its layout is fixed.
        paths: files that end in `.png` or `.svg`.
    """
    box = _lay_out(figure)
    for path in paths:
        with atomic_path(path) as partial, figure_style(path.stem), mpl.rc_context(_LAID_OUT):
            figure.savefig(partial, bbox_inches=box, **_FORMATS[path.suffix.lower()])


def _lay_out(figure: Figure) -> Bbox:
    """Give everything its place, as it is at print size, and keep it there; the box around it all, in inches."""
    screen = figure.dpi
    figure.set_dpi(PRINT_DPI)
    with figure_style():
        if engine := figure.get_layout_engine():
            engine.execute(figure)
        box = figure.get_tightbbox().padded(mpl.rcParams["savefig.pad_inches"])
    with mpl.rc_context(_LAID_OUT):
        figure.set_layout_engine(None)
    figure.set_dpi(screen)  # photographs in an SVG have this resolution
    return box


def save_jpeg(figure: Figure, path: Path) -> None:
    """Write a figure of photographs at screen size; equal figures give equal bytes."""
    dpi = min(PRINT_DPI, JPEG_WIDTH / figure.get_figwidth())
    with atomic_path(path) as partial, figure_style():
        options: dict[str, Any] = {"quality": JPEG_QUALITY, "subsampling": 0}
        figure.savefig(partial, format="jpeg", dpi=dpi, pil_kwargs=options)
