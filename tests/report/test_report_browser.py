"""The report in headless Chromium: a script beside its own moves the controls and writes what it sees into the page."""

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pypdf import PageObject, PdfReader

from patchshift.evaluation.calibrated import read_calibration
from patchshift.evaluation.image_metrics import DECISION_METRICS, Confusion, count_decisions
from patchshift.plan.cells import Cell
from patchshift.report.templating import read_script
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
    assert seen["setups"][int(seen["other"])][1] == "blunt on net · In domain <b>bold</b>"
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
    assert seen["first"] not in [value for value, *_ in seen["others"]]
    assert seen["turned"]["chosen"] == ""  # what stood as B is A now
    assert seen["other"] not in seen["turned"]["others"]


def test_a_setup_is_compared_only_with_those_that_scored_the_same_images(seen, made):
    domains = {"In domain <b>bold</b>": "clean", "Pool": "clean", "Shifted": "dark", "Adapted": "dark"}
    domain_of = {value: domains[experiment] for value, _, experiment in seen["setups"]}
    assert len(domain_of) == 8
    for value, offered in seen["offered"].items():
        same = [other for other in domain_of if other != value and domain_of[other] == domain_of[value]]
        assert offered == ["", *same]


def test_setups_of_one_name_are_told_apart_by_their_experiment_also_where_the_selector_is_closed(seen):
    names = [name for _, name, _ in seen["setups"]]
    assert len(set(names)) == len(names) == 8
    assert "sharp on net · Adapted" in names


def test_a_setup_that_scored_none_of_the_images_chosen_is_offered_with_the_reason_and_cannot_be_chosen(
    made_page, tmp_path
):
    """In a page whose pooled setup has scored but one of the categories, under titles that end at their colon."""
    begin = made_page.index('id="gallery-data">') + len('id="gallery-data">')
    end = made_page.index("</script>", begin)
    content = json.loads(made_page[begin:end])
    pooled = next(number for number, setup in enumerate(content["setups"]) if setup["experiment"] == "Pool")
    setup = content["setups"][pooled]
    setup["cells"] = [number for number in setup["cells"] if content["cells"][number]["category"] == "a"]
    for each in content["setups"]:
        each["experiment"] += ": what it is in many more words"
    text = json.dumps(content).replace("<", "\\u003c").replace(">", "\\u003e")
    drive = """
    const find = name => document.querySelector(`.gallery [data-field="${name}"]`);
    const choose = (name, value) => { find(name).value = value; find(name).dispatchEvent(new Event("change")); };
    const told = () => [...find("setup-b").options].map(each => [each.value, each.textContent, each.disabled]);
    const seen = {};
    choose("setup-b", POOLED);
    choose("category", "=a");
    seen.a = {chosen: find("setup-b").value, told: told()};
    choose("category", "=b");
    seen.b = {chosen: find("setup-b").value, told: told(), bare: document.querySelector('[data-side="b"]').hidden};
    document.body.append(Object.assign(document.createElement("pre"), {id: "seen", textContent: JSON.stringify(seen)}));
    """.replace("POOLED", json.dumps(str(pooled)))
    page = tmp_path / "report.html"
    page.write_text(allow(made_page[:begin] + text + made_page[end:], WATCH, drive), encoding="utf-8")
    seen = read_seen(open_page(page, tmp_path / "profile")[0])
    name = f"{setup['name']} · Pool"
    assert seen["a"]["chosen"] == str(pooled)
    assert [str(pooled), name, False] in seen["a"]["told"]
    assert seen["b"]["chosen"] == ""
    assert [str(pooled), f"{name} (scored other images than those chosen)", True] in seen["b"]["told"]
    assert seen["b"]["bare"]


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


ROWS = """
<div class="wide"><table>
<thead><tr><th>setup</th><th>value</th></tr></thead>
<tbody>
<tr><th rowspan="2">one</th><td>3</td></tr>
<tr class="told"><td>of the row that says 3</td></tr>
<tr><th>two</th><td><span class="undefined">nothing was scored</span></td></tr>
<tr><th>three</th><td>1</td></tr>
<tr class="line"><td colspan="2">Published by others</td></tr>
<tr><th>four</th><td>0.9</td></tr>
<tr><th>five</th><td>0.5</td></tr>
<tr class="line"><td colspan="2">And by others still</td></tr>
<tr><th>six</th><td>0.7</td></tr>
</tbody></table></div>
"""


