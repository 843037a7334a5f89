import re
from collections.abc import Callable
from typing import Any

import pytest

from patchshift.plan import Study
from patchshift.plan.batches import list_targets
from patchshift.plan.calibrations import name_members, smoothing
from patchshift.plan.cells import Cell
from patchshift.plan.provenance import used_domains

Settings = dict[str, Any]
Load = Callable[[], Study]
Mistakes = Callable[[], list[str]]


@pytest.fixture
def expand(study: Settings, load: Load) -> Callable[..., list[Cell]]:
    """The cells of one experiment."""

    def expand(**experiment: Any) -> list[Cell]:
        study["experiments"] = {"only": {"title": "", **experiment}}
        return load().cells["only"]

    return expand


Expand = Callable[..., list[Cell]]


def calibrations(cells: list[Cell]) -> dict[str, str]:
    """Target -> calibration."""
    return {cell.target.path: cell.calibration.path for cell in cells}


def test_a_category_is_calibrated_in_any_domain_and_scored_in_another(expand: Expand) -> None:
    cells = expand(train=["cloth"], target_domains=["clean", "dim"], calibrate_on="turned")
    assert calibrations(cells) == {
        "cloth/weave/clean": "cloth/weave/turned",
        "cloth/weave/dim": "cloth/weave/turned",
    }


@pytest.mark.parametrize(
    ("train_domain", "calibrate_on", "calibrated"),
    [("clean", "training", "clean"), ("clean", "dim", "dim"), ("clean", "target", "dim"), ("dim", "training", "dim")],
)
def test_no_adaptation_recalibration_and_adaptation_differ_in_two_words(
    expand: Expand, train_domain: str, calibrate_on: str, calibrated: str
) -> None:
    (cell,) = expand(train=["cloth"], train_domains=[train_domain], target_domains=["dim"], calibrate_on=calibrate_on)
    assert (cell.bank.training.domain, cell.calibration.path) == (train_domain, f"cloth/weave/{calibrated}")


def test_a_strange_target_is_decided_by_the_banks_own_category_in_the_domain_named(expand: Expand) -> None:
    (cell,) = expand(train=["parts/bolt"], targets=["cloth"], calibrate_on="dim")
    assert calibrations([cell]) == {"cloth/weave/clean": "parts/bolt/dim"}


@pytest.mark.parametrize(("calibrate_on", "domain"), [("training", "clean"), ("dim", "dim")])
def test_a_pools_bank_is_calibrated_on_a_member_itself_and_for_others_on_all_members(
    expand: Expand, calibrate_on: str, domain: str
) -> None:
    cells = expand(train=["pools/mixed"], targets=["parts", "cloth"], calibrate_on=calibrate_on)
    assert calibrations(cells) == {
        "parts/bolt/clean": f"parts/bolt/{domain}",
        "parts/nut/clean": f"pools/mixed/{domain}",
        "cloth/weave/clean": f"cloth/weave/{domain}",
    }
    own, strange, _ = cells
    assert [each.path for each in own.calibrated_on] == [f"parts/bolt/{domain}"]
    assert [each.path for each in strange.calibrated_on] == [f"parts/bolt/{domain}", f"cloth/weave/{domain}"]


def test_where_an_alias_leads_from_a_member_of_a_pool_the_member_calibrates(catalog: Settings, expand: Expand) -> None:
    catalog["datasets"]["parts_b"] = {"adapter": "mvtec_ad", "categories": ["bolt", "nut"]}
    catalog["aliases"] = {"camera_b": {"parts": "parts_b"}}
    cells = expand(train=["pools/metal"], target_domains=["camera_b"])
    assert calibrations(cells) == {f"parts_b/{name}/clean": f"parts/{name}/clean" for name in ("bolt", "nut")}
    cells = expand(train=["pools/metal"], targets=["parts_b/nut"])
    assert calibrations(cells) == {"parts_b/nut/clean": "pools/metal/clean"}


def test_a_bank_fitted_where_an_alias_leads_is_calibrated_there(catalog: Settings, expand: Expand) -> None:
    catalog["datasets"]["other"] = {"adapter": "mvtec_ad", "categories": ["screw"]}
    catalog["aliases"] = {"camera_c": {"parts/bolt": "other/screw"}}
    both = {"train": ["parts/bolt"], "train_domains": ["camera_c"], "target_domains": ["clean"]}
    assert calibrations(expand(**both)) == {"parts/bolt/clean": "other/screw/clean"}
    assert calibrations(expand(**both, calibrate_on="dim")) == {"parts/bolt/clean": "other/screw/dim"}


@pytest.fixture
def strange(expand: Expand) -> Cell:
    """The nut, decided by a bank of bolt and weave that never saw it."""
    (cell,) = expand(train=["pools/mixed"], train_domains=["dim"], targets=["parts/nut"], target_domains=["clean"])
    return cell


