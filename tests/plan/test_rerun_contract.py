"""What runs again after an edit of a config: the table of docs/reruns.md, key by key, against Snakemake's own plan."""

import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from patchshift.plan import stages
from patchshift.plan.catalog import Catalog
from patchshift.plan.documentation import SECTIONS
from patchshift.plan.study import StudyConfig
from tests.plan.rerun_planner import (
    STAGES,
    Plan,
    apply_edit,
    changed_stages,
    opened,
    plan_jobs,
    prepare_folder,
    read_edits,
    read_study,
)
from tests.plan.rerun_table import read_contract, table_rows, write_row


def reachable_models(kind: Any) -> Iterator[type[BaseModel]]:
    """The models inside a type, whatever lists, dicts and unions stand between."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
        for field in kind.model_fields.values():
            yield from reachable_models(field.annotation)
    elif get_origin(kind) in (Union, types.UnionType, Annotated, list, dict, tuple) and get_origin(kind) is not Literal:
        for part in get_args(kind):
            yield from reachable_models(part)


EDITS = read_edits()
CONTRACT = read_contract()
KEYS = [(section, key) for section, model in SECTIONS for key in model.model_fields]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working folder of a study that has something of everything."""
    place = tmp_path_factory.mktemp("planned")
    prepare_folder(place)
    with opened(place):
        yield place


@pytest.fixture(scope="module")
def planned(folder: Path) -> Plan:
    """Its jobs before any edit."""
    return plan_jobs(folder, *apply_edit(read_study(), {}))


def test_every_model_of_the_config_has_a_section() -> None:
    inherited = {"Ids"}  # of a study's `add`: in the catalog's section
    named = {model.__name__ for _, model in SECTIONS} | inherited
    assert {model.__name__ for root in (StudyConfig, Catalog) for model in reachable_models(root)} <= named


def test_every_key_of_the_config_has_a_row_and_an_edit() -> None:
    rows, edits = set(CONTRACT), {(section, key) for section, keys in EDITS.items() for key in keys}
    assert set(KEYS) - rows == set(), "say in docs/reruns.md, 'Every key', which rules an edit of these changes"
    assert set(KEYS) - edits == set(), "add an edit of each to tests/plan/reruns/edits.yaml"
    assert rows == edits == set(KEYS), "docs/reruns.md or tests/plan/reruns/edits.yaml knows keys that are gone"


def test_the_edited_study_has_jobs_of_every_stage(planned: Plan) -> None:
    assert {job.stage for job in planned.values()} == STAGES


@pytest.mark.parametrize("section", EDITS)
def test_an_edit_changes_the_rules_that_the_page_names(folder: Path, planned: Plan, section: str) -> None:
    wrong = []
    for key, edit in EDITS[section].items():
        changed = changed_stages(planned, plan_jobs(folder, *apply_edit(read_study(), edit)))
        if changed != CONTRACT[section, key]:
            wrong.append(write_row(section, [key], changed))
    assert wrong == [], "docs/reruns.md, 'Every key', should read so, if this is meant"


def test_each_edit_is_one_that_counts() -> None:
    """No edit leaves the study as it was."""
    study = apply_edit(read_study(), {})
    assert [
        place for keys in EDITS.values() for place in keys.items() if apply_edit(read_study(), place[1]) == study
    ] == []


TOLD = {
    "extract_features": {"extract_shard", "merge_features"},
    "extract_shard": {"merge_features"},
    "fit_representation": {"choose_shard", "fit_detector"},
    "choose_shard": {"fit_detector"},
}
"""Stages of shards, and of what is joined from them -> the stages that are told their version."""


@pytest.mark.parametrize("stage", stages.VERSIONS)
def test_a_raised_version_changes_all_jobs_of_its_stage_and_no_other(
    folder: Path, planned: Plan, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(stages.VERSIONS, stage, stages.VERSIONS[stage] + 1)
    stages.stage_version.cache_clear()
    try:
        after = plan_jobs(folder, *apply_edit(read_study(), {}))
    finally:
        stages.stage_version.cache_clear()
    assert changed_stages(planned, after) == {stage, *TOLD.get(stage, ())}
    same = {job.stage for path, job in after.items() if job.compared == planned[path].compared}
    assert stage not in same


def test_the_page_names_rules_and_keys_that_exist() -> None:
    keys = {key for _, key in KEYS}
    for edit, runs in table_rows("## What an edit runs, in words"):
        assert set(re.findall(r"`([a-z]+_[a-z_]+)`", runs)) <= STAGES | keys, runs
        assert set(re.findall(r"`([a-z_]+)`", edit)) <= keys, edit
