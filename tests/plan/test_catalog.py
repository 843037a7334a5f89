from collections.abc import Callable
from typing import Any

import pytest

from patchshift.plan import Study

Settings = dict[str, Any]
Load = Callable[[], Study]
Mistakes = Callable[[], list[str]]


def test_a_pool_cannot_bear_the_name_of_a_category(catalog: Settings, mistakes: Mistakes) -> None:
    catalog["pools"]["bolt"] = ["parts"]
    assert mistakes() == ["configs/catalog.yaml.pools.bolt: 'bolt' is also a category of parts: choose another name"]


def test_a_dataset_cannot_bear_the_name_that_stands_for_pools(catalog: Settings, mistakes: Mistakes) -> None:
    catalog["datasets"]["pools"] = catalog["datasets"]["cloth"]
    assert "configs/catalog.yaml.datasets: 'pools' stands for pools in paths: choose another name" in mistakes()


def test_a_pool_names_datasets_and_categories_that_exist(catalog: Settings, mistakes: Mistakes) -> None:
    catalog["pools"]["metal"] = ["part", "parts/nutt", "pools/mixed"]
    assert [line.removeprefix("configs/catalog.yaml.pools.metal: ") for line in mistakes()] == [
        "'part' is not a dataset (did you mean 'parts'?)",
        "'nutt' is not a category of parts (did you mean 'nut'?)",
        "'pools' is not a dataset (known: cloth, parts)",
    ]


def test_a_pool_has_members(catalog: Settings, study: Settings, mistakes: Mistakes) -> None:
    catalog["pools"]["metal"] = []
    study["add"] = {"pools": {"none": []}}
    assert mistakes() == [
        "configs/catalog.yaml.pools.metal: is an empty list: name at least one",
        "study.yaml: add.pools.none: is an empty list: name at least one",
    ]


@pytest.mark.parametrize("name", ["a/b", "..", "", ".hidden", "a b", "-a"])
def test_an_id_is_a_plain_file_name(catalog: Settings, mistakes: Mistakes, name: str) -> None:
    catalog["splits"][name] = catalog["splits"]["plan"]
    (line,) = mistakes()
    assert line.startswith(f"configs/catalog.yaml.splits.{name} (the id itself): ")


@pytest.mark.parametrize("path", ["/etc/weights.safetensors", "../weights.safetensors", "a/../../b"])
def test_no_path_escapes_its_folder(catalog: Settings, mistakes: Mistakes, path: str) -> None:
    catalog["backbones"]["resnet"]["weights"] = path
    catalog["datasets"]["parts"]["folder"] = path
    assert {line.split(": ")[0] for line in mistakes()} == {
        "configs/catalog.yaml.datasets.parts.folder",
        "configs/catalog.yaml.backbones.resnet.weights",
    }


def test_a_backbone_of_an_unknown_source_is_told_the_known_ones(catalog: Settings, mistakes: Mistakes) -> None:
    catalog["backbones"]["waves"]["source"] = "tim"
    assert mistakes() == ["configs/catalog.yaml.backbones.waves: 'tim' is not known (did you mean 'timm'?)"]


def test_an_alias_leads_from_and_to_what_exists(catalog: Settings, mistakes: Mistakes) -> None:
    catalog["datasets"]["small"] = {"adapter": "mvtec_ad", "categories": ["bolt"]}
    catalog["aliases"] = {
        "a": {"part": "cloth"},
        "b": {"parts/bolt": "cloth"},
        "c": {"parts": "small"},
        "dim": {"cloth": "cloth"},
    }
    assert mistakes() == [
        "configs/catalog.yaml.aliases.a: 'part' is not a dataset (did you mean 'parts'?)",
        "configs/catalog.yaml.aliases.b: 'parts/bolt' to 'cloth': name two datasets, or two categories",
        "configs/catalog.yaml.aliases.c: 'small' lacks nut of 'parts': lead each category",
        "configs/catalog.yaml.aliases.dim: 'dim' is also a domain: choose another name",
    ]


def test_a_domain_of_defects_names_the_split_that_they_come_from(catalog: Settings, mistakes: Mistakes) -> None:
    catalog["domains"] |= {
        "crops": {"crops": {"split": "plan"}},
        "turned_published": {"turns": {"split": "plan"}},
        "made_plam": {"synthesis": {"split": "plam", "part": "val"}},
        "made_plan": {"synthesis": {"split": "plan", "part": "val"}},
    }
    assert mistakes() == [
        "configs/catalog.yaml.domains.crops: its images come from split 'plan': end its id with that, "
        "e.g. 'crops_plan'",
        "configs/catalog.yaml.domains.made_plam.synthesis.split: 'plam' is not in splits (did you mean 'plan'?)",
        "configs/catalog.yaml.domains.turned_published: its images come from split 'plan': end its id with that, "
        "e.g. 'turns_plan'",
    ]


def test_a_threshold_names_a_domain_that_exists(catalog: Settings, mistakes: Mistakes) -> None:
    catalog["thresholds"]["made"] = {"policy": "f1_max", "defects_from": "dimm"}
    (line,) = mistakes()
    assert line == "configs/catalog.yaml.thresholds.made.defects_from: 'dimm' is not in domains (did you mean 'dim'?)"


def test_the_id_of_a_domain_of_defects_cannot_be_read_as_another_splits(catalog: Settings, mistakes: Mistakes) -> None:
    catalog["splits"]["plan_own"] = catalog["splits"]["own"] = catalog["splits"]["plan"]
    catalog["domains"] |= {
        "crops_plan_own": {"crops": {"split": "plan"}},
        "other_plan_own": {"crops": {"split": "own"}},
        "crops_unplan": {"crops": {"split": "plan"}},
        "fine_plan_own": {"crops": {"split": "plan_own"}},
    }
    assert {line.split(":")[0] for line in mistakes()} == {
        f"configs/catalog.yaml.domains.{name}" for name in ("crops_plan_own", "crops_unplan", "other_plan_own")
    }


def test_a_list_where_one_domain_is_asked_for_is_a_mistake_like_others(catalog: Settings, mistakes: Mistakes) -> None:
    catalog["thresholds"]["strange"] = {"policy": "f1_max", "defects_from": ["dim"]}
    (line,) = mistakes()
    assert line.startswith("configs/catalog.yaml.thresholds.strange.defects_from")
