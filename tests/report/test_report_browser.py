"""The report in headless Chromium: a script beside its own moves the controls and writes what it sees into the page."""

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from patchshift.evaluation.calibrated import read_calibration
from patchshift.evaluation.image_metrics import DECISION_METRICS, Confusion, count_decisions
from patchshift.plan.cells import Cell
from tests.report.conftest import NASTY, MadeStudy

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: the page's scripts are not tried")

COUNTS = ("tp", "fn", "fp", "tn")
RATIOS = ("precision", "recall", "f1", "f1_floor", "miss_rate", "false_alarm_rate")

WATCH = """
window.problems = [];
addEventListener("error", event => problems.push(String(event.message)));
addEventListener("unhandledrejection", event => problems.push(String(event.reason)));
addEventListener("securitypolicyviolation", event => problems.push(`${event.violatedDirective} ${event.blockedURI}`));
for (const kind of ["error", "warn"]) {
  const own = console[kind];
  console[kind] = (...words) => { problems.push(words.join(" ")); own.apply(console, words); };
}
"""

DRIVE = Path(__file__).with_name("drive_report.js").read_text(encoding="utf-8")


def allow(page: str, *scripts: str) -> str:
    """The page with the first script before all else and the others after its own; its policy allows these, too."""
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    page = page.replace("script-src", "script-src " + " ".join(f"'sha256-{digest}'" for digest in digests), 1)
    page = page.replace("<title>", f"<script>{scripts[0]}</script><title>", 1)
    return page.replace("</body>", "".join(f"<script>{script}</script>" for script in scripts[1:]) + "</body>")


def open_page(page: Path, profile: Path, *, width: int = 1280) -> tuple[str, str]:
    """The page as Chromium leaves it, and what it said."""
    assert CHROMIUM is not None
    command = [
        *(
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--enable-logging=stderr",
        ),
        *("--disable-background-networking", "--disable-component-update", "--no-first-run", "--mute-audio"),
        *(f"--user-data-dir={profile}", f"--window-size={width},900", "--virtual-time-budget=600000", "--dump-dom"),
        page.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    return done.stdout, done.stderr


def read_seen(dom: str) -> dict[str, Any]:
    found = re.search(r'<pre id="seen">(.*?)</pre>', dom, re.DOTALL)
    assert found, "the driving script did not end"
    result: dict[str, Any] = json.loads(html.unescape(found[1]))
    return result


@pytest.fixture(scope="module")
def browsed(
    made_once: tuple[Path, MadeStudy], made_page: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[dict[str, Any], str]]:
    folder = tmp_path_factory.mktemp("browser")
    page = folder / "report.html"
    page.write_text(allow(made_page, WATCH, DRIVE), encoding="utf-8")
    dom, said = open_page(page, folder / "profile")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made_once[0])
        yield read_seen(dom), said


@pytest.fixture
def seen(browsed: tuple[dict[str, Any], str]) -> dict[str, Any]:
    return browsed[0]


def told(confusion: Confusion) -> dict[str, str]:
    """Counts and ratios as the gallery writes them."""
    ratios = {name: float(DECISION_METRICS[name](confusion)) for name in RATIOS}
    counts = {name: str(getattr(confusion, name)) for name in COUNTS}
    return counts | {name: "undefined" if np.isnan(value) else f"{value:.3f}" for name, value in ratios.items()}


def decide(study: MadeStudy, cells: list[Cell]) -> tuple[list[dict[str, str]], int]:
    """What each position of the slider must say, by the library's own counts, and which of them is calibrated."""
    results = study.data.results
    values, labels = [], []
    for cell in cells:
        images = results.images(cell)
        deviation = read_calibration(Path(cell.threshold_file))[0].scale
        assert images.threshold is not None
        assert deviation is not None
        margins = (images.scores - np.float32(images.threshold).astype(float)) / deviation
        values.append(images.scores if len(cells) == 1 else margins)
        labels.append(images.labels)
    value, label = np.concatenate(values), np.concatenate(labels)
    mark = float(np.float32(results.images(cells[0]).threshold)) if len(cells) == 1 else 0.0
    positions = [*sorted({*value.tolist(), mark}), np.inf]
    return [told(count_decisions(label, value >= position)) for position in positions], positions.index(mark)


def cells_shown(study: MadeStudy, detector: str = "sharp") -> list[Cell]:
    return [cell for cell in study.data.cells("clean") if cell.bank.detector == detector]


def counted(step: dict[str, str]) -> dict[str, str]:
    return {name: step[name] for name in (*COUNTS, *RATIOS)}


def test_the_page_opens_without_a_word_of_complaint(browsed):
    seen, said = browsed
    assert seen["hidden"] is False
    assert seen["problems"] == []
    complaints = [line for line in said.splitlines() if "CONSOLE" in line and "example.invalid" not in line]
    assert complaints == []


def test_no_request_leaves_the_page_and_none_could(seen):
    assert seen["requests"] == []
    assert any("connect-src" in problem and "example.invalid" in problem for problem in seen["refused"])


def test_the_slider_changes_the_counts_to_those_of_the_library(seen, made):
    assert seen["started"] == "In domain <b>bold</b>"
    for cell in cells_shown(made):
        view = seen["categories"][f"={cell.target.category}"]
        expected, start = decide(made, [cell])
        assert [counted(step) for step in view["steps"]] == expected
        assert view["start"] == view["after"] == start
        confusion = made.data.results.confusion(cell)
        assert counted(view["steps"][start]) == told(confusion)
        assert "(calibrated)" in view["steps"][start]["told"]
        assert view["steps"][start]["value"].endswith(f"{confusion.fn} missed, {confusion.fp} false alarms")


