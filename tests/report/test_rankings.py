from dataclasses import replace

import pytest

from patchshift.report.analyses.rankings import (
    IN_DOMAIN,
    describe_domain,
    distances_of,
    find_homes,
    grade_auroc,
    list_rankings,
    lowest_seeds,
    read_distances,
    relate,
)
from tests.report.conftest import MadeStudy

EXPERIMENTS = {
    "everything": {
        "title": "",
        "train": ["d", "pools/all"],
        "targets": ["d", "e"],
        "target_domains": ["clean", "dark"],
        "seeds": [1, 0],
    },
    "natural": {"title": "", "train": ["d"], "target_domains": ["camera_b"]},
}


class Ranked:
    """Results of which a ranking needs to know no more than that it does not depend on the calibration."""

    def is_ranked_once(self, cell):
        return cell.bank.detector != "calibrated"


@pytest.fixture
def data():
    return MadeStudy(camera=True, detectors=("sharp",), **EXPERIMENTS).data


def everything(data):
    return list_rankings(Ranked(), data.plan, data.plan.cells()["everything"])


def test_what_a_target_is_to_its_bank(data):
    found = {
        (cell.bank.training.path, cell.target.path, cell.domain): relate(cell, data.plan)
        for cells in data.plan.cells().values()
        for cell in cells
    }
    assert found["d/a/clean", "d/a/clean", "clean"] == "in domain"
    assert found["d/a/clean", "d/a/dark", "dark"] == "shifted"
    assert found["d/a/clean", "d/b/clean", "clean"] == "cross category"
    assert found["d/a/clean", "e/a/clean", "clean"] == "cross dataset"
    assert found["d/a/clean", "e/a/clean", "camera_b"] == "shifted"  # the same product seen by another camera
    assert found["pools/all/clean", "d/b/clean", "clean"] == "in domain"
    assert found["pools/all/clean", "d/b/dark", "dark"] == "shifted"
    assert found["pools/all/clean", "e/b/clean", "clean"] == "cross dataset"


def test_rankings_stand_once_and_of_seeds_the_lowest(data):
    rankings = everything(data)
    assert len({tuple(ranking.keys.values()) for ranking in rankings}) == len(rankings)
    lowest = lowest_seeds(rankings)
    assert {ranking.cell.bank.seed for ranking in lowest} == {0}
    assert len(lowest) * 2 == len(rankings)


def test_a_ranking_that_depends_on_the_calibration_stands_once_for_each():
    selected = {"title": "", "train": ["d/a"], "target_domains": ["dark"]}
    study = MadeStudy(detectors=("sharp", "calibrated"), first=selected, second={**selected, "calibrate_on": "target"})
    cells = [cell for cells in study.plan.cells().values() for cell in cells]
    found = list_rankings(Ranked(), study.plan, cells)
    assert [(each.cell.bank.detector, each.keys["policy"], each.keys["calibration_domain"]) for each in found] == [
        ("sharp", "", ""), ("calibrated", "f1_max", "clean"), ("calibrated", "f1_max", "dark"),
    ]  # fmt: skip


def test_a_bank_has_one_home_and_a_pool_that_of_the_category(data):
    rankings = everything(data)
    at_home = [ranking for ranking in rankings if ranking.relation == IN_DOMAIN]
    homes = {
        (ranking.cell.bank.training.path, ranking.cell.target.path): [
            home.cell.target.path for home in find_homes(ranking, at_home)
        ]
        for ranking in rankings
        if ranking.cell.bank.seed == 0
    }
    assert homes["d/a/clean", "d/b/dark"] == ["d/a/clean"]
    assert homes["pools/all/clean", "d/b/dark"] == ["d/b/clean"]
    assert homes["pools/all/clean", "e/a/clean"] == ["d/a/clean", "d/b/clean"]


def test_domains_are_described(data):
    assert describe_domain(data, "clean") == {"shift": "none", "severity": None, "transform": ""}
    assert describe_domain(data, "dark") == {"shift": "photometric", "severity": 3.0, "transform": ""}
    assert describe_domain(data, "clean", natural=True)["shift"] == "natural"
    data.domains["blur"] = {"shift": "gaussian_blur", "severity": 1.5, "seed": 0}
    assert describe_domain(data, "blur") == {"shift": "gaussian_blur", "severity": 1.5, "transform": "gaussian_blur"}
    data.domains["two"] = {"shift": ["hue", "jpeg"], "severity": "mild", "seed": 0}
    assert describe_domain(data, "two") == {"shift": "hue, jpeg", "severity": 1.0, "transform": ""}


def test_distances_are_found_by_what_they_are_of(data, tmp_path):
    ranking = everything(data)[1]
    assert read_distances(data) == {}
    assert distances_of(ranking, {}) == {}
    rankings = everything(data)
    data = replace(data, folder=tmp_path)
    (data.folder / "distances.csv").write_text(
        "train_dataset,train_category,train_domain,target_dataset,target_category,target_domain,split,backbone,"
        "distance,value,low,high,undefined\n"
        "d,a,clean,d,a,dark,s,net,feature_drift,0.4,0.3,0.5,\n"
        "d,a,clean,d,a,dark,s,net,cosine_distance,,,,a mean vector is zero\n",
        encoding="utf-8",
    )
    (shifted,) = [
        ranking
        for ranking in rankings
        if ranking.cell.bank.seed == 0 and [place.path for place in ranking.pair] == ["d/a/clean", "d/a/dark"]
    ]
    found = distances_of(shifted, read_distances(data))
    assert (found["feature_drift"].value, found["feature_drift"].high) == (0.4, 0.5)
    assert found["cosine_distance"].undefined == "a mean vector is zero"


def test_grades_begin_where_they_say():
    assert [grade_auroc(value) for value in (0.95, 0.9, 0.85, 0.7, 0.69, 0.1, None)] == [
        *("excellent", "excellent", "good", "fair", "poor", "poor", ""),
    ]  # fmt: skip