def test_lines_across_a_table_stay_and_what_stands_between_them_is_sorted_part_by_part(tmp_path):
    drive = """
    const table = document.querySelector("table"), body = table.tBodies[0], seen = [];
    for (let click = 0; click < 3; click++) {
      table.querySelectorAll("button")[1].click();
      seen.push([...body.rows].map(row => row.cells[row.cells.length - 1].textContent));
    }
    document.body.append(Object.assign(document.createElement("pre"), {id: "seen", textContent: JSON.stringify(seen)}));
    """
    page = tmp_path / "table.html"
    page.write_text(f"{ROWS}<script>{read_script('tables.js').text}</script><script>{drive}</script>", encoding="utf-8")
    up, down, back = read_seen(open_page(page, tmp_path / "profile")[0])
    first, second, told = "Published by others", "And by others still", "of the row that says 3"
    assert up == ["1", "3", told, "nothing was scored", first, "0.5", "0.9", second, "0.7"]
    assert down == ["3", told, "1", "nothing was scored", first, "0.9", "0.5", second, "0.7"]
    assert back == ["3", told, "nothing was scored", "1", first, "0.9", "0.5", second, "0.7"]


def measure_frames(page: str, widths: Sequence[int], measure: str, folder: Path) -> dict[int, Any]:
    """What a script says of the page in frames of some widths: a window is never as narrow as a telephone."""
    send = f"""
    addEventListener("load", () => setTimeout(() => parent.postMessage([innerWidth, ({measure})()], "*"), 500));
    """
    gather = f"""
    const seen = [];
    addEventListener("message", event => {{
      if (seen.push(event.data) === {len(widths)}) {{
        const textContent = JSON.stringify(seen);
        document.body.append(Object.assign(document.createElement("pre"), {{id: "seen", textContent}}));
      }}
    }});
    """
    (folder / "report.html").write_text(allow(page, send), encoding="utf-8")
    frames = "".join(f'<iframe src="report.html" width="{width}" height="900"></iframe>' for width in widths)
    outer = folder / "frames.html"
    outer.write_text(f"<title>frames</title><script>{gather}</script>{frames}", encoding="utf-8")
    dom, _ = open_page(outer, folder / "profile", width=1800)
    measured = dict(map(tuple, read_seen(dom)))
    assert set(measured) == set(widths)
    return measured


def test_nothing_is_wider_than_the_screen(made_page, tmp_path):
    measured = measure_frames(made_page, (1280, 390), "() => document.documentElement.scrollWidth", tmp_path)
    assert all(scrolled <= inner for inner, scrolled in measured.items()), measured


def test_letters_of_figures_can_be_read_on_a_telephone(made_page, tmp_path):
    measure = """
    () => [...document.querySelectorAll(".drawing svg")].filter(each => each.clientWidth).map(each =>
      each.getBoundingClientRect().width / each.viewBox.baseVal.width)
    """
    shares = measure_frames(made_page, (390,), measure, tmp_path)[390]
    assert len(shares) >= 5
    assert min(shares) * 8 > 10  # pixels of 8-point letters


def test_the_row_that_is_read_stays_in_sight_where_its_figures_are_scrolled(made_page, tmp_path):
    measure = """
    () => [...document.querySelectorAll(".wide")].filter(each => each.scrollWidth > each.clientWidth + 60).map(each => {
      each.scrollLeft = 60;
      const head = each.querySelector("tbody th");
      return head ? Math.round(head.getBoundingClientRect().left - each.getBoundingClientRect().left) : 0;
    })
    """
    places = measure_frames(made_page, (390,), measure, tmp_path)[390]
    assert len(places) >= 3
    assert set(places) == {0}


def test_headings_of_tables_stand_on_one_line_with_their_arrows(made_page, tmp_path):
    measure = """
    () => [...document.querySelectorAll("#results .dense:first-of-type thead tr")].map(row =>
      [...row.cells].map(cell => {
        const range = document.createRange();
        range.selectNodeContents(cell);
        return Math.round(range.getBoundingClientRect().bottom);
      }))
    """
    for bottoms in measure_frames(made_page, (1280,), measure, tmp_path)[1280]:
        assert len(set(bottoms)) == 1, bottoms


PAPER = 718
"""CSS pixels between the margins of a page of A4."""


