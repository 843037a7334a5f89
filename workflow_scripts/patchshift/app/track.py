"""Copy a study's results to MLflow: one run per bank and target, with settings, metrics and the paths of artifacts.

Tested in tests/app/test_track.py.
"""

import argparse
import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from patchshift.app.check import find_config, find_study
from patchshift.app.rebuild import tell_run
from patchshift.errors import UserError
from patchshift.plan.base import canonical_json
from patchshift.plan.cells import Cell
from patchshift.plan.provenance import provenance_spec
from patchshift.plan.study import Study
from patchshift.runtime.files import digest_bytes

if TYPE_CHECKING:
    from mlflow import MlflowClient

KEY, DIGEST, SUPERSEDED = "patchshift.key", "patchshift.digest", "patchshift.superseded"
"""Tags of a run: whose results it has, the digest of all that it has, and that a later run has others."""

LONGEST = 5000
"""Characters of a tag or a parameter; MLflow takes up to 6000 of a parameter, and 8000 of a tag."""

BATCH = 100
"""Parameters, tags or metrics that MLflow takes at a time."""

INSTALL = "pip install --constraint constraints.txt --editable '.[tracking]'"


@dataclass(frozen=True)
class TrackedRun:
    """The results of one bank on one target.

    Attributes:
        key: `<bank>/on/<target>`, as in paths.
        params: what was set, a name for each setting.
        metrics: name -> value; ends of intervals are `{name}_low` and `{name}_high`. Those of decisions stand under
            `{policy}/{calibration}/`.
        tags: in which experiments it stands, paths of artifacts, and why metrics are undefined.
        time: when the ranking metrics were computed, in milliseconds.
    """

    key: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    time: int

    @property
    def digest(self) -> str:
        """Of all but the time."""
        return digest_bytes(canonical_json([self.key, self.params, self.metrics, self.tags]).encode())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("study", help="the study's name, or its config file")
    parser.add_argument(
        "--to", default="results/tracking", help="a folder, or an address that MLflow knows; default: %(default)s"
    )


def run(args: argparse.Namespace) -> None:
    """Copy what is not there yet, and say how much that was.

    Raises:
        UserError: if MLflow is not installed or cannot write there, or the study has not been run as it is now.
    """
    config = find_config(args.study)
    study = find_study(str(config))
    runs = list(read_runs(study, tell_run(config)))
    new, superseded = track(runs, study.name, args.to)
    print(f"{args.to}, experiment {study.name}: {new} new, {len(runs) - new} there already, {superseded} superseded")


def read_runs(study: Study, command: str) -> Iterator[TrackedRun]:
    """The results of a finished study, in the order of its cells.

    Args:
        study: the study.
        command: what runs it, for messages.

    Raises:
        UserError: if there are none of some cell.
    """
    from patchshift.report.keys import METRICS_COLUMNS, cell_keys
    from patchshift.report.results import read_rows  # seconds that --help need not take

    table = Path(study.folder, "metrics.csv")
    if not table.is_file():
        raise UserError(f"{table} does not exist: run the study first ({command})")
    rows = defaultdict(list)
    for row in read_rows(table):
        rows[tuple(text for column, text in row.items() if column not in METRICS_COLUMNS)].append(row)
    cells: dict[str, dict[Cell, list[str]]] = defaultdict(dict)
    for experiment, members in study.cells.items():
        for cell in members:
            cells[f"{cell.bank.path}/on/{cell.target.path}"].setdefault(cell, []).append(experiment)
    used = json.loads(provenance_spec(study))
    for key, decided in cells.items():
        first = next(iter(decided))
        groups = [("", cell_keys(first, ranking=True))]
        groups += [
            (f"{cell.threshold}/{cell.calibration.path.replace('/', '.')}/", cell_keys(cell)) for cell in decided
        ]
        metrics: dict[str, float] = {}
        tags: dict[str, str] = {}
        for prefix, keys in groups:
            found = rows[tuple(str(value) for value in keys.values())]
            if not found:
                raise UserError(f"{table} has nothing of {key}: run the study again ({command})")
            for row in found:
                name = prefix + row["metric"].replace("/", ".")  # or a metric would also be a folder of others
                ends = {name: row["value"], f"{name}_low": row["low"], f"{name}_high": row["high"]}
                metrics |= {each: float(text) for each, text in ends.items() if text}
                if row["undefined"]:
                    tags[f"undefined.{name}"] = row["undefined"]
        experiments = [name for names in decided.values() for name in names]
        tags["experiments"] = ", ".join(name for name in study.cells if name in experiments)
        artifacts = dict.fromkeys(path for cell in decided for path in cell.artifacts)
        tags |= {f"artifact.{number:02d}": path for number, path in enumerate(artifacts)}
        time = Path(first.metrics).stat().st_mtime_ns // 1_000_000 if Path(first.metrics).is_file() else 0
        yield TrackedRun(key, _describe(list(decided), used), metrics, {k: _cut(v) for k, v in tags.items()}, time)


