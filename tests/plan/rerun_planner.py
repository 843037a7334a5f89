"""Which jobs an edit of a config changes, asked of Snakemake itself in this process.

Each plan loads the Snakefile anew, as a run does. Nothing runs, and no record of an earlier run is needed: two plans
are compared by what Snakemake compares with its records, which are parameters and inputs.
"""

import copy
import functools
import gc
import multiprocessing
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas  # noqa: F401 (else the Snakefile would hide it from the tests that follow in this process)
import yaml
from snakemake.api import SnakemakeApi
from snakemake.parser import parse
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, Quietness, ResourceSettings

from patchshift.plan.catalog import KINDS
from patchshift.plan.stages import SOURCES, VERSIONS

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent / "reruns"
CATALOG = {"domains": {"clean": {"shift": "none"}}, "evaluation": {"smoothing_sigma": 4.0}}
STAGES = {*VERSIONS, *SOURCES}

BANK, CALIBRATION = "drawn/weave/clean/plan/{}/plain/seed0", "from/drawn/weave/clean/best"
TARGETS = (
    "all",
    f"results/predicted/{BANK.format('waves')}/{CALIBRATION}",
    f"results/exports/{BANK.format('looked')}/{CALIBRATION}.h5",
    f"results/studies/{{study}}/heatmaps/{BANK.format('waves')}/on/drawn/weave/clean/{CALIBRATION}",
)

Settings = dict[str, Any]


@dataclass(frozen=True)
class PlannedJob:
    """What Snakemake compares of the job that makes a file, and what its script is told.

    Attributes:
        stage: the rule; of a batch, the rule whose work it does.
        compared: its command, parameters without those that depend on its outputs, and inputs.
        wildcards: name -> value.
        params: name -> value.
    """

    stage: str
    compared: tuple[str, tuple[str, ...], tuple[str, ...]]
    wildcards: Mapping[str, str]
    params: Mapping[str, Any]


Plan = dict[str, PlannedJob]
"""Path of each file and folder -> the job that makes it."""


@functools.cache
def read_study() -> Settings:
    """The study that has something of everything; not to be changed."""
    return yaml.safe_load((HERE / "study.yaml").read_text(encoding="utf-8"))


def read_edits() -> dict[str, dict[str, Settings]]:
    """Section of docs/config.md -> key -> an edit that is about it."""
    return yaml.safe_load((HERE / "edits.yaml").read_text(encoding="utf-8"))


def prepare_folder(folder: Path) -> None:
    """What a finished run would find: data, weights, receipts of downloads; and the same in places to move to."""
    for name in ("new", "newer", "photographed", "moved", "crops", "cut", "defects/images", "flaws/images"):
        (folder / "data" / name).mkdir(parents=True)
        (folder / "data" / name / "000.png").write_bytes(b"")
    for name in ("other", "another"):
        table = folder / f"data/scores/{name}/drawn/weave/clean.csv"
        table.parent.mkdir(parents=True)
        table.write_text("image,score\n")
    (folder / "data/photographed.receipt.json").write_text("{}")
    (folder / "weights").mkdir()
    for name in ("vit.safetensors", "vit.safetensors.receipt.json", "vit2.safetensors", "own.pt", "own2.pt"):
        (folder / "weights" / name).write_text("{}")
    (folder / "elsewhere").symlink_to("data")
    (folder / "heavy").symlink_to("weights")
    (folder / "config.yaml").write_text("study: sink\n")
    for path in ("configs/catalog.yaml", "other/catalog.yaml"):
        (folder / path).parent.mkdir()
        (folder / path).write_text(yaml.safe_dump(CATALOG))


def apply_edit(study: Settings, edit: Mapping[str, Any]) -> tuple[Settings, Settings]:
    """The study and the catalog after an edit; `None` takes a key away."""
    study, catalog = copy.deepcopy(study), copy.deepcopy(CATALOG)
    for place, value in edit.items():
        kind, *rest = place.split("/")
        inner: Settings = study
        path = [kind, *rest]
        if kind == "catalog" and rest:
            inner, path = catalog, rest
        elif kind in KINDS:
            inner = study["add"]
        *parents, last = path
        for key in parents:
            inner = inner.setdefault(key, {})
        if value is None:
            del inner[last]
        else:
            inner[last] = value
    return study, catalog


def plan_jobs(folder: Path, study: Settings, catalog: Settings) -> Plan:
    """What makes all of a study, from nothing.

    In a process of its own, as Snakemake holds on to each plan: a few hundred of them are gigabytes that Python looks
    through again and again.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork"), gc.disable) as process:
        return process.submit(_plan_jobs, folder, study, catalog).result()


def _plan_jobs(folder: Path, study: Settings, catalog: Settings) -> Plan:
    (folder / "configs/catalog.yaml").write_text(yaml.safe_dump(catalog))
    targets = {target.format(study=study["study"]) for target in TARGETS}
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        loaded = api.workflow(
            resource_settings=ResourceSettings(cores=2),
            config_settings=ConfigSettings(config=study),
            snakefile=ROOT / "Snakefile",
            workdir=folder,
        )
        loaded.dag(DAGSettings(targets=targets, forceall=True))
        workflow = loaded._workflow  # what `--dry-run` does, without what it prints
        workflow._prepare_dag(forceall=True, ignore_incomplete=True, lock_warn_only=True, nolock=True)
        workflow._build_dag()
        jobs = [(job, _describe(job)) for job in workflow.dag.jobs]
    return {str(path): planned for job, planned in jobs if planned.stage in STAGES for path in job.output}


def changed_stages(before: Plan, after: Plan) -> set[str]:
    """The stages with files that another command, other parameters or inputs make, or that are new and not there."""
    return {
        job.stage
        for path, job in after.items()
        if (before[path].compared != job.compared if path in before else not Path(path).exists())
    }


def _describe(job: Any) -> PlannedJob:
    batched = job.rule.name not in STAGES and any(path.startswith("results/features/") for path in map(str, job.output))
    parameters, inputs = sorted(map(repr, job.non_derived_params)), sorted(map(str, job.input))
    return PlannedJob(
        stage="extract_features" if batched else job.rule.name,
        compared=(str(job.rule.shellcmd), tuple(parameters), tuple(inputs)),
        wildcards=dict(job.wildcards_dict),
        params=dict(job.params.items()),
    )


@contextmanager
def opened(folder: Path) -> Iterator[None]:
    """Work in a folder; the sources are parsed once for all plans, and no environment of conda is looked at."""
    environment = dict(os.environ)
    parsed: dict[tuple[str, int], tuple[Any, dict[int, int]]] = {}

    def parse_once(path: Any, workflow: Any, linemap: dict[int, int], rulecount: int = 0) -> Any:
        key = (path.get_path_or_uri(secret_free=True), rulecount)
        if key not in parsed:
            lines: dict[int, int] = {}
            parsed[key] = parse(path, workflow, lines, rulecount=rulecount), lines
        linemap.update(parsed[key][1])
        return parsed[key][0]

    once, none = (
        patch("snakemake.workflow.parse", parse_once),
        patch("snakemake.dag.DAG.update_conda_envs", lambda _: None),
    )
    with chdir(folder), once, none:
        try:
            _plan_jobs(folder, read_study(), CATALOG)  # so that all who plan after it find the sources parsed
            yield
        finally:
            os.environ.clear()
            os.environ.update(environment)