def test_a_cell_calibrated_on_a_pool_names_what_comes_from_each_member(strange: Cell) -> None:
    bank = "pools/mixed/dim/plan/waves/plain/seed0"
    assert strange.threshold_file == f"results/thresholds/{bank}/from/pools/mixed/dim/f1_max.json"
    assert strange.decisions == f"results/decisions/{bank}/on/parts/nut/clean/from/pools/mixed/dim/f1_max.json"
    places = ("parts/nut/clean", "parts/bolt/dim", "cloth/weave/dim")
    assert strange.artifacts == [
        *(f"results/features/{place}/waves.h5" for place in places),
        f"results/banks/{bank}.h5",
        *(f"results/scores/{bank}/on/{place}.h5" for place in places),
        strange.threshold_file,
        strange.pack,
        strange.metrics,
        strange.decisions,
    ]


def test_a_pool_calibrated_with_synthetic_defects_needs_them_of_each_member(
    catalog: Settings, study: Settings, load: Load
) -> None:
    catalog["domains"]["spots_plan"] = {"synthesis": {"split": "plan", "part": "val", "count": 2}}
    catalog["thresholds"]["spotted"] = {"policy": "f1_max", "defects_from": "spots_plan"}
    only = {"title": "", "train": ["pools/mixed"], "targets": ["parts/nut"], "thresholds": ["spotted"]}
    study["experiments"] = {"only": only}
    assert [target.path for target in list_targets(load())["waves"]] == [
        *("parts/bolt/clean", "cloth/weave/clean", "parts/nut/clean"),
        *("parts/bolt/spots_plan", "cloth/weave/spots_plan"),
    ]


def test_a_domain_that_is_only_calibrated_on_is_used(study: Settings, load: Load) -> None:
    study["experiments"] = {"only": {"title": "", "train": ["cloth"], "calibrate_on": "dim"}}
    assert used_domains(load()) == {"clean", "dim"}
    assert [target.path for target in list_targets(load())["waves"]] == ["cloth/weave/clean", "cloth/weave/dim"]


def test_the_wildcards_of_a_calibration_are_those_of_a_category_or_a_pool(strange: Cell, load: Load) -> None:
    study, calibration = load(), strange.calibration
    assert re.fullmatch(study.constraint("pools"), calibration.category)
    names = name_members(study, calibration.dataset, calibration.category)
    assert [f"{name}/{calibration.domain}" for name in names] == [each.path for each in strange.calibrated_on]
    assert name_members(study, "parts", "bolt") == ["parts/bolt"]


def test_a_threshold_depends_on_the_protocols_smoothing_and_on_nothing_else_of_it(
    catalog: Settings, load: Load
) -> None:
    assert smoothing(load()) == "4.0"
    catalog["evaluation"] |= {"bootstrap_resamples": 100, "pro_fpr_limit": 0.2}
    assert smoothing(load()) == "4.0"
    catalog["evaluation"]["smoothing_sigma"] = 0
    assert smoothing(load()) == "0.0"


@pytest.mark.parametrize(
    ("wanted", "fault"),
    [
        ("dimm", "'dimm' is not in domains (did you mean 'dim'?)"),
        ("traning", "'traning' is not in domains (did you mean 'training'?)"),
        ("camera_b", "'camera_b' is an alias: calibrate on a domain, or on `target` where an alias leads there"),
    ],
)
def test_what_is_no_domain_is_named_with_the_nearest_name(
    catalog: Settings, study: Settings, mistakes: Mistakes, wanted: str, fault: str
) -> None:
    catalog["aliases"] = {"camera_b": {"parts/bolt": "cloth/weave"}}
    study["experiments"]["clean"]["calibrate_on"] = wanted
    assert mistakes() == [f"study.yaml: experiments.clean.calibrate_on: {fault}"]


def test_defects_cannot_stand_in_for_validation_images(catalog: Settings, study: Settings, mistakes: Mistakes) -> None:
    catalog["domains"]["spots_plan"] = {"synthesis": {"split": "plan", "part": "val", "count": 2}}
    study["experiments"]["clean"]["calibrate_on"] = "spots_plan"
    (line,) = mistakes()
    assert line.endswith("nor take the place of a bank's training images, nor be calibrated on")


def test_the_words_win_over_a_domain_of_that_name(catalog: Settings, expand: Expand) -> None:
    catalog["domains"]["target"] = {"shift": "photometric", "severity": "mild", "seed": 0}
    assert calibrations(expand(train=["cloth"], calibrate_on="target")) == {"cloth/weave/clean": "cloth/weave/clean"}


def test_one_external_table_of_a_member_cannot_calibrate_two_pools(
    catalog: Settings, study: Settings, mistakes: Mistakes
) -> None:
    catalog["detectors"]["flow"] = {"method": "external", "folder": "scores/flow", "weights": "none published"}
    study["select"]["detectors"] = ["flow"]
    study["experiments"] = {
        "first": {"title": "", "train": ["pools/mixed"], "targets": ["parts/nut"]},
        "second": {"title": "", "train": ["parts/bolt"]},
    }
    (line,) = mistakes()
    assert "one table for parts/bolt/clean" in line
    assert "pools/mixed/clean and on parts/bolt/clean" in line
