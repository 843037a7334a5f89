import numpy as np
import pytest

from patchshift.report.analyses.losses import category_positions, sample_metric
from patchshift.report.analyses.rankings import grade_auroc
from patchshift.report.analyses.transfer import COLUMNS, transfer_table
from tests.report.wide_study import open_wide


@pytest.fixture
def data(tmp_path_factory, monkeypatch):
    return open_wide(tmp_path_factory, monkeypatch)


@pytest.fixture
def table(data):
    return transfer_table(data, "matrix")


def of_sharp(table, kind):
    return table[(table.kind == kind) & (table.detector == "sharp")].set_index("relation")


def test_every_bank_and_target_stands_once(table):
    pairs = table[(table.kind == "pair") & (table.detector == "sharp")]
    assert {
        (row.train_category, row.target_dataset, row.target_category): row.relation for row in pairs.itertuples()
    } == {
        ("a", "d", "a"): "in domain", ("a", "d", "b"): "cross category",
        ("a", "e", "a"): "cross dataset", ("a", "e", "b"): "cross dataset",
        ("b", "d", "b"): "in domain", ("b", "d", "a"): "cross category",
        ("b", "e", "a"): "cross dataset", ("b", "e", "b"): "cross dataset",
    }  # fmt: skip
    assert len(pairs) == 8
    assert list(zip(pairs.same_category, pairs.same_dataset, strict=True)) == [
        (int(relation == "in domain"), int(relation != "cross dataset")) for relation in pairs.relation
    ]


def test_values_distances_and_grades_stand_beside_each_pair(data, table):
    for row in table[table.kind == "pair"].to_dict("records"):
        assert row["grade"] == grade_auroc(row["image_auroc"])
        assert row["distance_name"] == "maximum_mean_discrepancy"
        far = row["train_category"] != row["target_category"]
        expected = 0.01 if row["relation"] == "in domain" else 1.0 if far else 0.0
        assert row["distance"] == pytest.approx(expected)
        assert (row["undefined"] == "no map") == (row["target_dataset"] == "e")


def test_means_and_gaps_are_of_the_pairs(table):
    pairs = table[(table.kind == "pair") & (table.detector == "sharp")].groupby("relation").image_auroc
    means, gaps = (of_sharp(table, kind) for kind in ("mean", "gap"))
    for relation, value in pairs.mean().items():
        assert means.image_auroc[relation] == pytest.approx(value)
        assert means.pairs[relation] == pairs.size()[relation]
    assert list(gaps.index) == ["cross category", "cross dataset"]
    for relation, row in gaps.iterrows():
        gap = means.image_auroc["in domain"] - means.image_auroc[relation]
        assert row.gap == pytest.approx(gap)
        assert row.gap_relative == pytest.approx(gap / means.image_auroc["in domain"])
        assert row.gap_low <= row.gap <= row.gap_high


def test_a_gap_is_drawn_with_the_same_images_for_all_banks(data, table):
    """By hand: each category's images are drawn once, whichever banks are scored on them."""
    positions = category_positions(data.results)
    cells = [cell for cell in data.cells("matrix") if cell.bank.detector == "sharp" and cell.target.dataset == "d"]
    drawn = {
        (cell.bank.training.category, cell.target.category): sample_metric(
            data.results, cell, "image_auroc", data.spec, position=positions["d", cell.target.category]
        ).drawn
        for cell in cells
    }
    differences = (drawn["a", "a"] + drawn["b", "b"]) / 2 - (drawn["a", "b"] + drawn["b", "a"]) / 2
    row = of_sharp(table, "gap").loc["cross category"]
    assert (row.gap_low, row.gap_high) == pytest.approx(tuple(np.quantile(differences, [0.025, 0.975])))


def test_homes_may_be_of_another_experiment(data):
    table = transfer_table(data, "crossed")
    assert "in domain" not in set(table[table.kind == "pair"].relation)
    home = of_sharp(table, "mean").loc["in domain"]
    adapted = [cell for cell in data.cells("adapted") if cell.bank.detector == "sharp"]
    values = [data.results.value(cell, "image_auroc").value for cell in adapted]
    assert (home.image_auroc, home.pairs) == (pytest.approx(np.mean(values)), 2)
    assert of_sharp(table, "gap").index.tolist() == ["shifted"]


def test_without_a_home_there_is_no_gap(data):
    row = of_sharp(transfer_table(data, "pool"), "gap").loc["shifted"]
    assert np.isnan(row.gap)
    assert row.undefined == "no bank of these was scored in its own domain"


@pytest.mark.parametrize("experiment", ["clean", "adapted"])
def test_banks_at_home_make_an_empty_table(data, experiment):
    table = transfer_table(data, experiment)
    assert list(table.columns) == COLUMNS
    assert table.empty
