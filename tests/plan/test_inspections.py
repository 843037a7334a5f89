import json
from collections.abc import Callable
from typing import Any

import pytest

from patchshift.errors import UserError
from patchshift.plan import Study
from patchshift.plan.exhibits import list_figures
from patchshift.plan.inspections import (
    distance_spec,
    inspected_backbones,
    list_distances,
    list_fusions,
    pair_domains,
)

Settings = dict[str, Any]
Load = Callable[[], Study]


@pytest.fixture(autouse=True)
def inspected(study: Settings) -> None:
    study["inspection"] = {}
    study["experiments"]["clean"]["target_domains"] = ["clean", "dim"]


def pairs(study: Study) -> list[str]:
    return [f"{pair.training.path} {pair.target.path}" for pair in list_distances(study)]


def test_each_bank_is_compared_with_its_own_domain_first_and_then_with_what_it_meets_outside(
    study: Settings, load: Load
) -> None:
    study["experiments"]["clean"] |= {"train": ["parts/nut"], "target_domains": ["turned", "dim"]}
    assert pairs(load()) == [
        "parts/nut/clean parts/nut/clean",
        "parts/nut/clean parts/nut/turned",
        "parts/nut/clean parts/nut/dim",
    ]


def test_a_pair_is_measured_once_however_many_banks_and_thresholds_meet_it(study: Settings, load: Load) -> None:
    before = pairs(load())
    study["select"] |= {"detectors": ["plain", "top"], "seeds": [0, 1]}
    study["experiments"]["again"] = study["experiments"]["clean"]
    assert pairs(load()) == before
    assert len(set(before)) == len(before) == 4


def test_other_categories_and_datasets_are_outside(study: Settings, load: Load) -> None:
    study["experiments"]["clean"] = {"title": "", "train": ["cloth"], "targets": ["parts/bolt", "cloth"]}
    assert pairs(load()) == ["cloth/weave/clean cloth/weave/clean", "cloth/weave/clean parts/bolt/clean"]


def test_a_pool_is_at_home_with_each_of_its_members(study: Settings, load: Load) -> None:
    study["experiments"]["clean"] |= {"train": ["pools/mixed"], "target_domains": ["clean", "dim"]}
    assert pairs(load()) == [
        f"pools/mixed/clean {target}"
        for target in ("parts/bolt/clean", "cloth/weave/clean", "parts/bolt/dim", "cloth/weave/dim")
    ]


def test_only_the_domain_trained_on_is_at_home_and_not_a_category_that_its_pool_leaves_out(
    study: Settings, load: Load
) -> None:
    study["experiments"]["clean"] |= {"train": ["pools/mixed"], "targets": ["parts", "cloth"]}
    assert {pair.target.path: pair.at_home for pair in list_distances(load())} == {
        "parts/bolt/clean": True, "cloth/weave/clean": True, "parts/nut/clean": False, "parts/bolt/dim": False,
        "cloth/weave/dim": False, "parts/nut/dim": False,
    }  # fmt: skip


def test_banks_that_never_leave_their_domain_are_measured_there(study: Settings, load: Load) -> None:
    study["experiments"]["clean"] |= {
        "train": ["parts/nut"],
        "train_domains": ["clean", "dim"],
        "target_domains": "same",
    }
    loaded = load()
    assert pairs(loaded) == ["parts/nut/clean parts/nut/clean", "parts/nut/dim parts/nut/dim"]
    assert all(pair.at_home for pair in list_distances(loaded))
    assert f"{loaded.folder}/distances.png" in list_figures(loaded)


def test_splits_and_backbones_are_measured_apart(study: Settings, load: Load) -> None:
    study["select"] |= {"splits": ["plan", "published"], "backbones": ["waves", "resnet"]}
    found = list_distances(load())
    assert len(found) == 2 * 2 * 4
    assert found[0].path == "results/distances/trial/parts/bolt/clean/plan/waves/to/parts/bolt/clean.json"
    assert len({pair.path for pair in found}) == len(found)


def test_only_the_backbones_named_are_looked_into(study: Settings, load: Load) -> None:
    study["select"]["backbones"] = ["waves", "resnet"]
    assert inspected_backbones(load()) == ["waves", "resnet"]
    study["inspection"] = {"backbones": ["resnet"]}
    loaded = load()
    assert inspected_backbones(loaded) == ["resnet"]
    assert {pair.backbone for pair in list_distances(loaded)} == {"resnet"}


