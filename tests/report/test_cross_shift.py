import pandas as pd
import pytest

from patchshift.report.analyses.cross_shift import COLUMNS, cross_shift_table
from patchshift.report.pairing import mean_auroc
from tests.report.conftest import SPEC
from tests.report.wide_study import open_wide


@pytest.fixture
def data(tmp_path_factory, monkeypatch):
    return open_wide(tmp_path_factory, monkeypatch)


@pytest.fixture
def table(data):
    return cross_shift_table(data)


def test_every_combination_of_domains_that_was_scored_has_a_mean(table):
    sharp = table[(table.kind == "mean") & (table.detector == "sharp")]
    assert {(row.trained_on, row.tested_on, row.calibrated_on) for row in sharp.itertuples()} == {
        ("clean", "clean", "clean"), ("clean", "dark", "clean"), ("clean", "dim", "clean"), ("clean", "dark", "dark"),
        ("dark", "dark", "dark"), ("dark", "clean", "dark"), ("dark", "dim", "dark"),
    }  # fmt: skip
    assert set(sharp.categories) == {2}


def test_shifts_of_both_sides_are_named(table):
    row = table[(table.trained_on == "dark") & (table.tested_on == "dim")].iloc[0]
    assert (row.train_shift, row.train_severity, row.target_shift, row.target_severity) == (
        "photometric", 3.0, "photometric", 1.0,
    )  # fmt: skip
    assert table[table.trained_on == "clean"].train_severity.isna().all()


def test_a_mean_is_of_its_categories_and_has_the_interval_of_the_report(data, table):
    for row in table[table.kind == "mean"].to_dict("records"):
        of_row = table[
            (table.kind == "category")
            & (table.detector == row["detector"])
            & (table.trained_on == row["trained_on"])
            & (table.tested_on == row["tested_on"])
            & (table.calibrated_on == row["calibrated_on"])
        ]
        assert list(of_row.target_category) == ["a", "b"]
        for metric in ("image_auroc", "pixel_auroc", "f1"):
            assert row[metric] == pytest.approx(of_row[metric].mean())
            assert row[f"{metric}_low"] <= row[metric] <= row[f"{metric}_high"]
        cells = [
            next(
                cell
                for cell in data.results.all_cells()
                if (cell.bank.detector, cell.bank.training.domain, cell.target.domain, cell.target.category)
                == (row["detector"], row["trained_on"], row["tested_on"], category)
                and cell.bank.training.category == category
                and (cell.target.dataset, cell.calibration.domain) == ("d", row["calibrated_on"])
            )
            for category in "ab"
        ]
        expected = mean_auroc(data.results, cells, SPEC)
        assert (row["image_auroc_low"], row["image_auroc_high"]) == pytest.approx((expected.low, expected.high))


def test_only_banks_of_the_category_itself_count(table):
    assert set(table.train_dataset) == {"d"}
    of_categories = table[table.kind == "category"]
    assert (of_categories.train_category == of_categories.target_category).all()


def test_an_alias_is_a_domain_of_the_category_that_it_starts_from(make_study):
    data = make_study(
        camera=True,
        detectors=("sharp",),
        clean={"title": "", "train": ["d/a"]},
        adapted={"title": "", "train": ["d/a"], "train_domains": ["camera_b"]},
        other={"title": "", "train": ["d/a"], "target_domains": ["camera_b"]},
    ).data
    rows = cross_shift_table(data)
    means = rows[rows.kind == "mean"]
    assert [(row.trained_on, row.tested_on) for row in means.itertuples()] == [
        ("clean", "clean"), ("camera_b", "camera_b"), ("clean", "camera_b"),
    ]  # fmt: skip
    assert list(means.train_shift) == ["none", "natural", "none"]
    assert list(means.target_shift) == ["none", "natural", "natural"]


def test_one_domain_makes_an_empty_table(make_study):
    table = cross_shift_table(make_study(clean={"title": "", "train": ["d/a"]}).data)
    assert isinstance(table, pd.DataFrame)
    assert list(table.columns) == COLUMNS
    assert table.empty
