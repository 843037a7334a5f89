"""What the profiles say, and what a job asks for when it is tried again. tests/slurm runs profiles/slurm for real."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RULES = {
    rule
    for file in (ROOT / "rules").glob("*.smk")
    for rule in re.findall(r"^rule (\w+):", file.read_text(), re.MULTILINE)
}


@pytest.fixture(scope="module")
def slurm() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "profiles/slurm/profile.yaml").read_text())


@pytest.fixture
def checkout(make_checkout: Callable[[Path, str], Any], tmp_path: Path) -> Any:
    return make_checkout(tmp_path / "checkout", (ROOT / "tests/slurm/study.yaml").read_text())


def test_a_profile_names_only_rules_that_there_are(slurm: dict[str, Any]) -> None:
    assert len(RULES) > 30
    assert set(slurm["groups"]) <= RULES
    assert set(slurm["set-resources"]) <= RULES


def test_what_judges_a_cell_has_one_group_name_by_bank_and_target(slurm: dict[str, Any]) -> None:
    groups, components = slurm["groups"], slurm["group-components"]
    assert groups["evaluate"] == groups["decide"]
    assert groups["calibrate_threshold"].replace("{calibration_", "{target_") == groups["decide"]
    place = ("dataset", "category", "domain")
    wildcards = {*place, *(f"target_{part}" for part in place), "split", "backbone", "detector", "seed"}
    assert set(re.findall(r"{(\w+)}", groups["decide"])) == wildcards
    for rule in ("calibrate_threshold", "evaluate", "collect_experiment", "write_report"):
        assert components[groups[rule]] > 1


def test_a_profile_for_clusters_says_nothing_that_the_default_one_overrides(slurm: dict[str, Any]) -> None:
    default = yaml.safe_load((ROOT / "profiles/default/profile.yaml").read_text())
    assert default["resources"] == {"gpu": 1}
    assert slurm["set-resource-scopes"] == {"gpu": "local"}  # a limit of each submission, not of all
    assert not set(slurm) & set(default)


def test_a_job_asks_for_twice_the_memory_and_time_when_it_is_tried_again(checkout: Any) -> None:
    (checkout.folder / "workflow_scripts/generate_dataset.py").write_text("raise SystemExit('killed')")
    run = checkout.run("--cores", "1", "--retries", "2", "results/images/tiny/weave.csv")
    assert run.returncode == 1
    [log] = (checkout.folder / ".snakemake/log").glob("*.log")
    tries = r"^localrule generate_dataset:\n(?:    .*\n)*?    resources: (.*)"
    asked = re.findall(tries, log.read_text(), re.MULTILINE)
    numbers = [{name: int(number) for name, number in re.findall(r"\b(mem_mb|runtime)=(\d+)", line)} for line in asked]
    assert numbers == [{"mem_mb": 1000 * times, "runtime": 10 * times} for times in (1, 2, 4)]
