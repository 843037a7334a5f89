import csv
import re
from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pytest
from jinja2 import ChoiceLoader, DictLoader
from matplotlib.ft2font import FT2Font

from patchshift.plan.cells import Cell
from patchshift.report import templating
from patchshift.report.analyses import summary, summary_texts
from patchshift.report.analyses.published import Figure
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.analyses.summary import BELOW, BEST, CATEGORY, COLUMNS, MACRO, SPREAD, summary_table
from patchshift.report.analyses.summary_blocks import SHOWN, Block, SetupLines, read_blocks
from patchshift.report.analyses.summary_grids import (
    MOST_COLUMNS,
    Grid,
    category_grids,
    mark_notes,
    metrics_grid,
    published_grid,
    split_published,
)
from patchshift.report.analyses.summary_texts import (
    FIRST_COLUMN,
    describe_block,
    escape_latex,
    stack_heading,
    summary_latex,
    summary_markdown,
    summary_rows,
)
from patchshift.report.pairing import mean_auroc, mean_difference
from patchshift.report.sections import summary as section
from patchshift.report.sections.summary import describe_summary
from patchshift.runtime.files import write_text

SEEDS = {"seeds": {"title": "Seeds_1 & 2", "train": ["d"], "seeds": [0, 1, 2]}}


def rows_of(frame: pd.DataFrame, kind: str, **keys: str) -> pd.DataFrame:
    chosen = frame[frame.row == kind]
    for column, value in keys.items():
        chosen = chosen[chosen[column] == value]
    return chosen


def cells_of(data: StudyData, experiment: str, detector: str) -> list[Cell]:
    return [cell for cell in data.cells(experiment) if cell.bank.detector == detector]


def published(**changes: object) -> Figure:
    figure = Figure("d", "a", "patchcore", "net", 0.02, "in domain", "image_auroc", 0.987, None, "They_1", "theirs")
    return replace(figure, **changes)  # type: ignore[arg-type]


@pytest.fixture
def made_up_figures(monkeypatch):
    figures = [
        published(),
        published(category="a+b", value=0.876),
        published(method="dinomaly", backbone="", coreset=None, value=0.996, value_to=0.998),
        published(category="b", condition="no adaptation", value=0.6),
        published(dataset="e"),
    ]
    for module in (summary, summary_texts, section):
        monkeypatch.setattr(module, "read_published", lambda: figures)
    return figures


def test_categories_come_first_then_their_mean_and_spread(made):
    frame = summary_table(made.data, "clean")
    assert list(frame.columns) == list(COLUMNS)
    assert len(set(COLUMNS)) == len(COLUMNS)
    assert list(frame.row) == [CATEGORY] * 4 + [MACRO, SPREAD] * 2
    assert list(frame.target_category) == ["a", "b", "a", "b", MACRO, SPREAD, MACRO, SPREAD]
    assert set(frame.condition) == {"in domain"}
    assert list(rows_of(frame, MACRO).count_normal) == [12, 12]


def test_the_mean_of_one_seed_is_that_of_the_other_pages(made):
    data = made.data
    frame = summary_table(data, "clean")
    for detector in ("blunt", "sharp"):
        cells = cells_of(data, "clean", detector)
        row = rows_of(frame, MACRO, detector=detector).iloc[0]
        mean = mean_auroc(data.results, cells, data.spec)
        assert (row.image_auroc, row.image_auroc_low, row.image_auroc_high) == pytest.approx(
            (mean.value, mean.low, mean.high)
        )
        own = [data.results.value(cell, "image_auroc") for cell in cells]
        rows = rows_of(frame, CATEGORY, detector=detector)
        assert list(rows.image_auroc_low) == [value.low for value in own]
        spread = rows_of(frame, SPREAD, detector=detector).iloc[0]
        assert spread.image_auroc == pytest.approx(np.std([value.value for value in own], ddof=1))


def test_the_gain_is_the_paired_difference_to_the_baseline(make_study):
    study = make_study(gone=2, shifted={"title": "Shifted", "train": ["d"], "target_domains": ["dark"]})
    data = study.data
    frame = summary_table(data, "shifted")
    sharp = cells_of(data, "shifted", "sharp"), cells_of(data, "shifted", "blunt")
    difference = mean_difference(data.results, *sharp, data.spec)
    row = rows_of(frame, MACRO, detector="sharp").iloc[0]
    assert row.baseline == "blunt on net"
    assert (row.gain, row.gain_low, row.gain_high) == pytest.approx((difference.value, difference.low, difference.high))
    assert pd.isna(rows_of(frame, MACRO, detector="blunt").iloc[0].gain)


