"""What a run leaves behind whether it succeeded or not: `summary.json`, `run.log`, `manifest.json` and `rules.csv` of
the study.

Called by Snakemake's handlers, so it imports nothing heavy. Tested in tests/runtime/test_summary.py.
"""

import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from patchshift.errors import UserError
from patchshift.plan import Study, licences_to_show, missing_inputs, record_ids
from patchshift.plan.inputs import FORWARD
from patchshift.runtime.files import write_json, write_text
from patchshift.runtime.jobs import Job, find_behind
from patchshift.runtime.manifest import update_manifest
from patchshift.runtime.pace import count_images
from patchshift.runtime.provenance import LIBRARIES
from patchshift.runtime.rule_costs import read_benchmark, sum_up_rules
from patchshift.runtime.run_log import weave_log

LOGS = Path("results/logs")

VERSIONS = ("patchshift", "snakemake", *LIBRARIES.values(), "matplotlib", "pandas")
"""The distributions whose versions the summary tells, where they are installed."""


def start_run(study: Study, jobs: Iterable[tuple[str, Mapping[str, str]]], log: Path) -> None:
    """Refuse a run that lacks what only the user can bring; record the ids that the study adds.

    Args:
        study: what is to run.
        jobs: rule and wildcards of each job that is to run.
        log: Snakemake's log of this run.

    Raises:
        UserError: naming all folders and files that are missing, or a results folder that cannot be written.
    """
    jobs = list(jobs)
    missing = missing_inputs(study, jobs)
    if missing:
        finish_run(study, log, failed=True)
        raise UserError("\n  ".join(["this study needs what is not there:", *missing]))
    record_ids(study, write_json)
    for line in licences_to_show(study, jobs):
        print(line, file=sys.stderr)


def finish_run(study: Study, log: Path, *, failed: bool, jobs: Sequence[Job] = ()) -> str:
    """Write the summary, the log, the manifest and the costs of a run.

    Args:
        study: what ran.
        log: Snakemake's log of this run, in order of time.
        failed: whether a job failed.
        jobs: of the run; none where it never started.

    Returns:
        What to tell the user: the results table and the report's path, or where to look.
    """
    folder = Path(study.folder)
    # Snakemake names its log after the moment the run started.
    started = datetime.strptime(log.name.split(".")[0], "%Y-%m-%dT%H%M%S").astimezone(UTC)
    told = weave_log(log.read_text(encoding="utf-8", errors="replace"), jobs)
    for name in (f"run_{started:%Y%m%d_%H%M%S}.log", "run.log"):
        write_text(folder / name, told)
    artifacts = update_manifest(folder / "manifest.json", jobs)
    write_text(folder / "rules.csv", sum_up_rules(artifacts.values()))
    experiments = [_experiment(study, name, failed, jobs, artifacts) for name in study.cells]
    images = _images_through_backbones(started.timestamp())
    write_json(
        folder / "summary.json",
        {
            "study": study.name,
            "status": "failed" if failed else "finished",
            "execution_timestamp": started.isoformat(timespec="seconds"),
            "duration_seconds": round((datetime.now(UTC) - started).total_seconds(), 1),
            "total_experiments": len(experiments),
            "successful": sum(experiment["status"] == "finished" for experiment in experiments),
            "failed": sum(experiment["status"] == "failed" for experiment in experiments),
            "failed_jobs": [_describe_failure(job) for job in jobs if job.failed],
            "images_through_backbones": images,
            "experiments": experiments,
            "report": f"{study.folder}/report.html",
            "versions": {"python": platform.python_version(), **_list_versions()},
        },
    )
    if failed:
        return f"\nThe run failed: see {folder}/run.log. Finished artifacts are kept; run again to go on."
    report = folder / "report.html"
    if not report.exists() or report.stat().st_mtime < started.timestamp():  # single artifacts were asked for
        return ""
    table = (folder / "results.txt").read_text(encoding="utf-8")
    return f"\n{table}\nImages passed through a backbone in this run: {images}\nReport: {report}"


def _list_versions() -> dict[str, str]:
    found = {}
    for name in VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # an optional one
            continue
    return found


def _images_through_backbones(started: float) -> int:
    """How many forward passes this run's jobs made: their logs are those written since it started."""
    logs = (path for rule in FORWARD for path in (LOGS / rule).rglob("*.log") if path.stat().st_mtime >= started)
    return sum(count_images(path.read_text(encoding="utf-8", errors="replace")) for path in logs)


def _experiment(
    study: Study, name: str, failed: bool, jobs: Sequence[Job], artifacts: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    results = f"{study.folder}/experiments/{name}/results.csv"
    needed = [results, *(artifact for cell in study.cells[name] for artifact in cell.artifacts)]
    behind = find_behind(jobs, results)
    failures = [_describe_failure(job) for job in behind if job.failed]
    # Snakemake deletes the outputs of a job when it starts and when it fails, but not what was made from them before.
    finished = not failures and all(Path(path).exists() for path in needed)
    figures = [read_benchmark(Path(job.benchmark)) for job in behind if job.benchmark]
    return {
        "name": name,
        "title": study.config.experiments[name].title,
        "status": "finished" if finished else "failed" if failed else "not run",
        "results_file": results,
        "results_sha256": artifacts[results]["sha256"] if results in artifacts else None,
        "jobs": len(behind) or None,
        "duration_seconds": round(sum(each["seconds"] for each in figures if each), 1) if behind else None,
        "failed_jobs": failures,
    }


def _describe_failure(job: Job) -> dict[str, Any]:
    return {"rule": job.stage, "output": next(iter(job.outputs), ""), "log": list(job.logs), "reason": job.reason}
