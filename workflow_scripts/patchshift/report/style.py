"""One look for all figures: colours that colour-blind readers tell apart, type, and byte-identical files.

Tested in tests/report/test_figures.py.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.figure import Figure

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


def hatch(position: int) -> str:
    """The hatching that tells groups apart once colours repeat."""
    return HATCHES[position // len(PALETTE) % len(HATCHES)]


def dashes(position: int) -> Dashes:
    """The line style that tells groups apart once colours repeat."""
    return DASHES[position // len(PALETTE) % len(DASHES)]


def to_svg(figure: Figure, name: str) -> str:
    """A figure as an SVG element for a page; `name` keeps its ids apart from those of the page's other figures."""
    buffer = io.StringIO()
    with figure_style(name):
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    prefix = re.sub(r"[^A-Za-z0-9_-]", "-", name)
    text = re.sub(r'(\bid="|url\(#|xlink:href="#)', rf"\g<1>{prefix}-", text)
    # the page sets the size, from the view box
    return re.sub(
        r'^<svg ([^>]*?)(?:width|height)="[^"]*" ([^>]*?)(?:width|height)="[^"]*"', r"<svg \1\2", text, count=1
    )


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure at print size, nothing of it cut off; equal figures give equal bytes."""
    with atomic_path(path) as partial, figure_style():
        figure.savefig(partial, format="png", dpi=PRINT_DPI, bbox_inches="tight", metadata={"Software": None})


def save_jpeg(figure: Figure, path: Path) -> None:
    """Write a figure of photographs at screen size; equal figures give equal bytes."""
    dpi = min(PRINT_DPI, JPEG_WIDTH / figure.get_figwidth())
    with atomic_path(path) as partial, figure_style():
        options: dict[str, Any] = {"quality": JPEG_QUALITY, "subsampling": 0}
        figure.savefig(partial, format="jpeg", dpi=dpi, pil_kwargs=options)