def test_the_named_baseline_is_used(made):
    frame = summary_table(replace(made.data, baselines={"clean": "sharp"}), "clean")
    rows = rows_of(frame, MACRO)
    assert set(rows.baseline) == {"sharp on net"}
    assert rows[rows.detector == "blunt"].gain.iloc[0] < 0


def test_ranks_and_standing_follow_the_mean(made):
    rows = rows_of(summary_table(made.data, "clean"), MACRO).set_index("detector")
    assert rows.image_auroc["sharp"] > rows.image_auroc["blunt"]
    assert rows["rank"].to_dict() == {"blunt": 2, "sharp": 1}
    assert rows.standing.to_dict() == {"blunt": BELOW, "sharp": BEST}


def test_a_single_setup_has_no_rank(make_study):
    study = make_study(detectors=("sharp",), clean={"title": "t", "train": ["d"]})
    rows = rows_of(summary_table(study.data, "clean"), MACRO)
    assert rows["rank"].isna().all()
    assert (rows.standing == "").all()


def test_two_seeds_are_in_the_intervals_of_image_auroc_alone(make_study):
    """Of two, other metrics have no t interval (`evaluation.seeds.FEWEST_SEEDS`)."""
    data = make_study(seeds={"title": "", "train": ["d"], "seeds": [0, 1]}).data
    text = summary_markdown(data, "seeds")
    assert "intervals for the choice of test images, those of image AUROC also for that of seeds." in text


def test_seeds_are_merged(make_study):
    study = make_study(detectors=("blunt",), **SEEDS)
    data = study.data
    frame = summary_table(data, "seeds")
    assert list(frame.row) == [CATEGORY, CATEGORY, MACRO, SPREAD]
    values = np.array([data.results.value(cell, "image_auroc").value for cell in data.cells("seeds")]).reshape(2, 3)
    row = rows_of(frame, MACRO).iloc[0]
    assert row.seeds == 3
    assert row.image_auroc == pytest.approx(values.mean())
    assert row.image_auroc_sd == pytest.approx(values.mean(axis=0).std(ddof=1))
    assert list(rows_of(frame, CATEGORY).image_auroc_sd) == pytest.approx(values.std(axis=1, ddof=1))
    assert row.pixel_auroc_low < row.pixel_auroc < row.pixel_auroc_high
    text = summary_markdown(data, "seeds")
    assert "mean of 3 seeds" in text
    assert "sd over 3 seeds" in text
    assert "intervals for the choice of test images and seeds" in text


def forget_scores(study, detector: str, category: str) -> None:
    """Make the image AUROC of one bank undefined, as where its scores are not finite."""
    for name, emptied in (("predictions.csv", ("score", "decision")), ("metrics.csv", ("value", "low", "high"))):
        with (study.folder / name).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            here = (row["detector"], row["target_category"]) == (detector, category)
            if here and (name == "predictions.csv" or row["metric"] == "image_auroc"):
                row.update(dict.fromkeys(emptied, ""))
        write_text(study.folder / name, pd.DataFrame(rows).to_csv(index=False))


def test_where_an_auroc_is_undefined_the_setup_is_not_ranked(make_study):
    study = make_study(detectors=("blunt", "sharp", "third"), clean={"title": "t", "train": ["d"]})
    forget_scores(study, "sharp", "b")
    frame = summary_table(study.data, "clean")
    row = rows_of(frame, CATEGORY, detector="sharp", target_category="b").iloc[0]
    assert pd.isna(row.image_auroc)
    assert (row.grade, row.standing) == ("", "")
    macro = rows_of(frame, MACRO).set_index("detector")
    assert macro.categories.to_dict() == {"blunt": 2, "sharp": 1, "third": 2}
    assert sorted(macro["rank"].dropna()) == [1, 2]
    assert pd.isna(macro["rank"]["sharp"])
    assert "undefined" in summary_markdown(study.data, "clean")


@pytest.mark.parametrize(
    ("experiment", "headings"),
    [
        ("clean", ["In domain, clean"]),
        ("shifted", ["No adaptation, dark"]),
        ("adapted", ["Adapted, dark"]),
        ("pool", ["Bank of pool all, clean"]),
    ],
)
def test_blocks_say_under_what_circumstance_setups_are_compared(made, experiment, headings):
    blocks = read_blocks(made.data, summary_rows(made.data, experiment), [])
    assert [block.heading for block in blocks] == headings
    assert [setup.label for setup in blocks[0].setups] == ["blunt", "sharp"]
    assert blocks[0].shared == "split s, backbone net, policy f1_max, weights net.safetensors"