@pytest.mark.parametrize("inspection", [None, {"distances": False}])
def test_nothing_is_measured_where_the_study_does_not_ask(
    study: Settings, load: Load, inspection: Settings | None
) -> None:
    study["inspection"] = inspection
    loaded = load()
    assert list_distances(loaded) == []
    assert f"{loaded.folder}/distances.png" not in list_figures(loaded)


def test_the_figure_is_made_where_the_study_asks(load: Load) -> None:
    loaded = load()
    assert f"{loaded.folder}/distances.png" in list_figures(loaded)


def test_the_collecting_script_finds_the_same_pairs_from_the_plan_it_gets(load: Load) -> None:
    loaded = load()
    plan = type(loaded.plan).model_validate_json(loaded.plan_spec())
    assert pair_domains(plan, inspected_backbones(loaded)) == list_distances(loaded)


def test_distances_depend_on_resamples_seed_and_confidence(study: Settings, catalog: Settings, load: Load) -> None:
    study["inspection"] = {"resamples": 50, "seed": 3, "images": 2}
    catalog["evaluation"]["confidence"] = 0.8
    expected = {"resamples": 50, "seed": 3, "confidence": 0.8, "fusions": []}
    assert json.loads(distance_spec(load(), "waves")) == expected
    study["inspection"] = None  # one pair may be asked for all the same
    assert json.loads(distance_spec(load(), "waves")) == expected | {"resamples": 200, "seed": 0}


def detect(**representation: object) -> Settings:
    return {"method": "patchcore", "representation": representation}


def test_distances_depend_on_how_the_detectors_of_a_backbone_join_its_layers(
    study: Settings, catalog: Settings, load: Load
) -> None:
    weights = {"layer2": 1, "layer3": 2}
    catalog["detectors"] |= {
        "weighted": detect(fusion="weighted", weights=weights),
        "reduced": detect(fusion="weighted", weights=weights, reduction={"method": "pca", "dimension": 4}),
        "turned": detect(layers=["layer3", "layer2"], fusion="adaptive", normalise="standardise"),
        "unused": detect(fusion="adaptive", inverse=True),
        "waves": detect(layers=["first_order", "second_order"], fusion="concat"),
        "other": {"method": "external", "folder": "other"},
    }
    study["select"] |= {"backbones": ["resnet"], "detectors": ["plain", "weighted", "reduced", "turned", "other"]}
    study["experiments"]["waves"] = {
        "title": "", "train": ["parts"], "backbones": ["waves"], "detectors": ["plain", "waves"]
    }  # fmt: skip
    loaded = load()
    assert [(fusion.layers, fusion.words) for fusion in list_fusions(loaded, "resnet")] == [
        (["layer2", "layer3"], "adaptive"),
        (["layer2", "layer3"], "weighted (1 layer2 + 2 layer3)"),
    ]
    assert [(fusion.layers, fusion.words) for fusion in list_fusions(loaded, "waves")] == [
        (["first_order", "second_order"], "concat")
    ]
    assert [fusion["fusion"] for fusion in json.loads(distance_spec(loaded, "resnet"))["fusions"]] == [
        "adaptive", "weighted"
    ]  # fmt: skip
    before = distance_spec(loaded, "resnet")
    study["select"]["detectors"].reverse()
    study["experiments"] = dict(reversed(study["experiments"].items()))
    assert distance_spec(load(), "resnet") == before


def test_single_layers_and_all_of_them_are_measured_always_and_no_reason_to_measure_anew(
    study: Settings, catalog: Settings, load: Load
) -> None:
    before = distance_spec(load(), "resnet")
    catalog["detectors"] |= {
        "deep": detect(layers=["layer3"], fusion="single"), "official": {"method": "patchcore", "compat": "official"}
    }  # fmt: skip
    study["select"] |= {"backbones": ["resnet"], "detectors": ["plain", "deep", "official"]}
    assert list_fusions(load(), "resnet") == []
    assert distance_spec(load(), "resnet") == before


@pytest.mark.parametrize(
    ("maps", "message"),
    [([], "maps: is an empty list: name at least one"), (["tsne", "tsne"], "maps: 'tsne' is named twice")],
)
def test_maps_are_named_and_each_once(study: Settings, load: Load, maps: list[str], message: str) -> None:
    study["inspection"] = {"maps": maps}
    with pytest.raises(UserError, match=message):
        load()
