"""Fill in the templates of pages. Everything is escaped by the template engine, except the figures made here.

Tested in tests/report/test_page.py.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from patchshift.report.analyses.digits import show_ends, show_value
from patchshift.report.pairing import Share, hundredths
from patchshift.report.results import Value
from patchshift.report.style import inline_svg, to_svg

PIXELS_PER_POINT = 1.58
"""Of a figure's 9-point type, 14 pixels."""
WIDEST = 980


@dataclass(frozen=True)
class Picture:
    """A figure of a page: its SVG and what it shows, in words."""

    svg: Markup
    caption: str

    @property
    def width(self) -> int:
        """How wide it is on the page, in CSS pixels: letters of figures are as large as those of tables."""
        box = re.search(r'viewBox="[^"]*?([\d.]+) [\d.]+"', self.svg)
        return round(PIXELS_PER_POINT * float(box[1])) if box else WIDEST


@dataclass(frozen=True)
class Script:
    """A script of a page, and the SHA-256 (base 64) by which the page allows it and no other."""

    text: Markup
    digest: str


def read_script(name: str) -> Script:
    """A script of `report/templates/`."""
    text = files("patchshift.report").joinpath("templates", name).read_text(encoding="utf-8")
    return Script(Markup(text), base64.b64encode(hashlib.sha256(text.encode()).digest()).decode())


def render(template: str, context: Mapping[str, Any]) -> str:
    """A template of `report/templates/` as text."""
    environment = Environment(
        loader=PackageLoader("patchshift.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["hundredths"] = hundredths
    environment.filters["figure"] = show_figure
    environment.filters["ends"] = show_range
    environment.filters["number"] = lambda value: f"{value:.4g}"
    environment.filters["percent"] = show_percent
    environment.filters["breakable"] = make_breakable
    return environment.get_template(template).render(context)


def show_figure(value: Value | Share, *, signed: bool = False) -> str:
    """A value with the digits that its interval supports."""
    return "undefined" if value.value is None else show_value(value.value, value.low, value.high, signed=signed)


def show_range(value: Value | Share, *, signed: bool = False) -> str:
    """The ends of its interval with the digits of the value; empty where it has none."""
    if value.value is None or value.low is None or value.high is None:
        return ""
    return (" to " if signed else "\N{EN DASH}").join(show_ends(value.value, value.low, value.high, signed=signed))


def make_breakable(name: str) -> Markup:
    """A name that may go on in the next line after each of its words."""
    return Markup("<wbr>").join(re.split(r"(?<=[_/-])", name))


def draw_picture(figure: Figure, name: str, caption: str) -> Picture:
    """A figure as a picture; `name` is its own on the page."""
    # matplotlib escapes the text in its SVG
    return Picture(Markup(to_svg(figure, name)), caption)


def read_picture(path: Path, name: str, caption: str) -> Picture:
    """A figure that was saved as SVG; `name` is its own on the page."""
    return Picture(Markup(inline_svg(path.read_text(encoding="utf-8"), name)), caption)


def show_percent(share: float) -> str:
    """A share of 1 in percent, with two significant digits and a space that does not break."""
    percent = 100 * share
    if percent >= 10 or percent == 0:
        return f"{percent:.0f}\N{NO-BREAK SPACE}%"
    return f"{float(f'{percent:.2g}'):.10f}".rstrip("0").rstrip(".") + "\N{NO-BREAK SPACE}%"