def test_on_paper_no_table_and_no_figure_is_cropped(made_page, tmp_path):
    """As the rules for print lay it out, in a frame as wide as paper; with a table wider than those of the study."""
    figures = "<td>0.929<small>0.875–0.993</small></td>" * 11
    name = "<wbr>".join(["patchcore_", "whitened_", "top_", "one_", "percent"])
    rows = f'<tr><th scope="row" class="words">{name}</th><td class="words">{name}</td>{figures}</tr>' * 2
    table = f'<div class="wide" id="made"><table class="dense"><tbody>{rows}</tbody></table></div></main>'
    page = made_page.replace("</main>", table).replace("@media print", "@media all")
    page = page.replace("@media screen", "@media not all")
    measure = """
    () => {
      dispatchEvent(new Event("beforeprint"));
      const shown = [...document.querySelectorAll(".wide, .drawing")].filter(each => each.offsetHeight);
      const beyond = shown.map(each => {
        const {right} = each.firstElementChild.getBoundingClientRect();
        return [Math.round(right - document.documentElement.clientWidth), each.textContent.slice(0, 60)];
      });
      return {many: shown.length, beyond: beyond.filter(each => each[0] > 0),
        made: document.querySelector("#made tr").cells.length,
        scrolled: shown.filter(each => getComputedStyle(each).overflowX !== "visible").length,
        gallery: document.querySelector(".gallery").offsetHeight, nav: document.querySelector("nav").offsetHeight};
    }
    """
    seen = measure_frames(page, (PAPER,), measure, tmp_path)[PAPER]
    assert seen["many"] >= 10
    assert seen["made"] == 13
    assert seen["beyond"] == []
    assert (seen["scrolled"], seen["gallery"], seen["nav"]) == (0, 0, 0)


def print_page(text: str, folder: Path) -> PdfReader:
    (folder / "report.html").write_text(text, encoding="utf-8")
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    command += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=60000"]
    command += [f"--print-to-pdf={folder / 'report.pdf'}", (folder / "report.html").as_uri()]
    subprocess.run(command, capture_output=True, timeout=300, check=True)
    return PdfReader(folder / "report.pdf")


@pytest.fixture(scope="module")
def printed(made_page: str, tmp_path_factory: pytest.TempPathFactory) -> PdfReader:
    return print_page(made_page, tmp_path_factory.mktemp("print"))


def test_on_paper_the_headings_of_a_table_are_repeated_on_every_page(made_page, tmp_path):
    rows = "".join(f"<tr><td>row {number}</td></tr>" for number in range(150))
    table = f'<div class="wide"><table><thead><tr><th>as headed</th></tr></thead><tbody>{rows}</tbody></table></div>'
    begin, end = made_page.index("<main>"), made_page.index("</main>")
    pages = print_page(made_page[:begin] + "<main>" + table + made_page[end:], tmp_path).pages
    texts = [page.extract_text() for page in pages]
    with_rows = [text for text in texts if "row " in text]
    assert len(with_rows) >= 3
    assert all("as headed" in text for text in with_rows)


def test_on_paper_all_that_is_folded_on_the_screen_is_open(printed, made_page, seen):
    read = "".join(page.extract_text() for page in printed.pages)
    text = re.sub(r"\s+", "", unicodedata.normalize("NFKC", read))  # without ligatures
    for folded in ("SHA-256, the first 12 digits", "this writes the fitted bank", "Which differences are told apart"):
        assert (folded in made_page) == (re.sub(r"\s+", "", folded) in text), folded
    for artifact in re.findall(r"<td><code>(results/scores/[^<]+)</code>", made_page):
        assert artifact in text
    assert "isonthepagealone,notonpaper" in text
    assert "SetupA" not in text
    screen, print_, after = seen["folded"]
    assert screen == after > 3
    assert print_ == 0


def test_on_paper_every_picture_is_there(printed, made_page):
    shown = set(re.findall(r'<img src="data:image/jpeg;base64,([^"]+)"', made_page))
    assert len(shown) > 20
    streams = {bytes(of.get_object()._data) for page in printed.pages for of in find_images(page)}
    missing = [picture for picture in shown if base64.b64decode(picture) not in streams]
    assert not missing


def find_images(page: PageObject) -> Iterator[Any]:
    """The images that a page of a PDF draws, in forms, too."""
    waiting = [page.get("/Resources")]
    while waiting:
        resources = waiting.pop()
        for each in (resources.get_object().get("/XObject") or {}).values() if resources else ():
            if each.get_object()["/Subtype"] == "/Image":
                yield each
            else:
                waiting.append(each.get_object().get("/Resources"))
