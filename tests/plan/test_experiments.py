from collections.abc import Callable
from typing import Any

import pytest

from patchshift.plan import Study
from patchshift.plan.cells import Cell

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


@pytest.fixture
def aliases(catalog: Settings) -> Settings:
    """Two cameras: of all parts, and of a bolt only."""
    catalog["datasets"]["parts_b"] = {"adapter": "mvtec_ad", "categories": ["bolt", "nut"]}
    catalog["datasets"]["other"] = {"adapter": "mvtec_ad", "categories": ["screw"]}
    catalog["aliases"] = {"camera_b": {"parts": "parts_b"}, "camera_c": {"parts/bolt": "other/screw"}}
    return catalog


def test_an_alias_leads_to_the_same_product_seen_another_way(aliases: Settings, expand: Expand) -> None:
    cells = expand(target_domains=["clean", "camera_b"])
    assert flows(cells) == {
        *((f"parts/{name}/clean",) * 3 for name in ("bolt", "nut")),
        *((f"parts/{name}/clean", f"parts_b/{name}/clean", f"parts/{name}/clean") for name in ("bolt", "nut")),
    }
    reached = [cell for cell in cells if cell.target.dataset == "parts_b"]
    assert {(cell.domain, cell.origin.path) for cell in reached} == {
        ("camera_b", "parts/bolt/clean"),
        ("camera_b", "parts/nut/clean"),
    }


def test_a_bank_can_be_fitted_and_calibrated_where_an_alias_leads(aliases: Settings, expand: Expand) -> None:
    (adapted,) = expand(train=["parts/bolt"], train_domains=["camera_c"])
    assert flows([adapted]) == {("other/screw/clean",) * 3}
    assert (adapted.domain, adapted.origin.path) == ("camera_c", "parts/bolt/clean")
    (recalibrated,) = expand(train=["parts/bolt"], target_domains=["camera_c"], calibrate_on="target")
    assert flows([recalibrated]) == {("parts/bolt/clean", "other/screw/clean", "other/screw/clean")}


def test_filters_know_aliases(aliases: Settings, expand: Expand) -> None:
    (cell,) = expand(
        train=["parts/bolt"], target_domains=["clean", "camera_b"], include=[{"target_domain": "camera_b"}]
    )
    assert cell.target.path == "parts_b/bolt/clean"


def test_an_alias_that_leads_nowhere_is_a_mistake(aliases: Settings, study: Settings, mistakes: Mistakes) -> None:
    study["experiments"] = {"only": {"title": "", "train": ["parts/nut"], "target_domains": ["camera_c"]}}
    assert mistakes() == ["study.yaml: experiments.only: alias 'camera_c' says nothing of parts/nut"]


def test_a_pool_has_no_alias(aliases: Settings, study: Settings, mistakes: Mistakes) -> None:
    study["experiments"] = {"only": {"title": "", "train": ["pools/metal"], "train_domains": ["camera_b"]}}
    (line,) = mistakes()
    assert "alias 'camera_b' cannot stand for a pool's domain: declare a pool of its targets" in line


def test_the_same_cell_reached_by_name_and_by_alias_stands_once(aliases: Settings, study: Settings, load: Load) -> None:
    study["experiments"] = {
        "named": {"title": "", "train": ["parts_b/bolt"]},
        "reached": {"title": "", "train": ["parts/bolt"], "train_domains": ["camera_b"]},
    }
    assert len(load().all_cells()) == 1


def test_an_alias_cannot_stand_for_a_wildcard_of_paths(aliases: Settings, load: Load) -> None:
    assert "camera_b" not in load().constraint("domains")


def test_two_cameras_can_be_crossed(aliases: Settings, expand: Expand) -> None:
    both = ["clean", "camera_b"]
    cells = expand(train=["parts/bolt"], train_domains=both, target_domains=both)
    first, second = "parts/bolt/clean", "parts_b/bolt/clean"
    assert {(trained, tested) for trained, tested, _ in flows(cells)} == {
        (trained, tested) for trained in (first, second) for tested in (first, second)
    }
    assert {cell.domain for cell in cells if cell.target.path == second} == {"camera_b"}
