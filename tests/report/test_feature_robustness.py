import shutil
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
    found = pd.read_csv(data.folder / "feature_robustness.csv")
    return found[found.kind == "setup"].set_index("detector")


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


def test_drift_is_the_mean_over_targets_of_the_detectors_own_layers_and_fusion(data, table, pairs):
    drifts = pd.read_csv(data.folder / "feature_drifts.csv")
    places = [f"{role}_{part}" for role in ("train", "target") for part in ("dataset", "category", "domain")]
    for detector, layers in (("sharp", "fine coarse"), ("blunt", "coarse")):
        own = drifts[drifts.layers == layers]
        met = pairs[pairs.detector == detector][places].drop_duplicates().merge(own)
        assert len(met) > 3
        assert table.feature_drift[detector] == pytest.approx(met.value.mean())
        trained = met[places[:3]].drop_duplicates().merge(own[own.at_home == 1])
        assert table.home_feature_drift[detector] == pytest.approx(trained.value.mean())
    assert table.drift_rank.to_dict() == {"sharp": 2, "blunt": 1}


def test_detectors_of_the_same_layers_and_fusion_share_drift_and_rank(data):
    same = {"representation": {"layers": ["coarse", "fine"], "normalise": "standardise"}}
    detectors = {name: data.detectors[name] | same for name in data.detectors}
    table = feature_robustness_table(replace(data, detectors=detectors))
    setups = table[table.kind == "setup"]
    assert setups.feature_drift.nunique() == 1
    assert list(setups.drift_rank) == [1, 1]
    unmeasured = {"representation": {"fusion": "adaptive"}}
    table = feature_robustness_table(replace(data, detectors=dict.fromkeys(data.detectors, unmeasured)))
    assert table[table.kind == "setup"].feature_drift.isna().all()


def test_layers_and_fusions_are_ranked_by_their_own_drift(data):
    found = pd.read_csv(data.folder / "feature_robustness.csv")
    features = found[found.kind == "features"]
    assert list(found.kind) == ["setup"] * 2 + ["features"] * 3  # once, however many detectors and seeds
    assert dict(zip(features.layers, features.drift_rank, strict=True)) == {"coarse": 1, "fine coarse": 2, "fine": 3}
    drifts = pd.read_csv(data.folder / "feature_drifts.csv")
    away = drifts[drifts.at_home == 0].groupby("layers").value
    for row in features.to_dict("records"):
        assert row["feature_drift"] == pytest.approx(away.mean()[row["layers"]])
        assert row["pairs"] == away.count()[row["layers"]]
        home = drifts[(drifts.at_home == 1) & (drifts.layers == row["layers"])].value
        assert row["home_feature_drift"] == pytest.approx(home.mean())
    empty = [
        name for name in COLUMNS if name.startswith(("detector", "seed", "policy", "gap", "lost", "away_", "home_i"))
    ]
    assert features[empty].isna().all(axis=None)


def test_features_of_fewer_pairs_have_a_mean_and_no_rank(data, tmp_path):
    for path in data.folder.glob("*.csv"):
        shutil.copy(path, tmp_path)
    drifts = pd.read_csv(tmp_path / "feature_drifts.csv", keep_default_na=False, dtype=str)
    lost = drifts.index[(drifts.at_home == "0") & (drifts.layers == "fine")]
    none = drifts.index[(drifts.at_home == "0") & (drifts.layers == "coarse")]
    drifts.loc[[lost[0], *none], ["value", "low", "high", "undefined"]] = ["", "", "", "a mean vector is zero"]
    drifts.to_csv(tmp_path / "feature_drifts.csv", index=False)
    table = feature_robustness_table(replace(data, folder=tmp_path))
    fine, coarse, every = table[table.kind == "features"].to_dict("records")
    assert fine["pairs"] == len(lost) - 1
    assert fine["feature_drift"] > 0
    assert fine["undefined"] == "not ranked: other features were measured on more or other pairs"
    assert (coarse["pairs"], coarse["undefined"]) == (0, "a mean vector is zero")
    assert all(pd.isna(value) for value in (coarse["feature_drift"], coarse["home_feature_drift"]))
    assert all(pd.isna(row["drift_rank"]) for row in (fine, coarse, every))  # one alone has no rank


def test_the_table_is_the_same_bytes_when_it_is_made_again(data):
    first, second = (feature_robustness_table(data).to_csv(index=False) for _ in range(2))
    assert first == second == (data.folder / "feature_robustness.csv").read_text(encoding="utf-8")


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
