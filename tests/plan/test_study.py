import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from patchshift.plan import Study
from patchshift.plan.detector_specs import PatchCoreSpec
from patchshift.plan.experiments import StudyPlan
from patchshift.plan.provenance import provenance_spec

Settings = dict[str, Any]
Load = Callable[[], Study]
Mistakes = Callable[[], list[str]]

HEAVY = {"numpy", "torch", "torchvision", "timm", "sklearn", "skimage", "scipy", "pandas", "h5py", "PIL", "matplotlib"}


IMPORT = re.compile(r"^from patchshift[\w. ]+import (?:\([^)]*\)|[^(\n]+)$", re.MULTILINE)


def test_planning_imports_nothing_heavy(repository: Path) -> None:
    """All that the Snakefile and its rules import, in a fresh interpreter."""
    rules = [repository / "Snakefile", *(repository / "rules").glob("*.smk")]
    lines = {line for path in rules for line in IMPORT.findall(path.read_text())}
    assert any("patchshift.plan" in line for line in lines)
    program = "\n".join([*sorted(lines), "import sys, json; print(json.dumps(list(sys.modules)))"])
    path = str(repository / "workflow_scripts")
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, env={"PYTHONPATH": path}, check=True)
    assert not {name.partition(".")[0] for name in json.loads(output.stdout)} & HEAVY


def test_a_bank_does_not_depend_on_how_images_are_scored(load: Load) -> None:
    study = load()
    assert study.fit_spec("plain") == study.fit_spec("top")
    assert study.score_spec("plain") != study.score_spec("top")
    assert PatchCoreSpec.model_validate_json(study.fit_spec("top")).fit_spec() == study.fit_spec("top")
    assert "image_score" not in study.fit_spec("top")


def test_scores_do_not_depend_on_the_sampler_beside_the_bank(load: Load) -> None:
    study = load()
    assert study.score_spec("plain") == study.score_spec("logged")
    assert set(json.loads(study.score_spec("plain"))) == {
        "image_score",
        "anomaly_map",
        "combination",
        "chunk_mb",
        "threads",
    }


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
    assert provenance_spec(before) == provenance_spec(after)


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