def test_banks_of_other_categories_and_other_cameras_are_compared_apart(make_study):
    study = make_study(
        detectors=("sharp",),
        camera=True,
        crossed={"title": "Crossed", "train": ["d"], "targets": ["d"], "target_domains": ["clean", "camera_b"]},
    )
    blocks = read_blocks(study.data, summary_rows(study.data, "crossed"), [])
    by_heading = {block.heading: block.categories for block in blocks}
    assert by_heading["In domain, clean"] == ["a", "b"]
    assert by_heading["No adaptation, camera_b"] == ["a", "b"]
    assert by_heading["Banks of another category, clean"] == ["bank of a on b", "bank of b on a"]


def test_a_category_that_several_banks_are_scored_on_is_counted_once(make_study):
    study = make_study(detectors=("sharp",), crossed={"title": "Crossed", "train": ["d"], "targets": ["d"]})
    blocks = {block.heading: block for block in read_blocks(study.data, summary_rows(study.data, "crossed"), [])}
    crossed = blocks["Banks of another category, clean"]
    assert "12 good and 12 defective test images of 2 categories; " in describe_block(crossed, 0.95)
    counted = {
        ("bank of a on b", "bank of b on a", "bank of c on b"): "2 categories, 3 pairs of bank and category",
        ("bank of a on b", "bank of c on b"): "category b, 2 pairs of bank and category",
    }
    for pairs, said in counted.items():
        setup = replace(crossed.setups[0], categories={pair: {} for pair in pairs})
        block = replace(crossed, setups=[setup])
        assert block.categories == list(pairs)
        assert f" test images of {said}; " in describe_block(block, 0.95)


def test_published_figures_stand_beside_measured_ones_and_never_among_them(made, made_up_figures):
    frame = summary_table(made.data, "clean")
    beside = frame.dropna(subset="published_image_auroc")
    assert list(zip(beside.detector, beside.target_category, beside.published_image_auroc, strict=True)) == [
        ("sharp", "a", 0.987),
        ("sharp", MACRO, 0.876),
    ]
    assert set(beside.published_source) == {"They_1"}
    block = read_blocks(made.data, summary_rows(made.data, "clean"), made_up_figures)[0]
    grid = metrics_grid(block)
    assert [row[0].text for row in grid.published] == ["PatchCore, net, coreset 2 %: mean of a, b [1]"]
    assert len(grid.sections[0]) == 2
    text = summary_markdown(made.data, "clean")
    assert "| published image AUROC | PatchCore, net, coreset 2 % [1] | Dinomaly [1] |" in text
    assert "0.996 to 0.998" in text
    assert "0.600" not in summary_markdown(made.data, "clean")
    assert "*published: PatchCore, net, coreset 2 %: mean of a, b [1]* | *0.876*" in text
    assert "Published: by others, under their own protocols; not measured here." in text
    # shown on shifted images only where the figure is of such images, too
    shifted = summary_markdown(made.data, "shifted")
    assert "0.600" in shifted
    assert "0.987" not in shifted


def test_untrained_weights_have_no_published_figures(make_study, made_up_figures):
    study = make_study(weights="random", clean={"title": "t", "train": ["d"]})
    assert summary_table(study.data, "clean").published_image_auroc.isna().all()


def test_printed_values_lie_in_their_printed_intervals_with_the_same_decimals(made):
    for experiment in ("clean", "shifted", "pool"):
        text = summary_markdown(made.data, experiment).replace("**", "").replace("−", "-")
        found = re.findall(r"([-+]?\d\.\d+)(?: ≈)? \[([-+]?\d\.\d+), ([-+]?\d\.\d+)\]", text)
        assert len(found) > 10
        for ends in found:
            value, low, high = map(float, ends)
            assert low <= value <= high
            assert len({len(end.partition(".")[2]) for end in ends}) == 1


