from collections.abc import Callable
from typing import Any

import pytest

from patchshift.plan import Study
from patchshift.plan.experiments import Cell

Settings = dict[str, Any]
Load = Callable[[], Study]
Mistakes = Callable[[], list[str]]


@pytest.fixture
def expand(study: Settings, load: Load) -> Callable[..., list[Cell]]:
    """The cells of one experiment."""

    def expand(**experiment: Any) -> list[Cell]:
        study["experiments"] = {"only": {"title": "", "train": ["parts"], **experiment}}
        return load().cells["only"]

    return expand


def flows(cells: list[Cell]) -> set[tuple[str, str, str]]:
    return {(cell.bank.training.path, cell.target.path, cell.calibration.path) for cell in cells}


Expand = Callable[..., list[Cell]]


def test_by_default_each_category_is_fitted_calibrated_and_scored_on_itself(expand: Expand) -> None:
    assert flows(expand()) == {
        ("parts/bolt/clean", "parts/bolt/clean", "parts/bolt/clean"),
        ("parts/nut/clean", "parts/nut/clean", "parts/nut/clean"),
    }


def test_an_experiment_is_the_product_of_its_ids_and_each_cell_stands_once(expand: Expand) -> None:
    cells = expand(train=["parts", "parts/bolt"], seeds=[0, 1], detectors=["plain", "top", "plain"])
    assert len(cells) == len(set(cells)) == 2 * 2 * 2


def test_one_category_can_be_scored_with_the_bank_of_another(expand: Expand) -> None:
    cells = expand(train=["parts/bolt"], targets=["cloth", "parts/nut"])
    assert flows(cells) == {
        ("parts/bolt/clean", "cloth/weave/clean", "parts/bolt/clean"),
        ("parts/bolt/clean", "parts/nut/clean", "parts/bolt/clean"),
    }


def test_calibrating_on_training_keeps_the_threshold_of_the_banks_own_domain(expand: Expand) -> None:
    (cell,) = expand(train=["cloth"], target_domains=["dim"], calibrate_on="training")
    assert (cell.target.path, cell.calibration.path) == ("cloth/weave/dim", "cloth/weave/clean")


def test_calibrating_on_the_target_takes_its_category_and_domain(expand: Expand) -> None:
    (cell,) = expand(train=["cloth"], targets=["parts/nut"], target_domains=["dim"], calibrate_on="target")
    assert cell.calibration == cell.target


def test_domains_same_pairs_each_training_domain_with_itself(expand: Expand) -> None:
    cells = expand(train=["cloth"], train_domains=["clean", "dim"])
    assert flows(cells) == {("cloth/weave/clean",) * 3, ("cloth/weave/dim",) * 3}


def test_one_bank_of_a_pool_is_scored_on_and_calibrated_for_each_member(expand: Expand) -> None:
    cells = expand(train=["pools/mixed"], target_domains=["dim"])
    assert flows(cells) == {
        ("pools/mixed/clean", "parts/bolt/dim", "parts/bolt/clean"),
        ("pools/mixed/clean", "cloth/weave/dim", "cloth/weave/clean"),
    }


def test_a_category_named_twice_in_a_pool_counts_once(catalog: Settings, load: Load) -> None:
    catalog["pools"]["mixed"] = ["parts/bolt", "parts", "parts/nut"]
    assert load().members("pools", "mixed") == [("parts", "bolt"), ("parts", "nut")]


def test_include_keeps_and_exclude_drops_what_has_all_the_values_named(expand: Expand) -> None:
    cells = expand(
        detectors=["plain", "top"],
        seeds=[0, 1],
        include=[{"detector": "plain"}, {"detector": "top", "seed": [1]}],
        exclude=[{"target": "parts/nut", "detector": ["plain", "top"], "seed": 0}],
    )
    assert {(cell.target.category, cell.bank.detector, cell.bank.seed) for cell in cells} == {
        ("bolt", "plain", 0), ("bolt", "plain", 1), ("nut", "plain", 1), ("bolt", "top", 1), ("nut", "top", 1),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["include", "exclude"])
def test_a_filter_that_matches_nothing_is_a_mistake(study: Settings, mistakes: Mistakes, kind: str) -> None:
    study["experiments"]["clean"][kind] = [{"train": "parts/bolt"}, {"train": "parts/bolt", "detector": "top"}]
    study["experiments"]["more"] = {"title": "", "train": ["cloth"], kind: [{"seed": 7}]}
    place, other = mistakes()
    assert place.startswith(f"study.yaml: experiments.clean.{kind}[1] matches no combination: ")
    assert "'detector': 'top'" in place
    assert other == f"study.yaml: experiments.more.{kind}[0] matches no combination: {{'seed': 7}}"


def test_filters_that_leave_nothing_are_a_mistake(study: Settings, mistakes: Mistakes) -> None:
    study["experiments"]["clean"]["exclude"] = [{"split": "plan"}]
    assert mistakes() == ["study.yaml: experiments.clean: include and exclude leave nothing to do"]


def test_paths_are_made_of_the_ids(expand: Expand) -> None:
    (cell,) = expand(train=["cloth"], target_domains=["dim"])
    bank = "cloth/weave/clean/plan/waves/plain/seed0"
    assert cell.metrics == f"results/metrics/{bank}/on/cloth/weave/dim.json"
    assert cell.scores == f"results/scores/{bank}/on/cloth/weave/dim.h5"
    assert cell.decisions == f"results/decisions/{bank}/on/cloth/weave/dim/from/cloth/weave/clean/f1_max.json"
    assert cell.pack == "results/packs/cloth/weave/dim.h5"
    assert cell.split == "results/splits/cloth/weave/plan.csv"
    assert cell.index == "results/images/cloth/weave.csv"
