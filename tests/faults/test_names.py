"""Names are text on every page: what could be markup is refused, or escaped.

Names that data has, of files and of defects, in tests/report: test_page.py, test_gallery.py, test_data_card.py,
test_report_browser.py (in a browser).
"""

import ast
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from patchshift.errors import UserError
from patchshift.plan import load_study

LIBRARY = Path(__file__).parents[2] / "workflow_scripts/patchshift"
TEMPLATES = LIBRARY / "report/templates"
NASTY = "<img src=x onerror=alert(1)>"


class Page(HTMLParser):
    """The text of a page, and its tags with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize(
    "place",
    ["study", "datasets", "categories", "splits", "domains", "backbones", "detectors", "thresholds", "experiments"],
)
def test_an_id_with_markup_is_refused_in_words(finished_tiny: Any, place: str) -> None:
    study = yaml.safe_load((finished_tiny.folder / "config.yaml").read_text())
    study["catalog"] = str(finished_tiny.folder / "configs/catalog.yaml")
    if place == "study":
        study["study"] = NASTY
    elif place == "categories":
        study["add"]["datasets"]["tiny"]["categories"] = [NASTY]
    else:
        group = study["experiments"] if place == "experiments" else study["add"][place]
        group[NASTY] = next(iter(group.values()))
    with pytest.raises(UserError, match=re.escape(NASTY)):
        load_study(study, "study.yaml")


@pytest.mark.parametrize("name", ["report.html", "data_cards/tiny.html"])
def test_free_text_of_the_config_is_text_on_the_pages(finished_tiny: Any, name: str) -> None:
    page = Page((finished_tiny.folder / "results/studies/tiny" / name).read_text())
    if name == "report.html":
        assert f"Does <i>everything</i> fit together, even {NASTY}?" in page.text
        assert "Clean bank <script>alert(2)</script> on shifted images" in page.text
    else:
        assert '<a href="javascript:alert(3)">free</a>' in page.text
    assert not [value for _, attributes in page.tags for name, value in attributes.items() if name.startswith("on")]
    targets = [str(attributes.get(name)) for _, attributes in page.tags for name in ("href", "src")]
    assert not [target for target in targets if target == "x" or target.lower().startswith("javascript:")]


def test_no_template_turns_escaping_off() -> None:
    texts = {path.name: path.read_text() for path in TEMPLATES.glob("*.html")}
    assert len(texts) >= 8
    assert [name for name, text in texts.items() if re.search(r"\|\s*safe\b|autoescape", text)] == []
    made = {
        path.relative_to(LIBRARY).as_posix()
        for path in LIBRARY.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Markup")
    }
    assert made == {"report/templating.py"}  # its own scripts, and pictures of matplotlib


def test_no_script_of_a_page_reads_text_as_markup() -> None:
    scripts = {path.name: path.read_text() for path in TEMPLATES.glob("*.js")}
    assert len(scripts) >= 2
    unsafe = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|\beval\(|new Function"
    assert [name for name, text in scripts.items() if re.search(unsafe, text)] == []
