"""README.md leads where it says, and shows what the demo makes."""

import re
from pathlib import Path

import pytest
from PIL import Image

from patchshift.app.main import COMMANDS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NUMBER = r"\b[01]\.\d+"
SHAKY = ("demo/casting photometric", "demo/casting geometric")
"""The rows that another CPU rounds otherwise, as README.md says."""
PICTURES = re.findall(r"^\tcp (results/\S+) (docs/images/\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_pages_and_headings_that_are_there(page: Path) -> None:
    lost = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        name, _, heading = target.partition("#")
        if "://" not in target:
            path = page.parent / name if name else page
            if not path.exists() or (heading and heading not in headings(path)):
                lost.append(target)
    assert lost == []


def test_every_picture_of_the_readme_is_one_that_make_pictures_makes_or_preview_shifts() -> None:
    shown = re.findall(r"!\[[^\]]+\]\((docs/images/[^)]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert sorted(shown) == sorted([*(picture for _, picture in PICTURES), "docs/images/shifts.jpg"])


@pytest.mark.parametrize(("figure", "picture"), PICTURES)
def test_the_pictures_are_of_the_shape_of_the_demos_figures(figure: str, picture: str) -> None:
    if not (ROOT / figure).is_file():
        pytest.skip("the demo has not run here (make demo)")
    with Image.open(ROOT / figure) as made, Image.open(ROOT / picture) as kept:
        assert kept.size == made.size, "the figure has changed: make pictures"


def test_the_tables_are_those_of_the_demo_but_for_what_another_cpu_rounds_otherwise() -> None:
    results = ROOT / "results/studies/demo/results.txt"
    if not results.is_file():
        pytest.skip("the demo has not run here (make demo)")
    made = results.read_text(encoding="utf-8").split("\n\n")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"^```\n(\S.*\n  split .*\n(?:  .*\n)+)```$", text, re.MULTILINE)
    assert len(shown) == 2
    for table, expected in zip(shown, made[:2], strict=True):
        assert re.sub(NUMBER, "", table).split() == re.sub(NUMBER, "", expected).split()
        for kept, new in zip(table.splitlines(), expected.splitlines(), strict=True):
            if not kept.lstrip().startswith(SHAKY):
                numbers = [[float(number) for number in re.findall(NUMBER, line)] for line in (kept, new)]
                assert numbers[0] == pytest.approx(numbers[1], abs=0.055), "copy results.txt of the demo"


def test_commands_and_configs_that_the_readme_names_are_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in re.findall(r"`(configs/[\w/]+\.yaml)`", text) if not (ROOT / name).is_file()] == [
        "configs/bracket.yaml"  # which `patchshift init` writes
    ]
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"\bmake ([a-z]+)`", text)) <= set(targets)
    assert set(re.findall(r"`patchshift ([a-z-]+)", text)) <= set(COMMANDS)
