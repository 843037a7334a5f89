import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest

from patchshift.errors import UserError
from patchshift.plan.analyses import EXPERIMENT_TABLES, STUDY_TABLES
from patchshift.report.page import render_report
from patchshift.report.plots.registry import EXPERIMENT_PLOTS, STUDY_PLOTS, save_plots
from patchshift.report.recommendation import recommend
from patchshift.report.templating import PIXELS_PER_POINT

BESIDE = re.compile(r"(experiments/\w+/)?(figures/)?\w+\.(png|svg|csv|md|tex|txt)")
"""What lies beside the page, in the study's folder."""
VOID = {"meta", "link", "img", "br", "hr", "wbr", "input"}


class Page(HTMLParser):
    """Collects what a page holds, and that its tags close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href", "srcset", "action")]
        self.ids += [value or "" for name, value in attributes if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def page(made_page) -> Page:
    return Page(made_page)


def render(study) -> str:
    return Page(study.render()).text


ONE_SHIFT = {
    "clean": {"title": "In domain", "train": ["d/a"]},
    "shifted": {"title": "Shifted", "train": ["d/a"], "target_domains": ["dark"]},
}


def test_page_is_well_formed_and_has_every_section(page):
    assert not page.open
    sections = {"recommendation", "shift", "pools", "results", "images", "gallery", "data", "method", "limits"}
    assert {*sections, "provenance"} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_page_asks_for_nothing_outside_itself(page):
    for address in page.addresses:
        assert address.startswith(("#", "data:", "data_cards/")) or BESIDE.fullmatch(address), address
    assert page.addresses.count("data_cards/d.html") == 1  # a link, nothing that is loaded
    assert page.tags.count("a") == sum(not address.startswith("data:") for address in page.addresses)


def test_every_table_beside_the_page_is_linked(page):
    linked = set(page.addresses)
    assert {"metrics.csv", "predictions.csv", "results.txt", "timings.csv", *STUDY_TABLES} <= linked
    for experiment in ("clean", "shifted", "adapted", "pool"):
        tables = {f"experiments/{experiment}/{name}" for name in ("results.csv", "costs.csv", *EXPERIMENT_TABLES)}
        assert tables <= linked
        assert (f"experiments/{experiment}/pools.csv" in linked) == (experiment == "pool")


def test_the_figure_of_recovery_is_shown_under_shift_and_drawn_where_it_is_not_saved(made_once, monkeypatch, tmp_path):
    folder, study = made_once
    monkeypatch.chdir(folder)
    drawn = render_report(study.data, study.provenance)
    assert drawn.count("of each category in every shifted domain") == 4  # two setups, each figure and its label
    shutil.copytree(study.folder, tmp_path / "made")
    data = replace(study.data, folder=tmp_path / "made")
    save_plots({"recovery": STUDY_PLOTS["recovery"].draw(data)}, tmp_path / "made" / "figures")
    saved = Page(render_report(data, study.provenance))
    assert {f"figures/recovery.{kind}" for kind in ("png", "svg", "csv")} <= set(saved.addresses)
    assert saved.text.count("of each category in every shifted domain") == 1  # of the second setup
    shown, after = (saved.text.index(words) for words in ("of the first setup of robustness.csv", "Robustness\n"))
    assert shown < after


def test_the_figure_of_recovery_of_a_setup_that_is_not_under_shift_is_shown_beside_the_tables(
    made_once, monkeypatch, tmp_path
):
    folder, study = made_once
    monkeypatch.chdir(folder)
    shutil.copytree(study.folder, tmp_path / "made")
    data = replace(study.data, folder=tmp_path / "made")
    save_plots({"recovery": STUDY_PLOTS["recovery"].draw(data)}, tmp_path / "made" / "figures")
    table = tmp_path / "made" / "robustness.csv"
    table.write_text(table.read_text().replace("blunt", "another").replace("sharp", "one_more"))
    text = Page(render_report(data, study.provenance)).text
    assert text.index("of the first setup of robustness.csv") > text.index("Robustness\n")
    assert text.count("of each category in every shifted domain") == 2


def test_a_figure_that_is_but_linked_is_one_line_with_its_caption(made_once, monkeypatch, tmp_path):
    folder, study = made_once
    monkeypatch.chdir(folder)
    shutil.copytree(study.folder, tmp_path / "made")
    data = replace(study.data, folder=tmp_path / "made")
    (tmp_path / "made" / "experiments" / "clean" / "figures" / "pareto.svg").write_text("<svg/>")
    text = " ".join(Page(render_report(data, study.provenance)).text.split())
    assert f"What accuracy costs: PNG, SVG, CSV{EXPERIMENT_PLOTS['pareto'].caption}" in text


def test_figures_have_letters_of_one_size(made_page):
    widths = re.findall(r'class="drawing" style="--width: (\d+)px"[^>]*><svg[^>]*viewBox="0 0 ([\d.]+)', made_page)
    assert len(widths) >= 5
    assert all(int(width) == round(PIXELS_PER_POINT * float(points)) for width, points in widths)


@pytest.mark.parametrize("decides", [True, False])
def test_only_what_decides_better_than_a_coin_is_exported_by_the_commands_shown(make_study, monkeypatch, decides):
    monkeypatch.setattr("patchshift.report.wording.can_decide", lambda summary: decides)
    text = render(make_study(detectors=("sharp",), clean={"title": "In domain", "train": ["d/a"]}))
    commands = re.findall(r"snakemake --cores 2 (\S+)", text)
    path = "results/exports/d/a/clean/s/net/sharp/seed0/from/d/a/clean/f1_max.h5"
    assert commands == ([path] if decides else [])


def test_a_row_across_a_table_says_whether_it_parts_the_rows_or_goes_with_the_one_above_it():
    """By its class, for the script that sorts tables."""
    across = r"<tr(?P<attributes>[^>]*)><td[^>]*colspan="
    found = {
        path.name: [match["attributes"] for match in re.finditer(across, path.read_text(encoding="utf-8"))]
        for path in Path(str(files("patchshift.report") / "templates")).glob("*.html")
    }
    assert found["summary.html"] == [' class="first line"']  # what introduces published figures
    assert found["robustness.html"] == [' class="told"', ' class="told"']  # why figures are undefined
    assert sum(map(len, found.values())) == 3


def test_pictures_wait_for_no_scrolling_so_that_they_can_be_printed(made_page):
    assert made_page.count("<img") > 20
    assert "lazy" not in made_page


def test_links_inside_the_page_lead_somewhere(page):
    assert {address[1:] for address in page.addresses if len(address) > 1 and address[0] == "#"} <= set(page.ids)


def test_names_are_text_never_markup(page):
    assert "<script>alert('defect')</script>" in page.text  # as the defect type is called
    assert "In domain <b>bold</b>" in page.text
    assert "What of <i>this</i>?" in page.text
    assert "i" not in page.tags or page.tags.count("i") == page.text.count("mark: the threshold")


def test_images_identical_across_parts_are_named(page):
    assert "identical content in several parts" in page.text
    assert "Split s: 1 image of test is identical to images of val: " in page.text
    assert "test: a-test-0-0.png = val: a-val-0-0.png" in page.text


def test_data_section_counts_the_images_of_every_part(page):
    cells = "".join(page.text.split())
    assert cells.count("splitsimagesalltrainvaltestgood12336") == 2  # categories a and b
    assert cells.count("hole5–23") == 2
    assert "Licence: free <b>of</b> charge." in page.text


def test_a_report_without_the_datasets_card_says_which_is_missing(make_study):
    study = make_study(detectors=("sharp",), **ONE_SHIFT)
    (study.folder / "data_cards/d.json").unlink()
    with pytest.raises(UserError, match=r"data_cards/d\.json does not exist"):
        study.render()


def test_change_under_shift_stands_beside_its_sign_and_what_it_leaves_out(page, make_study):
    assert "on the same images and resamples" in page.text
    assert "Left out" not in page.text
    text = render(make_study(gone=1, detectors=("sharp",), **ONE_SHIFT))
    assert "left the frame or is ignored: 1 image in dark." in text
    assert re.search(r"[+\N{MINUS SIGN}]?0\.\d{2,3}[+\N{MINUS SIGN}]?0\.\d{2,3} to [+\N{MINUS SIGN}]?0\.\d{2,3}", text)


def test_ignored_regions_have_their_key_where_there_are_some(page, make_study):
    assert "ignored region" not in page.text
    assert render(make_study(ignore=True, detectors=("sharp",), **ONE_SHIFT)).count("ignored region") == 2


def test_page_without_thresholds_says_why(make_study):
    text = render(make_study(validation=False, detectors=("sharp",), clean=ONE_SHIFT["clean"]))
    assert "no threshold can be recommended" in text
    assert "undefined: no validation image" in text
    assert "Lowest-scored defects" in text


def test_page_of_a_study_without_any_bank_in_its_own_domain(make_study):
    text = render(make_study(cross={"title": "Cross", "train": ["d/a"], "targets": ["d/b"]}))
    assert "no bank of this study was scored in the domain it was fitted on" in text


def test_a_natural_shift_is_named_explained_and_shown_by_images_of_its_own(make_study):
    text = render(
        make_study(
            camera=True,
            detectors=("sharp",),
            clean=ONE_SHIFT["clean"],
            other={"title": "Other camera", "train": ["d/a"], "target_domains": ["camera_b"]},
        )
    )
    assert "camera_b. Used as it is, " in text
    assert "camera_b is a natural shift: d seen in e." in text
    assert "camera_b shows other images than clean, so both sides are resampled independently" in text
    assert "no adaptation, another image" in text
    assert "The same images under shift" not in text


def test_domains_of_which_the_same_is_said_share_a_paragraph_and_a_ladder_tells_the_rest(make_study):
    shifted = {"title": "Ever darker", "train": ["d/a"], "target_domains": ["clean", "dim", "dark"]}
    text = render(make_study(detectors=("sharp",), ladder=shifted))
    assert re.search(r"dim and dark\. Used as it is, .*; false alarms rise by 100 of 100 \(", text)
    assert len(re.findall("Used as it is", text)) == 1  # not told once more beside the table of means
    assert "photometric: image AUROC is 1.000 in the clean domain" in text
    assert text.index("Ever darker") < text.index("Every shifted domain")


def test_a_ladder_of_a_study_without_a_reference_is_shown(make_study):
    pool = {"title": "Shared", "train": ["pools/all"], "targets": ["d/a"], "target_domains": ["dim", "dark"]}
    text = render(make_study(detectors=("sharp",), pool=pool))
    assert "As a shift grows stronger" in text
    assert "The clean domain was not scored here" in text


def test_script_writes_the_page_and_equal_inputs_give_equal_bytes(make_study, tmp_path):
    import write_report

    study = make_study(detectors=("sharp",), clean=ONE_SHIFT["clean"])
    pages = []
    for name in ("one.html", "two.html"):
        write_report.main(study.arguments(tmp_path / name))
        pages.append((tmp_path / name).read_bytes())
    assert pages[0] == pages[1]
    assert not re.search(rb"20\d\d-\d\d-\d\d", pages[0])  # no time of writing


def test_a_page_on_an_untrained_backbone_says_so_wherever_it_names_it(make_study):
    text = render(make_study(clean={"title": "In domain", "train": ["d"]}, weights="random"))
    assert "Use sharp on untrained net (random weights)" in " ".join(text.split())
    assert "(random weights)" not in render(make_study(clean={"title": "In domain", "train": ["d"]}))


def test_other_setups_stand_in_a_table_with_their_differences(page):
    number, sign = r"[01]\.\d{2,3}", "[+\N{MINUS SIGN}]"
    change = f"{sign}{number}{sign}{number} to {sign}{number}"
    assert re.search(f"blunt on net{number}{number}–{number}{change}", page.text)


def test_the_answer_names_its_split_where_the_study_has_others(made, monkeypatch):
    found = replace(recommend(made.data.results, made.data.domains, made.data.spec), other_splits=["t", "u"])
    monkeypatch.setattr("patchshift.report.page.recommend", lambda *_: found)
    text = " ".join(Page(render_report(made.data, made.provenance)).text.split())
    assert "On split s, use sharp on net" in text
    assert "This is of split s alone. On t and u the setups may rank otherwise" in text
    assert "in domain clean, split s" in text
    monkeypatch.setattr("patchshift.report.recommendation.CHANCE", 1.0)
    text = " ".join(Page(render_report(made.data, made.provenance)).text.split())
    assert "No setup can be recommended on split s." in text


def test_a_page_without_a_recommendation_says_what_is_lacking(made, monkeypatch):
    monkeypatch.setattr("patchshift.report.page.recommend", lambda *_: None)
    monkeypatch.setattr("patchshift.report.page.explain_lack", lambda *_: "no <defective> test image")
    assert '<p class="choice">None: no &lt;defective&gt; test image.</p>' in render_report(made.data, made.provenance)


def test_a_setup_that_does_not_rank_is_not_recommended(make_study, monkeypatch):
    monkeypatch.setattr("patchshift.report.recommendation.CHANCE", 1.0)
    text = " ".join(render(make_study(detectors=("sharp", "blunt"), clean=ONE_SHIFT["clean"])).split())
    assert "No setup can be recommended." in text
    assert "The figures below are of the best of those compared, sharp on net with threshold f1_max." in text
    assert "Use sharp" not in text


def test_the_data_section_says_what_the_backbones_see(page):
    assert "Every image is resized, height × width, to 320 × 224 pixels (net)." in page.text


def test_a_pools_section_says_whose_vectors_its_bank_holds(page):
    section = " ".join(page.text.partition("One bank for all categories, or one each")[2].split())
    section = section.partition("Results of every experiment")[0]
    assert section.count("Whose vectors the shared bank holds") == 2  # of each detector
    assert "a 25.0 %12.5 %50.0 %" in section
    assert "b 75.0 %12.5 %50.0 %" in section