def test_several_categories_move_together_in_deviations_of_their_good_validation_images(seen, made):
    expected, start = decide(made, cells_shown(made))
    assert [counted(step) for step in seen["all"]["steps"]] == expected
    assert seen["all"]["start"] == seen["all"]["after"] == start
    assert seen["all"]["counts"] == expected[start]
    assert seen["all"]["status"].startswith("24 of 24 test images are shown")
    assert len(seen["all"]["names"]) == 24


def test_every_setup_counts_as_its_tables_do(seen, made):
    results = made.data.results
    for name, title in results.titles.items():
        for detector in ("blunt", "sharp"):
            cells = [cell for cell in results.cells[name] if cell.bank.detector == detector]
            whole = [results.confusion(cell) for cell in cells]
            sums = {part: str(sum(getattr(one, part) for one in whole)) for part in COUNTS}
            found = [
                view for view in seen["shifted"].values()
                if view["experiment"] == title and view["name"].startswith(f"{detector} ")
            ]  # fmt: skip
            assert [{part: view[part] for part in COUNTS} for view in found] == [sums], (name, detector)


def test_filters_show_the_images_that_they_name(seen, made):
    for cell in cells_shown(made):
        view, images = seen["categories"][f"={cell.target.category}"], made.data.results.images(cell)
        order = np.argsort(-images.scores, kind="stable")
        shown = [(images.names[row], images.defects[row], images.labels[row], images.decisions[row]) for row in order]

        def named(rows):
            return [f"{defect or 'good'} · {name}" for name, defect, *_ in rows]

        assert view["names"] == named(shown)
        assert view["mistakes"]["wrong"] == named(row for row in shown if row[2] != row[3])
        assert view["mistakes"]["missed"] == named(row for row in shown if row[2] > row[3])
        assert view["mistakes"]["alarm"] == named(row for row in shown if row[2] < row[3])
        assert set(view["defects"]) == {"*", "=", "=hole", f"={NASTY}"}
        for defect in ("", "hole", NASTY):
            assert view["defects"][f"={defect}"] == named(row for row in shown if row[1] == defect)


def test_two_setups_stand_side_by_side_each_with_its_own_threshold(seen, made):
    assert seen["setups"][int(seen["other"])][1] == "blunt on net"
    first, second = (cells_shown(made, detector)[-1] for detector in ("sharp", "blunt"))
    expected, start = decide(made, [second])
    assert seen["both"]["a"] == told(made.data.results.confusion(first))
    assert [counted(step) for step in seen["both"]["steps"]] == expected
    assert seen["both"]["start"] == start
    assert seen["both"]["frames"] == 2 * len(seen["both"]["names"]) == 24
    ours, theirs = (made.data.results.images(cell) for cell in (first, second))
    differ = {
        name for name, one, other in zip(ours.names, ours.decisions, theirs.decisions, strict=True) if one != other
    }
    assert {name.split(" · ")[-1] for name in seen["disagree"]} == differ
    assert differ


def test_no_setup_is_compared_with_itself(seen):
    setups = [value for value, *_ in seen["setups"]]
    assert [value for value, *_ in seen["others"]] == ["", *(value for value in setups if value != seen["first"])]
    assert seen["turned"]["chosen"] == ""  # what stood as B is A now
    assert seen["turned"]["others"] == ["", *(value for value in setups if value != seen["other"])]


def test_pictures_are_loaded_when_they_come_into_view(seen):
    assert seen["loaded"] > 0
    assert seen["broken"] == 0
    assert seen["painted"] == [4, 4]  # a map of the made study
    assert float(seen["opacity"]) == 0


def test_every_control_has_its_label_and_takes_the_keyboard(seen):
    assert seen["unlabelled"] == 0


def test_tables_are_sorted_by_a_click_on_a_heading_and_go_back(seen):
    up, down, none = seen["sorted"]
    values = [float(text) for text in up["column"]]
    assert values == sorted(values)
    assert len(set(values)) > 1
    assert [float(text) for text in down["column"]] == sorted(values, reverse=True)
    assert [step["sort"] for step in seen["sorted"]] == ["ascending", "descending", None]
    assert len(set(up["widths"])) == 1  # what spanned rows is in each
    assert len(set(none["widths"])) == 2
    assert seen["restored"]
    assert seen["unsortable"] == 0


def test_nothing_is_wider_than_the_screen(made_page, tmp_path):
    """In frames: a window is never as narrow as a telephone."""
    measure = """
    addEventListener("load", () => setTimeout(() => {
      parent.postMessage([innerWidth, document.documentElement.scrollWidth], "*");
    }, 500));
    """
    gather = """
    const seen = [];
    addEventListener("message", event => {
      if (seen.push(event.data) === 2) {
        const textContent = JSON.stringify(seen);
        document.body.append(Object.assign(document.createElement("pre"), {id: "seen", textContent}));
      }
    });
    """
    (tmp_path / "report.html").write_text(allow(made_page, measure), encoding="utf-8")
    frames = "".join(f'<iframe src="report.html" width="{width}" height="900"></iframe>' for width in (1280, 390))
    page = tmp_path / "frames.html"
    page.write_text(f"<title>frames</title><script>{gather}</script>{frames}", encoding="utf-8")
    dom, _ = open_page(page, tmp_path / "profile", width=1800)
    measured = dict(map(tuple, read_seen(dom)))
    assert set(measured) == {1280, 390}
    assert all(scrolled <= inner for inner, scrolled in measured.items()), measured
