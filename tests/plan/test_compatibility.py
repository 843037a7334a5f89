import re
from collections.abc import Callable
from typing import Any

import pytest

from patchshift.plan import Study
from patchshift.plan.provenance import used_domains

Settings = dict[str, Any]
Load = Callable[[], Study]
Mistakes = Callable[[], list[str]]


def test_a_detector_cannot_ask_for_a_layer_that_its_backbone_does_not_cache(
    study: Settings, mistakes: Mistakes
) -> None:
    study["select"] |= {"backbones": ["waves", "resnet"], "detectors": ["logged"]}
    assert mistakes() == [
        "study.yaml: detector 'logged' uses layer 'first_order', which backbone 'resnet' does not cache "
        "(known: layer2, layer3): exclude this pair, or choose other layers"
    ]


@pytest.mark.parametrize(
    ("representation", "mistake"),
    [
        (
            {"fusion": "single"},
            "detector 'fused' takes a single layer, but backbone 'resnet' caches layer2, layer3: name one in "
            "representation.layers, or exclude this pair",
        ),
        (
            {"fusion": "weighted", "weights": {"layer2": 1}},
            "detector 'fused' has no weight for layer3 of backbone 'resnet': add it to representation.weights, or "
            "leave it out of representation.layers",
        ),
        (
            {"fusion": "weighted", "weights": {"layer2": 1, "layer4": 1}},
            "detector 'fused' uses layer 'layer4', which backbone 'resnet' does not cache (did you mean 'layer3'?): "
            "exclude this pair, or choose other layers",
        ),
        ({"fusion": "single", "layers": ["layer3"]}, None),
        ({"fusion": "weighted", "weights": {"layer2": 1, "layer3": 2}}, None),
        ({"fusion": "weighted", "weights": {"layer3": 2}, "layers": ["layer3"]}, None),
    ],
)
def test_a_fusion_fits_the_layers_that_the_backbone_caches(
    catalog: Settings,
    study: Settings,
    load: Load,
    mistakes: Mistakes,
    representation: Settings,
    mistake: str | None,
) -> None:
    catalog["detectors"]["fused"] = {"method": "patchcore", "representation": representation}
    study["select"] |= {"backbones": ["resnet"], "detectors": ["fused"]}
    if mistake is None:
        assert load().all_cells()
    else:
        assert mistakes() == [f"study.yaml: {mistake}"]


def test_a_pair_that_is_excluded_need_not_fit(study: Settings, load: Load) -> None:
    study["select"] |= {"backbones": ["waves", "resnet"], "detectors": ["logged"]}
    study["experiments"]["clean"]["exclude"] = [{"backbone": "resnet", "detector": "logged"}]
    assert len(load().all_cells()) == 2


@pytest.fixture
def defects(catalog: Settings) -> Settings:
    """Domains of every kind, and thresholds that take their defects from some of them."""
    catalog["domains"] |= {
        "view": {"view": {"short_side": 256}},
        "turned_plan": {"turns": {"split": "plan"}},
        "turned_published": {"turns": {"split": "published"}},
        "crops_plan": {"crops": {"split": "plan"}},
        "made_train_plan": {"synthesis": {"split": "plan", "part": "train"}},
        "made_val_plan": {"synthesis": {"split": "plan", "part": "val"}},
        "made_val_published": {"synthesis": {"split": "published", "part": "val"}},
    }
    for domain in ("dim", *list(catalog["domains"])[-3:]):
        catalog["thresholds"][f"from_{domain}"] = {"policy": "f1_max", "defects_from": domain}
    return catalog


@pytest.mark.parametrize(
    ("domain", "kind"),
    [
        ("turned_plan", "turns"),
        ("crops_plan", "crops"),
        ("made_train_plan", "synthesis"),
        ("made_val_plan", "synthesis"),
    ],
)
@pytest.mark.parametrize("key", ["train_domains", "target_domains"])
def test_images_made_for_banks_and_thresholds_are_never_tested_nor_stand_in_for_training_images(
    defects: Settings, study: Settings, mistakes: Mistakes, key: str, domain: str, kind: str
) -> None:
    study["experiments"]["clean"][key] = [domain]
    assert mistakes() == [
        f"study.yaml: domain '{domain}' holds images for banks or thresholds (kind '{kind}'): it can neither be scored "
        "as a target, nor take the place of a bank's training images, nor be calibrated on"
    ]


def test_a_view_is_trained_on_and_tested(defects: Settings, study: Settings, load: Load) -> None:
    study["experiments"]["clean"]["train_domains"] = ["view"]
    assert {(cell.bank.training.domain, cell.target.domain) for cell in load().all_cells()} == {("view", "view")}


@pytest.mark.parametrize(
    ("domain", "fault"),
    [
        ("turned_plan", None),
        ("turned", "turned 'turned' is not a domain of kind 'turns'"),
        ("turned_published", "is made from split 'published': with 'plan' its images may be tested"),
    ],
)
def test_a_bank_takes_turned_images_of_its_own_split_only(
    defects: Settings, study: Settings, load: Load, mistakes: Mistakes, domain: str, fault: str | None
) -> None:
    defects["detectors"]["few"] = {"method": "patchcore", "turned": [domain]}
    study["select"]["detectors"] = ["few"]
    if fault is None:
        assert load().all_cells()
    else:
        (line,) = mistakes()
        assert fault in line


@pytest.mark.parametrize(
    ("domain", "fault"),
    [
        ("dim", "defects_from 'dim' is not a domain of synthetic defects with `part: val`"),
        ("made_train_plan", "defects_from 'made_train_plan' is not a domain of synthetic defects with `part: val`"),
        ("made_val_published", "is made from split 'published': with 'plan' its images may be tested"),
    ],
)
def test_a_threshold_takes_synthetic_defects_from_validation_images_only(
    defects: Settings, study: Settings, mistakes: Mistakes, domain: str, fault: str
) -> None:
    study["select"]["thresholds"] = [f"from_{domain}"]
    (line,) = mistakes()
    assert fault in line


def test_synthetic_defects_of_clean_images_calibrate_on_the_clean_domain(
    defects: Settings, study: Settings, load: Load, mistakes: Mistakes
) -> None:
    study["select"]["thresholds"] = ["from_made_val_plan"]
    assert load().defects_of("from_made_val_plan") == ["made_val_plan"]
    assert "made_val_plan" in used_domains(load())
    study["experiments"]["clean"] |= {"target_domains": ["dim"], "calibrate_on": "target"}
    (line,) = mistakes()
    assert "shows clean images, it cannot calibrate on domain 'dim'" in line


def test_the_rules_of_made_domains_share_no_domain(defects: Settings, load: Load) -> None:
    study = load()
    kinds = ("clean", "shift", "view", "turns", "crops", "synthesis")
    for domain in defects["domains"]:
        assert sum(bool(re.fullmatch(study.domains_of(kind), domain)) for kind in kinds) == 1
        assert study.is_made(domain) == (domain != "clean")
    assert study.domain_split("crops_plan") == "plan"
    assert study.domain_split("turned_plan") == "plan"
    assert study.domain_split("dim") is study.domain_split("view") is None


def test_a_backbone_to_look_into_is_one_that_the_study_uses(study: Settings, mistakes: Mistakes) -> None:
    study["inspection"] = {"backbones": ["wave"]}
    assert mistakes() == ["study.yaml: inspection.backbones: 'wave' is not used by this study (did you mean 'waves'?)"]
