from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from patchshift.report.analyses.feature_robustness import (
    COLUMNS,
    describe_features,
    feature_robustness_table,
    rank_lowest,
)
from tests.report.wide_study import EXPERIMENTS, WideStudy, open_wide


@pytest.fixture
def data(tmp_path_factory, monkeypatch):
    return open_wide(tmp_path_factory, monkeypatch)


@pytest.fixture
def table(data):
    return pd.read_csv(data.folder / "feature_robustness.csv").set_index("detector")


@pytest.fixture
def pairs(data):
    found = pd.read_csv(data.folder / "distance_effects.csv")
    return found[(found.kind == "pair") & (found.relation != "in domain")]


def test_loss_per_distance_is_the_slope_through_the_origin(table, pairs):
    for detector, row in table.iterrows():
        of_setup = pairs[pairs.detector == detector].dropna(subset=["loss"])
        slope = np.linalg.lstsq(of_setup[["distance"]], of_setup.loss, rcond=None)[0][0]
        assert row.lost_per_distance == pytest.approx(slope)
        assert row.lost_per_distance_low < slope < row.lost_per_distance_high


def test_drift_is_the_mean_over_targets_and_shared_by_detectors(table, pairs):
    assert table.feature_drift["sharp"] == pytest.approx(pairs[pairs.detector == "sharp"].feature_drift.mean())
    assert list(table.drift_rank) == [1, 1]


def test_gaps_are_home_minus_away(table):
    for row in table.to_dict("records"):
        assert row["gap"] == pytest.approx(row["home_image_auroc"] - row["away_image_auroc"])
        assert row["gap_relative"] == pytest.approx(row["gap"] / row["home_image_auroc"])
        assert row["gap_low"] <= row["gap"] <= row["gap_high"]


def test_banks_that_were_not_scored_at_home_are_no_part_of_a_gap(table, pairs):
    """Those of the pool: their targets away from home would stand against other banks' homes."""
    of_setup = pairs[(pairs.detector == "sharp") & (pairs.train_dataset == "d")]
    assert (pairs.train_dataset == "pools").any()
    assert table.pairs["sharp"] == len(of_setup)
    assert table.away_image_auroc["sharp"] == pytest.approx(of_setup.image_auroc.mean())


def test_banks_without_an_auroc_at_home_are_no_part_of_a_gap(tmp_path, monkeypatch):
    """Bank b is worth something on all targets but d/b, where no test image is defective: it has no home."""
    monkeypatch.chdir(tmp_path)
    study = WideStudy(camera=True, detectors=("sharp",), matrix=EXPERIMENTS["matrix"])
    monkeypatch.setattr(study, "one_class", ("d/b",))
    study.write()
    (row,) = feature_robustness_table(study.data).to_dict("records")
    values = {
        (cell.bank.training.category, cell.target.dataset, cell.target.category): study.data.results.value(
            cell, "image_auroc"
        ).value
        for cell in study.data.cells("matrix")
    }
    assert values["b", "d", "a"] is not None
    assert row["pairs"] == 2
    assert row["home_image_auroc"] == pytest.approx(values["a", "d", "a"])
    assert row["away_image_auroc"] == pytest.approx((values["a", "e", "a"] + values["a", "e", "b"]) / 2)
    assert row["gap"] == pytest.approx(row["home_image_auroc"] - row["away_image_auroc"])


def test_ranks_follow_the_values(table):
    for name in ("lost_per_distance", "gap"):
        assert list(table[f"{name}_rank"]) == list(table[name].rank().astype(int))


def test_equal_values_share_a_rank_and_what_is_not_compared_has_none():
    assert rank_lowest([0.3, 0.1, 0.1, None, 0.0], [True, True, True, True, False]) == [3, 1, 1, None, None]
    assert rank_lowest([0.3, None], [True, True]) == [None, None]


def test_setups_on_other_pairs_are_not_ranked(make_study):
    everywhere = {"title": "", "train": ["d/a"], "target_domains": ["dark"], "detectors": ["sharp", "blunt"]}
    data = make_study(
        detectors=("sharp", "blunt", "third"),
        clean={"title": "", "train": ["d/a"]},
        shifted={**everywhere, "target_domains": ["dark", "dim"]},
        less={"title": "", "train": ["d/a"], "target_domains": ["dark"], "detectors": ["third"]},
    ).data
    table = feature_robustness_table(data).set_index("detector")
    assert table.gap_rank[["sharp", "blunt"]].notna().all()
    assert pd.isna(table.gap_rank["third"])
    # no distances were measured: said first
    assert set(table.undefined) == {"the study measures no distances (inspection: distances)"}
    assert table.lost_per_distance.isna().all()


def test_features_are_described():
    assert describe_features(
        {
            "representation": {
                "layers": ["layer2"], "fusion": "single", "neighbourhood": "average", "normalise": "none",
                "reduction": {"method": "pca", "dimension": 9},
            }
        }
    ) == {
        "layers": "layer2", "fusion": "single", "neighbourhood": "average", "normalise": "none", "reduction": "pca",
    }  # fmt: skip
    assert describe_features({"representation": {"fusion": "concat"}})["layers"] == "all"
    assert set(describe_features(None).values()) == {""}


def test_nothing_away_from_home_makes_an_empty_table(data):
    only = {"order": ["clean"], "experiments": {"clean": data.plan.experiments["clean"]}}
    alone = data.plan.model_copy(update=only)
    table = feature_robustness_table(replace(data, plan=alone))
    assert list(table.columns) == COLUMNS
    assert table.empty
