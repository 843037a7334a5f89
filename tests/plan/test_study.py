import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from patchshift.plan import Study
from patchshift.plan.experiments import StudyPlan
from patchshift.plan.specs import FitSpec

Settings = dict[str, Any]
Load = Callable[[], Study]
Mistakes = Callable[[], list[str]]

HEAVY = {"numpy", "torch", "torchvision", "timm", "sklearn", "skimage", "scipy", "pandas", "h5py", "PIL", "matplotlib"}


def test_planning_imports_nothing_heavy(repository: Path) -> None:
    """All that the Snakefile and its rules import, in a fresh interpreter."""
    rules = [repository / "Snakefile", *(repository / "rules").glob("*.smk")]
    lines = {line for path in rules for line in re.findall(r"^from patchshift.*$", path.read_text(), re.MULTILINE)}
    assert any("patchshift.plan" in line for line in lines)
    program = "\n".join([*sorted(lines), "import sys, json; print(json.dumps(list(sys.modules)))"])
    path = str(repository / "workflow_scripts")
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, env={"PYTHONPATH": path}, check=True)
    assert not {name.partition(".")[0] for name in json.loads(output.stdout)} & HEAVY


def test_a_bank_does_not_depend_on_how_images_are_scored(load: Load) -> None:
    study = load()
    assert study.fit_spec("plain") == study.fit_spec("top")
    assert study.score_spec("plain") != study.score_spec("top")
    assert FitSpec.model_validate_json(study.fit_spec("top")).canonical() == study.fit_spec("top")
    assert "image_score" not in study.fit_spec("top")


def test_scores_do_not_depend_on_the_sampler_beside_the_bank(load: Load) -> None:
    study = load()
    assert study.score_spec("plain") == study.score_spec("logged")
    assert set(json.loads(study.score_spec("plain"))) == {"image_score", "threads"}


def test_the_plan_of_an_experiment_ignores_what_it_does_not_use(catalog: Settings, study: Settings, load: Load) -> None:
    study["experiments"] |= {"pooled": {"title": "", "train": ["pools/metal"]}}
    before = load()
    catalog["datasets"] |= {"extra": {"adapter": "mtd", "categories": ["tile"]}}
    catalog["datasets"]["cloth"]["categories"].append("knit")
    catalog["pools"] |= {"mixed": ["cloth"], "more": ["extra"]}
    catalog["detectors"] |= {"other": {"method": "patchcore"}}
    catalog["detectors"]["plain"]["sampler"]["share"] = 0.5
    study["experiments"] |= {"last": {"title": "", "train": ["cloth"]}}
    after = load()
    for name in ("clean", "pooled"):
        assert before.plan_spec(name) == after.plan_spec(name)
    assert before.plan_spec() != after.plan_spec()


@pytest.mark.parametrize("experiment", ["pooled", "crossed"])
def test_the_plan_of_an_experiment_expands_to_the_same_cells(study: Settings, load: Load, experiment: str) -> None:
    study["experiments"] |= {
        "pooled": {"title": "", "train": ["pools/mixed"], "target_domains": ["dim"]},
        "crossed": {"title": "", "train": ["parts"], "targets": ["cloth"], "calibrate_on": "target"},
    }
    checked = load()
    plan = StudyPlan.model_validate_json(checked.plan_spec(experiment))
    assert plan.cells() == {experiment: checked.cells[experiment]}


def test_equal_studies_give_equal_specs_in_any_order_of_keys(catalog: Settings, load: Load) -> None:
    before = load()
    catalog["backbones"]["waves"] = dict(reversed(catalog["backbones"]["waves"].items()))
    after = load()
    assert before.backbone_spec("waves") == after.backbone_spec("waves")
    assert before.provenance_spec() == after.provenance_spec()


