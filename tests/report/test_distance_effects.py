from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from patchshift.plan.specs import AnalysisSpec
from patchshift.report.analyses.distance_effects import COLUMNS, DISTANCES, distance_effects_table, list_pairs
from patchshift.report.pairing import independent_difference, mean_difference
from tests.report.wide_study import open_wide


@pytest.fixture
def data(tmp_path_factory, monkeypatch):
    return open_wide(tmp_path_factory, monkeypatch)


@pytest.fixture(scope="module")
def tables():
    return {}


@pytest.fixture
def table(data, tables):
    if "made" not in tables:
        tables["made"] = distance_effects_table(data)
    return tables["made"]


def pairs_of(table, detector="sharp"):
    return table[(table.kind == "pair") & (table.detector == detector)]


def test_a_pair_has_its_distances_and_what_is_lost(table):
    for row in pairs_of(table).to_dict("records"):
        assert [row[name] for name in DISTANCES] == pytest.approx(
            [row["distance"] * (number + 1) for number in range(5)] if row["relation"] != "in domain" else [0.01] * 5
        )
        if row["relation"] == "in domain":
            assert np.isnan(row["loss"])
            assert row["closeness"] == "same"
            assert row["home_image_auroc"] == row["image_auroc"]
        elif row["train_dataset"] == "d":
            assert row["loss"] == pytest.approx(row["home_image_auroc"] - row["image_auroc"])
            assert row["loss_low"] <= row["loss"] <= row["loss_high"]


def test_losses_on_the_same_images_are_paired_and_others_are_not(data, table):
    cells = {
        (cell.bank.training.category, cell.target.dataset, cell.target.category, cell.target.domain): cell
        for name in ("clean", "shifted", "matrix")
        for cell in data.cells(name)
        if cell.bank.detector == "sharp"
    }
    home, shifted, other = (
        cells["a", "d", "a", "clean"],
        cells["a", "d", "a", "dark"],
        cells["a", "d", "b", "clean"],
    )
    for cell, change in (
        (shifted, mean_difference(data.results, [shifted], [home], data.spec)),
        (other, independent_difference(data.results, other, home, data.spec)),
    ):
        found = pairs_of(table)
        row = found[
            (found.train_category == "a")
            & (found.train_domain == "clean")
            & (found.target_category == cell.target.category)
            & (found.target_domain == cell.target.domain)
            & (found.target_dataset == "d")
        ].iloc[0]
        assert (row.loss, row.loss_low, row.loss_high) == pytest.approx((-change.value, -change.high, -change.low))


def test_a_bank_that_was_not_scored_at_home_has_no_loss(table):
    pool = pairs_of(table)[pairs_of(table).train_dataset == "pools"]
    assert len(pool) == 2
    assert set(pool.undefined) == {"its bank was not scored in its own domain"}
    assert pool.loss.isna().all()


def test_thirds_are_of_distinct_pairs_and_shared_by_detectors(table):
    away = pairs_of(table)[pairs_of(table).relation != "in domain"]
    order = ["close", "middle", "far"]
    spans = [away[away.closeness == name].distance for name in order]
    assert all(len(span) for span in spans)
    assert spans[0].max() < spans[1].min()
    assert spans[1].max() < spans[2].min()
    keys = ["train_dataset", "train_category", "train_domain", "target_dataset", "target_category", "target_domain"]
    other = pairs_of(table, "blunt")
    assert (
        dict(zip(map(tuple, away[keys].values), away.closeness, strict=True)).items()
        <= dict(zip(map(tuple, other[keys].values), other.closeness, strict=True)).items()
    )


def test_groups_are_means_of_their_pairs(table):
    groups = table[(table.kind == "group") & (table.detector == "sharp")]
    assert list(groups.closeness) == ["same", "close", "middle", "far"]
    pairs = pairs_of(table)
    for row in groups.to_dict("records"):
        members = pairs[pairs.closeness == row["closeness"]]
        assert row["pairs"] == len(members)
        for column in ("distance", "image_auroc", "feature_drift"):
            assert row[column] == pytest.approx(members[column].mean())
        assert row["loss"] == pytest.approx(members.loss.mean(), nan_ok=True)


def test_correlations_are_over_pairs_away_from_home(table):
    found = table[(table.kind == "correlation") & (table.detector == "sharp")]
    assert list(found.distance_name) == list(DISTANCES)
    pairs = pairs_of(table).dropna(subset=["loss"])
    for row in found.to_dict("records"):
        assert row["pairs"] == len(pairs)
        assert row["correlation"] == pytest.approx(spearmanr(pairs[row["distance_name"]], pairs.loss).statistic)
        assert row["correlation_low"] <= row["correlation"] <= row["correlation_high"]


def test_the_study_chooses_the_distance(data):
    data = replace(data, analysis=AnalysisSpec(distance="feature_drift"))
    pair = next(pair for pair in list_pairs(data) if pair.is_away)
    assert pair.distances["feature_drift"].value == pytest.approx(5 * pair.distances[DISTANCES[0]].value)
    table = distance_effects_table(data)
    row = table[table.kind == "pair"].iloc[-1]
    assert (row.distance_name, row.distance) == ("feature_drift", row.feature_drift)


def test_few_pairs_have_no_correlation(data, tmp_path):
    rows = (data.folder / "distances.csv").read_text(encoding="utf-8").splitlines()
    kept = [row for row in rows if row.startswith(("train_", "d,a,clean,d,a,"))]
    made = replace(data, folder=tmp_path)
    (tmp_path / "distances.csv").write_text("\n".join(kept) + "\n", encoding="utf-8")
    for name in ("metrics.csv", "predictions.csv"):
        (tmp_path / name).write_bytes((data.folder / name).read_bytes())
    table = distance_effects_table(made)
    assert set(table[table.kind == "correlation"].undefined) == {"fewer than 6 pairs"}
    assert set(table[(table.kind == "pair") & (table.relation != "in domain")].closeness) == {""}


def test_no_distances_make_an_empty_table(data, tmp_path):
    made = replace(data, folder=tmp_path)
    for name in ("metrics.csv", "predictions.csv"):
        (tmp_path / name).write_bytes((data.folder / name).read_bytes())
    table = distance_effects_table(made)
    assert list(table.columns) == COLUMNS
    assert table.empty
