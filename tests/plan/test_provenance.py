import json
from collections.abc import Callable
from typing import Any

import pytest

from patchshift.plan import Study
from patchshift.plan.provenance import detector_settings, domain_settings, provenance_spec, used_domains

Settings = dict[str, Any]
Load = Callable[[], Study]

DOMAINS: Settings = {
    "crops_plan": {"crops": {"split": "plan", "margin": 7}},
    "painted_plan": {"synthesis": {"split": "plan", "part": "train"}},
    "made_val_plan": {"synthesis": {"split": "plan", "part": "val"}},
    "turned_plan": {"turns": {"split": "plan", "angles": [90]}},
}
DUAL = {"method": "patchcore_dual", "crops": "crops_plan", "add_augmented": "painted_plan"}
TURNED = {"method": "patchcore", "turned": ["turned_plan"]}


@pytest.fixture(autouse=True)
def _ids(catalog: Settings) -> None:
    catalog["domains"] |= DOMAINS
    catalog["detectors"] |= {"dual": DUAL, "turning": TURNED}
    catalog["thresholds"] |= {"made": {"policy": "f1_max", "defects_from": "made_val_plan"}}


@pytest.mark.parametrize(
    ("chosen", "domains"),
    [
        ({}, {"clean"}),
        ({"detectors": ["dual"]}, {"clean", "crops_plan", "painted_plan"}),
        ({"detectors": ["turning", "plain"]}, {"clean", "turned_plan"}),
        ({"thresholds": ["made"]}, {"clean", "made_val_plan"}),
    ],
)
def test_domains_that_banks_or_thresholds_take_are_used(
    study: Settings, load: Load, chosen: Settings, domains: set[str]
) -> None:
    study["select"] |= chosen
    loaded = load()
    assert used_domains(loaded) == domains
    assert json.loads(domain_settings(loaded)).keys() == domains
    settings = json.loads(provenance_spec(loaded))["domains"]
    assert settings.keys() == domains
    assert [settings[name]["crops"]["margin"] for name in domains & {"crops_plan"}] == [7] * ("crops_plan" in domains)


def test_the_provenance_names_pools_with_their_members_and_aliases(
    catalog: Settings, study: Settings, load: Load
) -> None:
    assert json.loads(provenance_spec(load()))["pools"] == {}
    catalog["aliases"] = {"weave_for_bolt": {"parts/bolt": "cloth/weave"}, "unused": {"parts/nut": "cloth/weave"}}
    study["experiments"] |= {
        "pooled": {"title": "", "train": ["pools/mixed"]},
        "moved": {"title": "", "train": ["parts/bolt"], "target_domains": ["weave_for_bolt"]},
    }
    spec = json.loads(provenance_spec(load()))
    assert spec["pools"] == {"mixed": {"members": ["parts/bolt", "cloth"]}}
    assert spec["aliases"] == {"weave_for_bolt": {"parts/bolt": "cloth/weave"}}
    assert spec["datasets"].keys() == {"parts", "cloth"}


def test_the_settings_of_detectors_are_those_that_the_study_uses(study: Settings, load: Load) -> None:
    study["select"]["detectors"] = ["plain", "turning"]
    settings = json.loads(detector_settings(load()))
    assert settings.keys() == {"plain", "turning"}
    assert (settings["turning"]["turned"], settings["plain"]["sampler"]["share"]) == (["turned_plan"], 0.1)
