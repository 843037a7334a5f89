from collections.abc import Callable
from typing import Any

import pytest

from patchshift.errors import UserError
from patchshift.plan import Study, exhibits
from patchshift.plan.inspection_specs import InspectionSpec
from patchshift.plan.inspections import (
    ChoiceSpec,
    DistanceSpec,
    LookSpec,
    attention_spec,
    choice_spec,
    find_look,
    has_class_attention,
    list_inspection_figures,
    list_looks,
    look_spec,
)

Settings = dict[str, Any]
Load = Callable[[], Study]


def test_a_study_that_does_not_ask_looks_nowhere(load: Load) -> None:
    loaded = load()
    assert list_looks(loaded) == []
    assert list_inspection_figures(loaded) == []
    assert not [path for path in exhibits.list_figures(loaded) if "inspections" in path]
    for spec in (look_spec, choice_spec):
        with pytest.raises(UserError, match="study 'trial' does not look inside its features: add `inspection"):
            spec(loaded)
    with pytest.raises(UserError, match="study 'trial' does not look inside its features: add `inspection"):
        find_look(loaded, "parts", "bolt", "waves")


def test_every_category_that_is_used_is_looked_into_clean_whatever_its_domain(study: Settings, load: Load) -> None:
    study["inspection"] = {}
    study["experiments"] = {
        "pooled": {"title": "", "train": ["pools/mixed"], "targets": ["parts/nut"], "target_domains": ["dim"]}
    }
    found = [look.measured for look in list_looks(load())]
    assert found == [
        "results/inspections/trial/cloth/weave/clean/plan/waves.h5",
        "results/inspections/trial/parts/bolt/clean/plan/waves.h5",
        "results/inspections/trial/parts/nut/clean/plan/waves.h5",
    ]


def test_of_several_splits_the_first_stands_for_a_category(study: Settings, load: Load) -> None:
    study["inspection"] = {}
    study["experiments"]["clean"] |= {"splits": ["published", "plan"]}
    assert {look.split for look in list_looks(load())} == {"published"}


def test_backbones_are_those_named_or_those_used_there(study: Settings, load: Load) -> None:
    study["inspection"] = {}
    study["experiments"] = {
        "waves": {"title": "", "train": ["parts/bolt"], "backbones": ["waves"]},
        "resnet": {"title": "", "train": ["parts/nut"], "backbones": ["resnet"]},
    }
    pairs = [(look.target.category, look.backbone) for look in list_looks(load())]
    assert pairs == [("bolt", "waves"), ("nut", "resnet")]
    study["inspection"]["backbones"] = ["resnet"]
    assert [(look.target.category, look.backbone) for look in list_looks(load())] == [("nut", "resnet")]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"weights": "vit.safetensors"}, True),
        ({"model": "test_efficientnet", "layers": ["blocks.2"]}, False),
        ({"source": "torchvision", "model": "resnet18", "layers": ["layer2"]}, False),
        ({"tiling": {"tile": 48, "overlap": 16}, "image_size": 96}, False),
    ],
)
def test_attention_is_of_vision_transformers_that_see_whole_images(
    study: Settings, load: Load, change: Settings, expected: bool
) -> None:
    vit = {"source": "timm", "model": "test_vit", "weights": "random", "layers": [1, 3], "image_size": 48}
    study["add"] = {"backbones": {"vit": vit | change}}
    study["select"]["backbones"] = ["vit", "waves"]
    study["inspection"] = {}
    loaded = load()
    assert has_class_attention(loaded, "vit") == expected
    assert not has_class_attention(loaded, "waves")
    figures = list_inspection_figures(loaded)
    folder = "results/studies/trial/inspections/parts/bolt/vit"
    assert (f"{folder}/attention.png" in figures) == expected
    names = ("patch_map", "separability", "activation_energy")
    assert {f"{folder}/{name}.png" for name in names} < set(figures)
    assert len(figures) == 2 * (2 * 3 + expected)
    assert set(figures) < set(exhibits.list_figures(loaded))


def test_a_figure_is_drawn_from_the_look_of_its_category_and_backbone(study: Settings, load: Load) -> None:
    study["inspection"] = {}
    look = find_look(load(), "parts", "nut", "waves")
    assert look.measured == "results/inspections/trial/parts/nut/clean/plan/waves.h5"
    assert look.attention == "results/attention/trial/parts/nut/clean/plan/waves.h5"


def test_a_look_that_the_study_does_not_make_is_named_with_those_it_makes(study: Settings, load: Load) -> None:
    study["inspection"] = {}
    message = r"inside parts/bolt of backbone 'resnet', only inside parts/bolt of waves, .*`inspection\.backbones`"
    with pytest.raises(UserError, match=message):
        find_look(load(), "parts", "bolt", "resnet")


def test_attention_depends_on_the_backbone_but_for_what_batches_and_cuda_set(study: Settings, load: Load) -> None:
    vit = {"source": "timm", "model": "test_vit", "weights": "random", "layers": [1, 3], "image_size": 48}
    specs = {}
    for name, change in {
        "plain": {}, "batch": {"batch_size": 3}, "half": {"precision": "float16"}, "threads": {"threads": 7},
    }.items():  # fmt: skip
        study["add"] = {"backbones": {"vit": vit | change}}
        specs[name] = attention_spec(load(), "vit")
    assert specs["plain"] == specs["batch"] == specs["half"]
    assert specs["plain"] != specs["threads"]


def test_a_look_depends_on_its_own_settings_and_the_confidence_alone(
    study: Settings, catalog: Settings, load: Load
) -> None:
    study["inspection"] = {"maps": ["umap"], "patches": 100, "images": 3, "seed": 7}
    before = load()
    spec = LookSpec.model_validate_json(look_spec(before))
    assert (spec.maps, spec.patches, spec.images, spec.seed, spec.confidence) == (["umap"], 100, 3, 7, 0.95)
    assert ChoiceSpec.model_validate_json(choice_spec(before)) == ChoiceSpec(images=3, seed=7)
    study["inspection"] |= {"backbones": ["waves"], "distances": False}
    catalog["evaluation"]["smoothing_sigma"] = 2.0
    assert look_spec(load()) == look_spec(before)
    study["inspection"]["patches"] = 200
    assert look_spec(load()) != look_spec(before)
    assert choice_spec(load()) == choice_spec(before)


@pytest.mark.parametrize("field", ["maps", "patches", "images", "resamples", "seed"])
def test_what_is_measured_has_the_bounds_of_what_is_asked_for(field: str) -> None:
    asked = InspectionSpec.model_json_schema()["properties"][field]
    bounds = {key: value for key, value in asked.items() if key not in ("default", "description")}
    for spec in (LookSpec, ChoiceSpec, DistanceSpec):
        assert spec.model_json_schema()["properties"].get(field, bounds) == bounds, spec