def _describe(cells: list[Cell], used: Mapping[str, Any]) -> dict[str, str]:
    """The parameters of a run: what names it, and every setting of what it names."""
    bank, target = cells[0].bank, cells[0].target
    named = {"train": bank.training.path, "target": target.path, "split": bank.split, "backbone": bank.backbone}
    named |= {"weights": bank.weights, "detector": bank.detector, "seed": str(bank.seed)}
    settings = {"evaluation": used["evaluation"]}
    for role, kind, name in (
        *(("split", "splits", bank.split), ("backbone", "backbones", bank.backbone)),
        *(("detector", "detectors", bank.detector), ("train_domain", "domains", bank.training.domain)),
        ("target_domain", "domains", target.domain),
        *((f"threshold.{cell.threshold}", "thresholds", cell.threshold) for cell in cells),
    ):
        settings[role] = used[kind].get(name, {})
    return named | dict(_flatten("", settings))


def _flatten(prefix: str, settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flatten(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", _cut(value if isinstance(value, str) else json.dumps(value))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def track(runs: list[TrackedRun], experiment: str, to: str) -> tuple[int, int]:
    """Add the runs that are not there, and mark those that they supersede; what is there is not touched otherwise.

    Args:
        runs: the results.
        experiment: MLflow's name for them all.
        to: a folder, or an address that MLflow knows.

    Returns:
        How many were added, and how many are superseded by them.

    Raises:
        UserError: if MLflow is not installed, or cannot write there.
    """
    address = to if "://" in to else Path(to).absolute().as_uri()
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing but the results goes anywhere
    if address.startswith("file:"):
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # refused since 3.13 without
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError:
        raise UserError(f"mlflow is not installed: {INSTALL}") from None
    try:
        return _add_runs(MlflowClient(address), runs, experiment)
    except (MlflowException, ImportError, OSError) as error:
        raise UserError(f"cannot track to {to}: {str(error).splitlines()[0]}") from error


def _add_runs(client: "MlflowClient", runs: list[TrackedRun], experiment: str) -> tuple[int, int]:
    found = client.get_experiment_by_name(experiment)
    place = found.experiment_id if found else client.create_experiment(experiment)
    there: dict[str, dict[str, Any]] = defaultdict(dict)
    token = None
    while token != "":
        page = client.search_runs([place], page_token=token)
        token = page.token or ""
        for one in page:
            if one.info.status == "FINISHED":
                there[one.data.tags.get(KEY, "")][one.data.tags.get(DIGEST, "")] = one
            elif KEY in one.data.tags:  # of a call that was interrupted
                client.delete_run(one.info.run_id)
    new = superseded = 0
    for tracked in runs:
        if tracked.digest not in there[tracked.key]:
            _add_run(client, tracked, place)
            new += 1
        for digest, one in there[tracked.key].items():
            if digest == tracked.digest and SUPERSEDED in one.data.tags:  # results are as they once were
                client.delete_tag(one.info.run_id, SUPERSEDED)
            elif digest != tracked.digest and SUPERSEDED not in one.data.tags:
                client.set_tag(one.info.run_id, SUPERSEDED, tracked.digest)
                superseded += 1
    return new, superseded


def _add_run(client: "MlflowClient", tracked: TrackedRun, place: str) -> None:
    from mlflow.entities import Metric, Param, RunTag

    identity = {KEY: tracked.key, DIGEST: tracked.digest}
    made = client.create_run(place, start_time=tracked.time, tags=identity, run_name=tracked.key).info.run_id
    params = [Param(*pair) for pair in tracked.params.items()]
    tags = [RunTag(*pair) for pair in tracked.tags.items()]
    metrics = [Metric(name, value, tracked.time, 0) for name, value in tracked.metrics.items()]
    for start in range(0, max(len(params), len(tags), len(metrics)), BATCH):
        part = slice(start, start + BATCH)
        client.log_batch(made, metrics=metrics[part], params=params[part], tags=tags[part])
    client.set_terminated(made, end_time=tracked.time)