def test_markdown_tables_have_as_many_fields_in_each_row(made, made_up_figures):
    for table in re.findall(r"(?:^\|.*\n)+", summary_markdown(made.data, "clean"), flags=re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1


def test_markdown_ends_with_mean_spread_rank_and_gain_and_marks_the_best(made):
    text = summary_markdown(made.data, "clean")
    names = re.findall(r"^\| ([^|]+?) \|", text, flags=re.MULTILINE)
    start = names.index("macro-average")
    assert names[start : start + 5] == [
        "macro-average",
        "sd over categories",
        "rank",
        "gain over blunt on net",
        "grade",
    ]
    assert re.search(r"\| macro-average \| \d\.\d+ \[.*\] \| \*\*\d\.\d+\*\* \[", text)
    assert "12 good and 12 defective test images of 2 categories" in text
    assert "95 % intervals" in text


def test_many_setups_are_spread_over_tables(make_study):
    names = tuple(f"detector_{number}" for number in range(MOST_COLUMNS + 1))
    study = make_study(detectors=names, clean={"title": "t", "train": ["d"]})
    block = read_blocks(study.data, summary_rows(study.data, "clean"), [])[0]
    assert [len(grid.header) for grid in category_grids(block)] == [MOST_COLUMNS + 1, 2]


def strip_escapes(text: str) -> str:
    return re.sub(r"\\[\\{}&%$#_]", "", text.replace(r"\\{}", ""))


def test_latex_is_balanced_and_its_rows_are_as_wide_as_their_tables(made, made_up_figures):
    for experiment in ("clean", "shifted"):
        text = summary_latex(made.data, experiment)
        lines = [line for line in text.splitlines() if not line.startswith("%")]
        depth = 0
        for character in strip_escapes("\n".join(lines)):
            depth += {"{": 1, "}": -1}.get(character, 0)
            assert depth >= 0
        assert depth == 0
        for name in ("table*", "tabular"):
            assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") > 0
        width = 0
        for line in lines:
            if found := re.match(r"\\begin\{tabular\}\{@\{\}p\{\d+pt\}(r+)@\{\}\}", line):
                width = 1 + len(found[1])
            elif line.endswith(r"\\") and "multicolumn" not in line:
                inner = re.sub(r"\\begin\{tabular\}\[.\].*?\\end\{tabular\}", "", line)
                assert strip_escapes(inner.removesuffix(r"\\")).count("&") == width - 1
        assert r"\toprule" in text
        assert r"\textbf{" in text


def width_of(text: str, points: float, *, bold: bool = False) -> float:
    """How wide text is in Computer Modern, in points; small sizes of it are wider than the large one made smaller."""
    font = FT2Font(f"{matplotlib.get_data_path()}/fonts/ttf/{'cmb10' if bold else 'cmr10'}.ttf")
    font.set_size(points, 72)
    font.set_text(text.replace("−", "+").replace("≈", "+"))
    return font.get_width_height()[0] / 64 * {8: 1.0625, 7: 1.14}[points]


def grid_width(grid: Grid) -> float:
    widths = [float(FIRST_COLUMN)]
    for number, heading in enumerate(grid.header[1:], start=1):
        lines = [width_of(line, 8) for line in stack_heading(heading, len(grid.header))]
        for row in [*(row for part in grid.sections for row in part), *grid.published]:
            mark = " ≈" if row[number].mark == "level" else ""
            lines += [width_of(row[number].text + mark, 8, bold=row[number].mark == "best")]
            lines += [width_of(f"[{row[number].ends}]", 7)] if row[number].ends else []
        widths.append(max(lines))
    return sum(widths) + 2 * (3 if len(widths) <= 8 else 2) * (len(widths) - 1)


def test_printed_tables_fit_the_page_whatever_their_numbers_and_names(made, made_up_figures):
    rows = [dict(row) for row in summary_rows(made.data, "clean")]
    for row in rows:
        row["detector"] = f"dual_bank_synthetic_negatives_{row['detector']}"
        row["baseline"] = "dual_bank_synthetic_negatives on wide_resnet50_2"
        row["backbone"] = "wide_resnet50_2" if "sharp" in row["detector"] else "vit_base_patch16_224"
        row["grade"], row["grade_low"] = "excellent", "good"
        for metric in SHOWN if row["row"] != SPREAD else ():
            # three decimals everywhere
            row |= {metric: "0.985"} | (
                {} if metric == "f1_floor" else {f"{metric}_low": "0.984", f"{metric}_high": "0.986"}
            )
        if row["gain"]:
            row |= {"gain": "-0.013", "gain_low": "-0.014", "gain_high": "-0.012"}
    names = [
        "PatchCore, wide_resnet50_2, coreset 10 %",
        "Dinomaly",
        "Reverse distillation",
        "UniAD",
        "EfficientAD",
        "CFA",
    ]
    figures = [
        published(method=name, backbone="", coreset=None, category=name_of) for name in names for name_of in "ab"
    ]
    block = read_blocks(made.data, rows, figures)[0]
    whole = metrics_grid(block, printed=True)
    assert whole.header[1:] == [*SHOWN.values()]  # the table by category has the rest
    alone = [row for row in rows if row["target_category"] != "b"]
    single = metrics_grid(read_blocks(made.data, alone, [])[0], printed=True)
    assert single.header[1:] == [*SHOWN.values(), "rank", "gain"]
    by_category = split_published(published_grid(block))
    for grid in (whole, single, *category_grids(block), *by_category):
        assert grid_width(grid) < 516
    assert grid_width(metrics_grid(block)) > 516  # what the page has room for
    assert [len(grid.header) - 1 for grid in by_category] == [4, 2]
    assert [bool(grid.notes) for grid in by_category] == [False, True]


def test_latex_never_reads_a_bracket_as_the_height_of_a_line(made, made_up_figures):
    assert not re.search(r"\\\\\s*\[", summary_latex(made.data, "clean"))


def test_latex_escapes_what_it_would_read_as_commands(make_study):
    assert escape_latex(r"a_b & 5 % {x} $ # ~ ^ \y") == (
        r"a\_\allowbreak{}b \& 5 \% \{x\} \$ \# \textasciitilde{} \textasciicircum{} \textbackslash{}y"
    )
    study = make_study(detectors=("sharp",), **SEEDS)
    assert r"Seeds\_\allowbreak{}1 \& 2" in summary_latex(study.data, "seeds")


def test_the_page_shows_what_the_table_has(made, made_up_figures, monkeypatch, tmp_path):
    data = replace(made.data, folder=tmp_path)
    made_rows = summary_table(made.data, "clean").to_csv(index=False).replace("sharp", "sh<i>rp")
    write_text(tmp_path / "experiments" / "clean" / "summary.csv", made_rows)
    shown = describe_summary(data, "clean")
    assert [part.heading for part in shown.parts] == ["In domain, clean"]
    assert shown.parts[0].description.startswith("d: 12 good and 12 defective test images of 2 categories")
    page_source = '{% from "summary.html" import summary, summary_key %}{{ summary_key() }}{{ summary(section) }}'
    package = templating.PackageLoader
    page_loader = DictLoader({"page.html": page_source})
    monkeypatch.setattr(templating, "PackageLoader", lambda name: ChoiceLoader([page_loader, package(name)]))
    page = templating.render("page.html", {"section": shown})
    assert page.count("<tr") == page.count("</tr>") == 1 + 2 + 2  # header, setups, published with its heading
    assert "sh&lt;i&gt;rp" in page
    assert page.index("Published by others") > page.index("sh&lt;i&gt;rp")
    assert "Gain: image AUROC minus that of blunt on net" in page
    assert 'href="experiments/clean/summary.tex"' in page
    assert re.search(r"<b>\d\.\d+</b><small>\d\.\d+ to \d\.\d+</small>", page)


def test_a_table_without_rows_makes_an_empty_section(made, tmp_path):
    data = replace(made.data, folder=tmp_path)
    write_text(tmp_path / "experiments" / "clean" / "summary.csv", ",".join(COLUMNS) + "\n")
    assert describe_summary(data, "clean").parts == []


def test_equal_studies_give_equal_texts(made):
    assert summary_markdown(made.data, "clean") == summary_markdown(made.data, "clean")


def test_means_of_some_categories_say_of_how_many():
    filled = {**dict.fromkeys(SHOWN, "0.9"), "standing": "", "gain": ""}
    lines = SetupLines("one", filled, filled, {"a": filled, "b": {**filled, "f1": "", "pro": ""}})
    block = Block("", ["d"], "", [lines])
    assert mark_notes(block) == ["Not all 2 categories have every metric; means are: PRO of 1, F1 of 1."]
    assert mark_notes(Block("", ["d"], "", [SetupLines("one", filled, filled, {"a": filled, "b": filled})])) == []


def test_the_mark_of_a_level_setup_says_by_which_criterion_it_is_set():
    best, level = ({**dict.fromkeys(SHOWN, "0.9"), "gain": "", "standing": standing} for standing in ("best", "level"))
    block = Block("", ["d"], "", [SetupLines(row["standing"], row, row, {"a": row}) for row in (best, level)])
    assert mark_notes(block) == [
        "Bold: the highest image AUROC. ≈: level with it, the interval of the paired difference reaches 0."
    ]
