"""What docs/reruns.md promises, through Snakemake itself on a finished study: edits of config, versions and code."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from patchshift.plan.stages import VERSIONS
from tests.plan.rerun_table import read_contract

CONTRACT = read_contract()
CATALOG = "configs/catalog.yaml"

ITSELF = r"(?:Params have changed|Set of input files has changed|Code has changed|Missing output files)"
"""Why a job runs that does not follow from another; of one that does, Snakemake says no more than that."""


@pytest.fixture(scope="module")
def copied(finished_tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return finished_tiny.copy(tmp_path_factory.mktemp("reruns") / "checkout")


@pytest.fixture(scope="module")
def rules(copied: Any) -> set[str]:
    """All rules that the study has jobs of."""
    return set(plan(copied, "--forceall"))


@pytest.fixture
def checkout(copied: Any) -> Iterator[Any]:
    """The finished study, to edit; what was edited is as before afterwards."""
    paths = [copied.folder / "config.yaml", *(copied.folder / "configs").rglob("*.yaml")]
    paths += (copied.folder / "workflow_scripts").rglob("*.py")
    before = {path: path.read_bytes() for path in paths}
    yield copied
    for path, content in before.items():
        if path.read_bytes() != content:
            path.write_bytes(content)


def plan(checkout: Any, *arguments: str) -> dict[str, list[str]]:
    """Rule -> why each of its jobs would run."""
    output = checkout.run("--dry-run", *arguments, "all").stdout
    jobs = re.findall(r"^(?:local)?rule (\w+):\n(?:    \w+:.*\n)*?    reason: (.*)$", output, re.MULTILINE)
    planned: dict[str, list[str]] = {}
    for rule, reason in jobs:
        planned.setdefault(rule, []).append(reason)
    return {rule: reasons for rule, reasons in planned.items() if rule != "all"}


def directly(planned: dict[str, list[str]]) -> set[str]:
    return {rule for rule, reasons in planned.items() if any(re.search(ITSELF, reason) for reason in reasons)}


@pytest.mark.parametrize(
    ("section", "key", "file", "old", "new"),
    [
        ("`splits.{id}`", "train_contamination", "config.yaml", "share: 0.3}", "share: 0.3, train_contamination: 0.2}"),
        ("`domains.{id}`", "severity", "config.yaml", "moderate", "1.5"),
        ("`detectors.{id}.sampler`", "share", "config.yaml", "{share: 0.1}", "{share: 0.2}"),
        ("`thresholds.{id}`", "quantile", "config.yaml", "quantile: 0.9", "quantile: 0.8"),
        ("`evaluation`", "smoothing_sigma", CATALOG, "smoothing_sigma: 4.0", "smoothing_sigma: 3.0"),
        ("`analysis`", "cases", "config.yaml", "add:\n", "analysis: {cases: 2}\nadd:\n"),
    ],
)
def test_an_edit_runs_the_rules_that_the_page_names_and_what_follows_from_them(
    rules: set[str], checkout: Any, section: str, key: str, file: str, old: str, new: str
) -> None:
    checkout.edit(file, old, new)
    planned = plan(checkout)
    named = CONTRACT[section, key] & rules
    assert named <= planned.keys()
    assert directly(planned), "something runs for the edit itself"
    assert directly(planned) <= named  # all others follow from these
    assert planned.keys() < rules


def test_a_raised_version_makes_its_stage_run_and_what_follows(checkout: Any) -> None:
    number = VERSIONS["score_images"]
    checkout.edit(
        "workflow_scripts/patchshift/plan/stages.py", f'"score_images": {number}', f'"score_images": {number + 1}'
    )
    planned = plan(checkout)
    assert directly(planned) == {"score_images"}
    assert {"evaluate", "calibrate_threshold", "decide", "collect_study", "write_report"} <= planned.keys()
    assert not {"fit_detector", "extract_features", "split_images", "pack_images"} & planned.keys()


def test_cosmetic_edits_of_code_and_of_the_style_of_figures_run_no_costly_stage(checkout: Any) -> None:
    library = checkout.folder / "workflow_scripts/patchshift"
    for path in library.rglob("*.py"):
        path.write_text(f"{path.read_text()}\n# A remark.\n")
    style = library / "report/style.py"
    style.write_text(f"{style.read_text()}\nEDITED = True\n")
    planned = plan(checkout)
    assert not planned.keys() & VERSIONS.keys()
    assert {"plot_experiment", "write_report"} <= planned.keys()


def test_docs_comments_and_order_of_keys_run_nothing(checkout: Any) -> None:
    (checkout.folder / "docs").mkdir(exist_ok=True)
    (checkout.folder / "docs/reruns.md").write_text("# Edited\n")
    config = Path(checkout.folder / "config.yaml")
    head, *others = re.split(r"^(?=select:|experiments:)", config.read_text(), flags=re.MULTILINE)
    config.write_text(f"# A remark.\n{head}{''.join(reversed(others))}")
    assert plan(checkout) == {}
