"""What the profiles say, and what a job asks for when it is tried again. tests/slurm runs profiles/slurm for real."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RULES = {
    rule: body
    for file in (ROOT / "rules").glob("*.smk")
    for rule, body in re.findall(r"^rule (\w+):\n((?:    .*\n|\n)+)", file.read_text(), re.MULTILINE)
}


@pytest.fixture(scope="module")
def slurm() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "profiles/slurm/profile.yaml").read_text())


@pytest.fixture
def checkout(make_checkout: Callable[[Path, str], Any], tmp_path: Path) -> Any:
    return make_checkout(tmp_path / "checkout", (ROOT / "tests/slurm/study.yaml").read_text())


def test_a_profile_names_only_rules_that_there_are(slurm: dict[str, Any]) -> None:
    assert len(RULES) > 30
    assert set(slurm["groups"]) <= set(RULES)
    assert set(slurm["set-resources"]) <= set(RULES)


def test_every_rule_that_may_take_a_card_has_a_place_for_its_partition(slurm: dict[str, Any]) -> None:
    takers = {rule for rule, body in RULES.items() if re.search(r"^        gpu=", body, re.MULTILINE)}
    assert {"extract_features", "extract_shard"} < takers <= set(slurm["set-resources"])
    text = (ROOT / "profiles/slurm/profile.yaml").read_text()
    for rule in takers:
        assert re.search(rf"^  {rule}:.*\n    # slurm_partition: gpu\n", text, re.MULTILINE), rule


def test_shards_and_what_they_wait_for_or_are_joined_by_are_in_no_group(slurm: dict[str, Any]) -> None:
    apart = {"extract_shard", "merge_features", "fit_representation", "choose_shard", "fit_detector"}
    assert apart <= set(RULES)
    assert not apart & set(slurm["groups"])


def test_a_shard_may_run_as_long_as_the_job_that_it_is_a_part_of(slurm: dict[str, Any]) -> None:
    minutes = {rule: resources["runtime"] for rule, resources in slurm["set-resources"].items()}
    assert minutes["extract_shard"] == minutes["extract_features"]
    assert minutes["choose_shard"] == minutes["fit_representation"] == minutes["fit_detector"]


def test_a_shard_of_an_extraction_asks_for_the_memory_and_the_card_of_the_whole(checkout: Any) -> None:
    features = "results/features/tiny/weave/clean"
    run = checkout.run(
        *("--dry-run", "--config", "device=cuda", "--"),
        *(f"{features}/tiny_scattering.h5", f"{features}/tiny_shards.h5"),
    )
    jobs = re.findall(r"^(?:local)?rule (\w+):\n(?:    .*\n)*?    resources: (.*)", run.stdout, re.MULTILINE)
    asked = [(rule, dict(re.findall(r"\b(mem_mb|gpu|runtime)=(\d+)", line))) for rule, line in jobs]
    [whole] = [resources for rule, resources in asked if rule == "extract_features"]
    assert whole["gpu"] == "1"
    assert [resources for rule, resources in asked if rule == "extract_shard"] == [whole, whole]
    assert [resources["mem_mb"] for rule, resources in asked if rule == "merge_features"] == ["1000"]


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
