"""What artifacts should say of themselves is what Snakemake plans to make them with."""

import json
import re
from collections.abc import Iterator

import pytest

from patchshift.plan import load_study
from patchshift.plan.records import Record, list_artifacts, list_records
from patchshift.plan.stages import VERSIONS
from tests.plan.rerun_planner import (
    ROOT,
    Plan,
    PlannedJob,
    apply_edit,
    opened,
    plan_jobs,
    prepare_folder,
    read_study,
)

JOINED = {"merge_features": "extract_features"}
"""Stages that write what another would have written at once."""

ON_REQUEST = "results/exports/"
OF_JOBS_ALONE = {"extract_shard", "fit_representation", "choose_shard"}
"""Stages whose files are deleted once they are joined."""


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Plan, dict[str, Record]]]:
    """Snakemake's plan of a study that has something of everything, and the records of the same study by path."""
    place = tmp_path_factory.mktemp("recorded")
    prepare_folder(place)
    with opened(place):
        settings, catalog = apply_edit(read_study(), {})
        plan = plan_jobs(place, settings, catalog)
        records = list_records(load_study(settings, "config.yaml"))
        assert len(records) == len({record.path for record in records})
        yield plan, {record.path: record for record in records}


def described(job: PlannedJob, path: str) -> Record:
    """What the script of a planned job writes into a file of its own."""
    stage = JOINED.get(job.stage, job.stage)
    spec = job.params.get("settings" if stage == "write_data_card" else "spec", "null")
    more = {
        "fit_detector": lambda: {"seed": int(job.wildcards["seed"])},
        "calibrate_threshold": lambda: {"smoothing_sigma": float(job.params["smoothing"])},
        "trace_attention": lambda: {"choice": json.loads(job.params["choice"])},
    }.get(stage, dict)()
    return Record(path, stage, spec, json.dumps(more, separators=(",", ":")))


def test_every_stage_whose_script_describes_what_it_makes_has_records(
    planned: tuple[Plan, dict[str, Record]],
) -> None:
    describing = {
        path.stem
        for path in (ROOT / "workflow_scripts").glob("*.py")
        if re.search(r"\b(?:describe|note_origin|merge_shards)\(", path.read_text(encoding="utf-8"))
    }
    recorded = {record.stage for record in planned[1].values()}
    assert recorded == {JOINED.get(stage, stage) for stage in describing - OF_JOBS_ALONE}
    downloads = {"fetch_dataset", "fetch_weights"}  # leave receipts
    assert set(VERSIONS) - OF_JOBS_ALONE - set(JOINED) - downloads <= recorded


def test_records_are_those_of_the_plan(planned: tuple[Plan, dict[str, Record]]) -> None:
    plan, records = planned
    stages = {record.stage for record in records.values()} | set(JOINED)
    expected = {
        path: described(job, path)
        for path, job in plan.items()
        if job.stage in stages and not path.endswith(".html") and ".shards/" not in path
    }
    on_request = {path: record for path, record in records.items() if path.startswith(ON_REQUEST)}
    assert {**records} == {**on_request, **expected}
    assert {path for path in expected if path.startswith(ON_REQUEST)}


def test_what_a_study_can_make_is_what_snakemake_plans_but_for_what_is_deleted_and_downloads(
    planned: tuple[Plan, dict[str, Record]],
) -> None:
    """So that each of these paths can be asked of it."""
    settings, _ = apply_edit(read_study(), {})
    known, plan = set(list_artifacts(load_study(settings, "config.yaml"))), set(planned[0])
    assert {path for path in plan - known if ".shards/" not in path and not path.endswith(".receipt.json")} == set()
    cells = ("results/exports/", "results/predicted/", "results/studies/sink/heatmaps/")  # one of each is planned
    assert {path for path in known - plan if not path.startswith(cells)} == set()
    assert all(any(path.startswith(start) for path in known & plan) for start in cells)


def test_a_record_knows_the_version_of_its_stage() -> None:
    assert Record("a", "fit_detector", "null").version == str(VERSIONS["fit_detector"])
    assert re.fullmatch("[0-9a-f]{12}", Record("a", "evaluate", "null").version)


def test_upstream_stands_before_what_is_made_from_it(planned: tuple[Plan, dict[str, Record]]) -> None:
    order = list(dict.fromkeys(record.stage for record in planned[1].values()))
    for first, second in (
        ("generate_dataset", "index_images"),
        ("index_images", "split_images"),
        ("split_images", "turn_images"),
        ("extract_features", "fit_detector"),
        ("fit_detector", "score_images"),
        ("score_images", "calibrate_threshold"),
    ):
        assert order.index(first) < order.index(second)
