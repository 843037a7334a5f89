import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from patchshift.report.analyses.digits import show_value
from patchshift.report.analyses.transfer import COLUMNS
from patchshift.report.plots.backbone_panels import HEADINGS, draw_backbone_panels
from patchshift.report.plots.distance_effects import describe_correlation, draw_distance_effects
from patchshift.report.plots.matrices import MOST, draw_cross_shift, draw_transfer_matrix
from patchshift.report.plots.recovery import draw_recovery
from patchshift.report.results import Value
from tests.report.wide_study import open_wide


@pytest.fixture
def data(tmp_path_factory, monkeypatch):
    return open_wide(tmp_path_factory, monkeypatch)


@pytest.fixture(autouse=True)
def no_warning():
    """Of a figure that is too small for what it holds, or of letters that its type lacks."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def texts(axes):
    return [text.get_text() for text in axes.texts]


def made_up(data, tmp_path, table, name):
    folder = tmp_path / "experiments" / "e" if name == "transfer.csv" else tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / name, index=False)
    return replace(data, folder=tmp_path)


def matrix_rows(categories, setups):
    rows = []
    for number, (backbone, detector) in enumerate(setups):
        keys = {"split": "s", "backbone": backbone, "weights": "w", "detector": detector, "seed": 0, "policy": ""}
        for first, second in ((first, second) for first in categories for second in categories):
            home = first == second
            rows.append(
                {**keys, "kind": "pair", "relation": "in domain" if home else "cross category",
                 "train_dataset": "d", "train_category": first, "train_domain": "clean",
                 "target_dataset": "d", "target_category": second, "target_domain": "clean",
                 "same_category": int(home), "same_dataset": 1, "image_auroc": 0.9 if home else 0.6 - 0.01 * number,
                 "distance_name": "frechet_distance", "distance": 0.0 if home else 3.5}
            )  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS).astype({"same_category": "Int64", "same_dataset": "Int64"})


def test_transfer_matrices_print_every_value_and_frame_homes(data):
    drawn = draw_transfer_matrix(data, "matrix")
    panels = drawn.data.groupby(["setup", "measure"], sort=False)
    assert list(panels.groups) == [
        ("blunt, net", "image_auroc"), ("blunt, net", "pixel_auroc"), ("blunt, net", "maximum_mean_discrepancy"),
        ("blunt, net", "feature_drift"), ("sharp, net", "image_auroc"), ("sharp, net", "pixel_auroc"),
    ]  # fmt: skip
    shown = [axes for axes in drawn.figure.axes if axes.get_visible()]
    for axes, (_, rows) in zip(shown, panels, strict=True):
        values = [
            show_value(row.value, *(None if pd.isna(end) else end for end in (row.low, row.high)))
            if row.measure.endswith("auroc")
            else f"{row.value:.{3 if rows.value.max() <= 1 else 2}f}"
            for row in rows.dropna(subset="value").itertuples()
        ]
        assert sorted(text for text in texts(axes) if text != "\N{EN DASH}") == sorted(values)
        assert len(axes.patches) == 2  # two categories at home
    assert set(drawn.data[drawn.data.own_domain == 1].trained_on) == {"d/a", "d/b"}


def test_cross_shift_has_a_row_for_each_domain_trained_on(data):
    drawn = draw_cross_shift(data)
    first = drawn.figure.axes[0]
    assert [label.get_text() for label in first.get_yticklabels()] == ["clean", "dark"]
    assert [label.get_text() for label in first.get_xticklabels()] == ["clean", "dark", "dim"]
    assert set(drawn.data.measure) == {"image_auroc", "pixel_auroc", "f1"}
    table = pd.read_csv(data.folder / "cross_shift.csv")
    row = drawn.data[(drawn.data.measure == "f1") & (drawn.data.tested_on == "dark")].iloc[0]
    expected = table[(table.kind == "mean") & (table.tested_on == "dark") & (table.calibrated_on == "clean")].iloc[0]
    assert (row.trained_on, row.value) == ("clean", pytest.approx(expected.f1))  # not recalibrated


@pytest.mark.parametrize("count", [2, 15])
def test_matrices_stay_readable(data, tmp_path, count):
    names = [f"category_{number}" for number in range(count)]
    made = made_up(data, tmp_path, matrix_rows(names, [("net", "sharp")]), "transfer.csv")
    drawn = draw_transfer_matrix(made, "e")
    canvas = FigureCanvasAgg(drawn.figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    for axes in (axes for axes in drawn.figure.axes if axes.get_visible()):
        width = axes.get_window_extent(renderer).width / count
        height = axes.get_window_extent(renderer).height / count
        for text in axes.texts:
            box = text.get_window_extent(renderer)
            assert box.width < width
            assert box.height < height


def test_too_many_setups_are_counted_in_the_heading(data, tmp_path):
    setups = [(f"net{number}", "sharp") for number in range(MOST + 2)]
    made = made_up(data, tmp_path, matrix_rows(["a", "b"], setups), "transfer.csv")
    drawn = draw_transfer_matrix(made, "e")
    assert drawn.data.setup.nunique() == MOST
    assert "the first 4 of 6 setups; transfer.csv has all" in drawn.figure.get_suptitle()


def test_distances_share_their_scale_and_aurocs_theirs(data):
    drawn = draw_transfer_matrix(data, "matrix")
    limits = {}
    for axes in (axes for axes in drawn.figure.axes if axes.get_visible()):
        limits.setdefault(axes.get_title(loc="left").splitlines()[-1], set()).add(axes.images[0].get_clim())
    assert all(len(found) == 1 for found in limits.values())
    assert next(iter(limits["image AUROC"]))[1] == 1.0
    assert next(iter(limits["MMD"])) == (0.0, drawn.data[drawn.data.measure == "maximum_mean_discrepancy"].value.max())


def test_distance_effects_have_a_mark_for_each_pair_with_a_loss(data):
    table = pd.read_csv(data.folder / "distance_effects.csv")
    pairs = table[(table.kind == "pair") & table.loss.notna()]
    drawn = draw_distance_effects(data)
    assert len(drawn.data) == len(pairs)
    assert list(drawn.data.loss) == pytest.approx(list(pairs.sort_values("detector", kind="stable").loss))
    marks = [line for axes in drawn.figure.axes for line in axes.lines if line.get_marker() not in ("None", None, "")]
    assert len(marks) == len(pairs)
    rho = table[(table.kind == "correlation") & (table.detector == "sharp")].iloc[0].correlation
    title = drawn.figure.axes[1].get_title(loc="left").replace("\N{NO-BREAK SPACE}", " ")
    assert title.startswith("sharp on net")
    assert f"= {rho:.2f} (" in title.replace("\N{MINUS SIGN}", "-")


@pytest.mark.parametrize(
    ("correlation", "said"),
    [
        (Value(0.8, 0.4, 0.9), "farther targets lose more: ρ = 0.80 (0.40 to 0.90), 9 pairs"),
        (Value(-0.8, -0.9, -0.4), "farther targets lose less: ρ = −0.80 (−0.90 to −0.40), 9 pairs"),
        (Value(0.2, -0.4, 0.6), "not told apart from no relation: ρ = 0.20 (−0.40 to 0.60), 9 pairs"),
        (Value(None, undefined="fewer than 5 pairs"), "9 pairs: correlation undefined (fewer than 5 pairs)"),
    ],
)  # fmt: skip
def test_words_of_a_correlation_follow_from_its_interval(correlation, said):
    assert describe_correlation(correlation, 9).replace("\N{NO-BREAK SPACE}", " ") == said
    assert describe_correlation(correlation, 1).replace("\N{NO-BREAK SPACE}", " ") == said.replace("9 pairs", "1 pair")


def test_recovery_shows_the_reference_and_every_condition(data):
    drawn = draw_recovery(data)
    assert list(dict.fromkeys(drawn.data.category)) == ["mean of 2", "a", "b"]
    dark = drawn.data[(drawn.data.category == "a") & (drawn.data.domain == "dark")]
    assert list(dict.fromkeys(dark.condition)) == ["in domain", "no adaptation", "recalibrated", "adapted"]
    dim = drawn.data[(drawn.data.category == "a") & (drawn.data.domain == "dim")]
    assert list(dict.fromkeys(dim.condition)) == ["in domain", "no adaptation"]
    table = pd.read_csv(data.folder / "robustness.csv")
    first = table[(table.kind == "category") & (table.category == "a") & (table.domain == "dark")].iloc[0]
    shown = dark[(dark.condition == "no adaptation")].set_index("metric").value
    for metric in ("image_auroc", "miss_rate", "false_alarm_rate"):
        assert shown[metric] == pytest.approx(first[metric])


def test_many_categories_show_their_mean_alone(data, tmp_path):
    table = pd.read_csv(data.folder / "robustness.csv", keep_default_na=False)
    rows = table[(table.kind == "mean") & (table.detector == "blunt")]
    one = table[(table.kind == "category") & (table.detector == "blunt") & (table.category == "a")]
    many = [one.assign(category=f"c{number}") for number in range(8)]
    drawn = draw_recovery(made_up(data, tmp_path, pd.concat([*many, rows]), "robustness.csv"))
    assert set(drawn.data.category) == {"mean of 8"}


def test_backbone_panels_show_home_away_gap_and_categories(data):
    drawn = draw_backbone_panels(data, "matrix")
    assert set(drawn.data.panel) == set(HEADINGS)
    table = pd.read_csv(data.experiment_folder("matrix") / "transfer.csv")
    gap = table[(table.kind == "gap") & (table.detector == "sharp") & (table.relation == "cross dataset")].iloc[0]
    found = drawn.data[(drawn.data.panel == "gap") & (drawn.data.setup == "sharp")].set_index("relation")
    assert found.value["cross dataset"] == pytest.approx(gap.gap)
    pairs = table[(table.kind == "pair") & (table.detector == "sharp") & (table.relation == "cross dataset")]
    expected = pairs[pairs.target_category == "a"].image_auroc.mean()
    category = drawn.data[(drawn.data.panel == "category") & (drawn.data.setup == "sharp")]
    assert category[category.line == "e/a"].value.tolist() == pytest.approx([expected])
    assert [axes.get_title(loc="left") for axes in drawn.figure.axes] == list(HEADINGS.values())
    assert np.isfinite(drawn.data.value).all()


def test_a_dataset_that_is_only_away_keeps_its_name_in_the_panels(data, tmp_path):
    rows = matrix_rows(["a", "b"], [("net", "sharp"), ("net", "blunt")])
    away = (rows.kind == "pair") & (rows.relation != "in domain")
    rows.loc[away, "target_dataset"] = "e"
    drawn = draw_backbone_panels(made_up(data, tmp_path, rows, "transfer.csv"), "e")
    assert set(drawn.data[drawn.data.panel == "category"].line) == {"e/a", "e/b"}


def test_one_setup_has_no_panels(data, tmp_path):
    made = made_up(data, tmp_path, matrix_rows(["a", "b"], [("net", "sharp")]), "transfer.csv")
    assert draw_backbone_panels(made, "e") is None


def test_where_there_is_nothing_to_show_nothing_is_drawn(data, tmp_path):
    for name in ("cross_shift.csv", "distance_effects.csv", "robustness.csv"):
        table = pd.read_csv(data.folder / name)
        (tmp_path / name).write_text(",".join(table.columns) + "\n", encoding="utf-8")
    empty = made_up(data, tmp_path, pd.DataFrame(columns=COLUMNS), "transfer.csv")
    assert [draw_cross_shift(empty), draw_distance_effects(empty), draw_recovery(empty)] == [None] * 3
    assert [draw_transfer_matrix(empty, "e"), draw_backbone_panels(empty, "e")] == [None] * 2
    assert draw_transfer_matrix(data, "shifted") is None  # the same category throughout


def test_equal_tables_give_equal_files(data, tmp_path):
    files = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        draw_transfer_matrix(data, "matrix").save(folder, "m")
        draw_distance_effects(data).save(folder, "d")
        files.append([path.read_bytes() for path in sorted(folder.iterdir())])
    assert files[0] == files[1]
    assert len(files[0]) == 6
