from dataclasses import replace

import numpy as np
import pytest

from patchshift.report.analyses import transfer
from patchshift.report.analyses.losses import Sample, sample_metric
from patchshift.report.analyses.rankings import grade_auroc
from patchshift.report.analyses.transfer import COLUMNS, find_rankings, measure_gap, transfer_table
from patchshift.report.pairing import category_positions
from tests.report.wide_study import EXPERIMENTS, WideStudy, open_wide, write_distances


@pytest.fixture
def data(tmp_path_factory, monkeypatch):
    return open_wide(tmp_path_factory, monkeypatch)


@pytest.fixture
def table(data):
    return transfer_table(data, "matrix")


class OneClassStudy(WideStudy):
    """Category b of dataset d has no defective test image: bank b has no image AUROC at home, and no bank there."""

    one_class = ("d/b",)


@pytest.fixture
def one_class(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = OneClassStudy(camera=True, detectors=("sharp",), matrix=EXPERIMENTS["matrix"])
    study.write()
    write_distances(study.data)
    return study.data


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
    positions = category_positions(data.results.all_views())
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


def test_a_gap_is_of_banks_with_an_auroc_at_home_and_away(one_class):
    table = transfer_table(one_class, "matrix")
    pairs = table[table.kind == "pair"].set_index(["train_category", "target_dataset", "target_category"]).image_auroc
    assert pairs.isna().sum() == 2  # every bank on d/b
    assert pairs.notna()["b", "d", "a"]  # whose bank has nothing at home to compare with
    gaps = of_sharp(table, "gap")
    away = [pairs["a", "e", category] for category in "ab"]
    assert gaps.gap["cross dataset"] == pytest.approx(pairs["a", "d", "a"] - np.mean(away))
    assert gaps.pairs["cross dataset"] == 2
    row = gaps.loc["cross category"]
    assert np.isnan(row.gap)
    assert row.undefined == "no anomalous image"


def test_banks_that_lose_nothing_have_no_gap_however_many_targets_each_has(data, monkeypatch):
    """Bank a is scored on two categories of dataset e, bank b on one, each with what it has at home."""
    rankings, at_home = find_rankings(data, "matrix")
    chosen = [each for each in rankings if each.relation == "cross dataset" and each.cell.bank.detector == "sharp"]
    unequal = [each for each in chosen if (each.cell.bank.training.category, each.cell.target.category) != ("b", "a")]
    assert len(unequal) == 3
    home = {"a": 0.95, "b": 0.65}

    def sample(results, cell, *_, **__):
        value = home[cell.bank.training.category]
        return Sample(value, np.full(9, value))

    monkeypatch.setattr(transfer, "sample_metric", sample)
    gap = measure_gap(data, unequal, at_home)
    assert gap.gap.value == pytest.approx(0)
    assert gap.home.value == gap.mean.value == pytest.approx((0.95 + 0.95 + 0.65) / 3)


def test_all_figures_of_a_mean_are_over_the_same_pairs(one_class):
    path = one_class.folder / "distances.csv"
    rows = path.read_text(encoding="utf-8").splitlines()
    changed = [row.replace(",1.0,", ",9.0,") if row.startswith("d,a,clean,d,b,") else row for row in rows]
    assert changed != rows
    path.write_text("\n".join(changed) + "\n", encoding="utf-8")
    table = transfer_table(one_class, "matrix")
    pairs = table[(table.relation == "cross category") & (table.kind == "pair")]
    (pair,) = pairs[pairs.image_auroc.notna()].itertuples()
    mean = of_sharp(table, "mean").loc["cross category"]
    for name in ("image_auroc", "pixel_auroc", "distance", "feature_drift"):
        assert mean[name] == pytest.approx(getattr(pair, name))
    assert (mean.pairs, mean.undefined) == (1, "")


def test_a_mean_lacks_what_one_of_its_pairs_lacks(one_class):
    path = one_class.folder / "distances.csv"
    rows = path.read_text(encoding="utf-8").splitlines()
    kept = [row for row in rows if not row.startswith("d,a,clean,e,b,")]
    path.write_text("\n".join(kept) + "\n", encoding="utf-8")
    means = of_sharp(transfer_table(one_class, "matrix"), "mean")
    assert means.loc["cross dataset", ["pixel_auroc", "distance", "feature_drift"]].isna().all()
    assert (means.pairs["cross dataset"], means.undefined["cross dataset"]) == (4, "no map")
    kept = [row for row in kept if not row.startswith("d,b,clean,d,b,")]  # no part in the mean, so nothing is missing
    path.write_text("\n".join(kept) + "\n", encoding="utf-8")
    mean = of_sharp(transfer_table(one_class, "matrix"), "mean").loc["in domain"]
    assert (mean.pairs, mean.distance, mean.undefined) == (1, pytest.approx(0.01), "")


@pytest.mark.parametrize("lacking", ["d,a,clean,d,a,", "d,b,clean,d,b,"])
def test_what_a_mean_lacks_is_said(data, tmp_path, lacking):
    for name in ("metrics.csv", "predictions.csv"):
        (tmp_path / name).write_bytes((data.folder / name).read_bytes())
    rows = (data.folder / "distances.csv").read_text(encoding="utf-8").splitlines()
    (tmp_path / "distances.csv").write_text(
        "\n".join(row for row in rows if not row.startswith(lacking)) + "\n", encoding="utf-8"
    )
    mean = of_sharp(transfer_table(replace(data, folder=tmp_path), "matrix"), "mean").loc["in domain"]
    assert np.isnan(mean.distance)
    assert mean.undefined == "pairs without maximum_mean_discrepancy: 1 of 2"


@pytest.mark.parametrize("experiment", ["clean", "adapted"])
def test_banks_at_home_make_an_empty_table(data, experiment):
    table = transfer_table(data, experiment)
    assert list(table.columns) == COLUMNS
    assert table.empty