def test_a_detector_cannot_ask_for_a_layer_that_its_backbone_does_not_cache(
    study: Settings, mistakes: Mistakes
) -> None:
    study["select"] |= {"backbones": ["waves", "resnet"], "detectors": ["logged"]}
    assert mistakes() == [
        "study.yaml: detector 'logged' uses layer 'first_order', which backbone 'resnet' does not cache "
        "(known: layer2, layer3): exclude this pair, or choose other layers"
    ]


def test_a_pair_that_is_excluded_need_not_fit(study: Settings, load: Load) -> None:
    study["select"] |= {"backbones": ["waves", "resnet"], "detectors": ["logged"]}
    study["experiments"]["clean"]["exclude"] = [{"backbone": "resnet", "detector": "logged"}]
    assert len(load().all_cells()) == 2


def test_wildcards_match_the_ids_and_nothing_else(catalog: Settings, load: Load) -> None:
    catalog["detectors"]["a.b"] = catalog["detectors"]["plain"]
    study = load()
    assert re.fullmatch(study.constraint("detectors"), "a.b")
    assert not re.fullmatch(study.constraint("detectors"), "axb")
    assert re.fullmatch(study.categories(), "weave")
    catalog["pools"] = {}
    assert not re.fullmatch(load().constraint("pools"), "")


def test_scripts_see_experiments_in_the_order_of_the_config(study: Settings, load: Load) -> None:
    study["experiments"] = dict.fromkeys(("zebra", "ant", "moth"), study["experiments"]["clean"])
    plan = StudyPlan.model_validate_json(load().plan_spec())
    assert list(plan.cells()) == list(load().cells) == ["zebra", "ant", "moth"]


def test_a_dataset_of_one_category_has_no_folder_level_of_categories(catalog: Settings, load: Load) -> None:
    catalog["datasets"]["tiles"] = {"adapter": "mtd", "categories": ["tile"], "folder": "magnetic"}
    assert load().image_root("tiles", "tile") == "data/magnetic"
    assert load().image_root("parts", "bolt") == "data/parts/bolt"


@pytest.fixture
def defects(catalog: Settings) -> Settings:
    """Domains of crops and synthetic defects, and thresholds that take their defects from there."""
    catalog["domains"] |= {
        "crops_plan": {"crops": {"split": "plan"}},
        "made_train_plan": {"synthesis": {"split": "plan", "part": "train"}},
        "made_val_plan": {"synthesis": {"split": "plan", "part": "val"}},
        "made_val_published": {"synthesis": {"split": "published", "part": "val"}},
    }
    for domain in ("dim", *list(catalog["domains"])[-3:]):
        catalog["thresholds"][f"from_{domain}"] = {"policy": "f1_max", "defects_from": domain}
    return catalog


@pytest.mark.parametrize("domain", ["crops_plan", "made_train_plan", "made_val_plan"])
@pytest.mark.parametrize("key", ["train_domains", "target_domains"])
def test_defects_are_never_tested_nor_taken_for_normal(
    defects: Settings, study: Settings, mistakes: Mistakes, key: str, domain: str
) -> None:
    study["experiments"]["clean"][key] = [domain]
    assert mistakes() == [
        f"study.yaml: domain '{domain}' holds defects for a positive bank or for thresholds: it can neither be scored "
        "as a target nor fit a bank of normal images"
    ]


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
    assert "made_val_plan" in load().used_domains()
    study["experiments"]["clean"] |= {"target_domains": ["dim"], "calibrate_on": "target"}
    (line,) = mistakes()
    assert "shows clean images, it cannot calibrate on domain 'dim'" in line


def test_the_rules_of_made_domains_share_no_domain(defects: Settings, load: Load) -> None:
    study = load()
    kinds = ("clean", "shift", "crops", "synthesis")
    for domain in defects["domains"]:
        assert sum(bool(re.fullmatch(study.domains_of(kind), domain)) for kind in kinds) == 1
        assert study.is_made(domain) == (domain != "clean")
    assert study.domain_split("crops_plan") == "plan"
    assert study.domain_split("dim") is None
