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
from patchshift.runtime.clock import date_back
from patchshift.runtime.files import write_json, write_text
from patchshift.runtime.jobs import Job, excuse_stopped, find_behind, is_stopped
from patchshift.runtime.manifest import update_manifest
from patchshift.runtime.pace import count_images
from patchshift.runtime.provenance import LIBRARIES
from patchshift.runtime.rule_costs import read_benchmark, sum_up_rules
from patchshift.runtime.run_log import weave_log

LOGS = Path("results/logs")

VERSIONS = ("patchshift", "snakemake", *LIBRARIES.values(), "matplotlib", "pandas")
"""The distributions whose versions the summary tells, where they are installed."""


def start_run(
    study: Study,
    jobs: Iterable[tuple[str, Mapping[str, str]]],
    log: Path,
    inputs: Iterable[str] = (),
    logs: Iterable[str] = (),
) -> None:
    """Refuse a run that lacks what only the user can bring; record the ids that the study adds, and that it runs.

    A run that is killed leaves `running` in its summary, in place of what the run before it was. A job that dies before
    it writes a word, as on a node that fails, leaves no log rather than that of an earlier run.

    Args:
        study: what is to run.
        jobs: rule and wildcards of each job that is to run.
        log: Snakemake's log of this run.
        inputs: paths of what these jobs read.
        logs: paths of what these jobs wrote in earlier runs; they are removed.

    Raises:
        UserError: naming all folders and files that are missing, or a results folder that cannot be written.
    """
    jobs = list(jobs)
    missing = missing_inputs(study, jobs)
    if missing:
        refusal = UserError("\n  ".join(["this study needs what is not there:", *missing]))
        finish_run(study, log, failed=True, reason=str(refusal))
        raise refusal
    record_ids(study, write_json)
    for earlier in logs:
        Path(earlier).unlink(missing_ok=True)
    _write_summary(study, _start_of(log), "running", [], {}, None)
    for line in filter(None, (*licences_to_show(study, jobs), date_back(inputs))):
        print(line, file=sys.stderr)


def finish_run(study: Study, log: Path, *, failed: bool, jobs: Sequence[Job] = (), reason: str | None = None) -> str:
    """Write the summary, the log, the manifest and the costs of a run.

    Args:
        study: what ran.
        log: Snakemake's log of this run, in order of time.
        failed: whether it did not end as it should: a job failed, it was interrupted or refused.
        jobs: of the run; none where it never started.
        reason: why it never started.

    Returns:
        What to tell the user: the results table and the report's path, or where to look.
    """
    folder = Path(study.folder)
    started = _start_of(log)
    account = log.read_text(encoding="utf-8", errors="replace")
    stopped = is_stopped(account)
    jobs = excuse_stopped(jobs) if stopped else jobs
    interrupted = failed and reason is None and not any(job.failed for job in jobs)
    if interrupted or (failed and stopped):
        reason = "interrupted before all jobs had run"
    told = weave_log(account, jobs) + (f"{reason}\n" if reason else "")
    for name in (f"run_{started:%Y%m%d_%H%M%S}.log", "run.log"):
        write_text(folder / name, told, like="run.log")
    artifacts = update_manifest(folder / "manifest.json", jobs)
    deleted = [{"stage": job.stage, "benchmark": job.benchmark} for job in jobs]  # what was made for others alone
    write_text(folder / "rules.csv", sum_up_rules([*artifacts.values(), *deleted]))
    status = "interrupted" if interrupted else "failed" if failed else "finished"
    summary = _write_summary(study, started, status, jobs, artifacts, reason)
    if failed:
        told = "".join(f"\n  {each['name']}: {_explain(each)}" for each in summary["experiments"]) if jobs else ""
        verb = "was interrupted" if interrupted else "failed"
        return f"\nThe run {verb}: see {folder}/run.log. Finished artifacts are kept; run again to go on.{told}"
    report = folder / "report.html"
    if not report.exists() or report.stat().st_mtime < started.timestamp():  # single artifacts were asked for
        return ""
    table = (folder / "results.txt").read_text(encoding="utf-8")
    images = summary["images_through_backbones"]
    return f"\n{table}\nImages passed through a backbone in this run: {images}\nReport: {report}"


def _start_of(log: Path) -> datetime:
    """When a run started: Snakemake names its log after that."""
    return datetime.strptime(log.name.split(".")[0], "%Y-%m-%dT%H%M%S").astimezone(UTC)


def _explain(experiment: Mapping[str, Any]) -> str:
    """An experiment's status, and of a failed one its first failure."""
    failures = experiment["failed_jobs"]
    first = f" ({failures[0]['rule']}: {failures[0]['reason']})" if failures else ""
    return f"{experiment['status']}{first}"


def _write_summary(
    study: Study,
    started: datetime,
    status: str,
    jobs: Sequence[Job],
    artifacts: Mapping[str, Mapping[str, Any]],
    reason: str | None,
) -> dict[str, Any]:
    """Write `summary.json`, and return what it says."""
    folder = Path(study.folder)
    report = folder / "report.html"
    experiments = [_experiment(study, name, status, jobs, artifacts) for name in study.cells]
    summary = {
        "study": study.name,
        "status": status,
        "reason": reason,
        "execution_timestamp": started.isoformat(timespec="seconds"),
        "duration_seconds": round((datetime.now(UTC) - started).total_seconds(), 1),
        "total_experiments": len(experiments),
        "successful": sum(experiment["status"] == "finished" for experiment in experiments),
        "failed": sum(experiment["status"] == "failed" for experiment in experiments),
        "failed_jobs": [_describe_failure(job) for job in jobs if job.failed],
        "images_through_backbones": 0 if status == "running" else _images_through_backbones(started.timestamp()),
        "experiments": experiments,
        "report": str(report) if report.exists() else None,
        "versions": {"python": platform.python_version(), **_list_versions()},
    }
    write_json(folder / "summary.json", summary)
    return summary


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
    study: Study, name: str, run: str, jobs: Sequence[Job], artifacts: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    results = f"{study.folder}/experiments/{name}/results.csv"
    needed = [results, *(artifact for cell in study.cells[name] for artifact in cell.artifacts)]
    behind = find_behind(jobs, results)
    failures = [_describe_failure(job) for job in behind if job.failed]
    # Snakemake deletes the outputs of a job when it starts and when it fails, but not what was made from them before.
    started = run == "finished" or bool(jobs)
    ended = started and not any(job.failed or job.pending for job in behind)
    finished = ended and all(Path(path).exists() for path in needed)
    figures = [read_benchmark(Path(job.benchmark)) for job in behind if job.benchmark]
    return {
        "name": name,
        "title": study.config.experiments[name].title,
        "status": "failed" if failures else "finished" if finished else "not run",
        "results_file": results,
        "results_sha256": artifacts[results]["sha256"] if results in artifacts else None,
        "jobs": len(behind) or None,
        "duration_seconds": round(sum(each["seconds"] for each in figures if each), 1) if behind else None,
        "failed_jobs": failures,
    }


def _describe_failure(job: Job) -> dict[str, Any]:
    return {"rule": job.stage, "output": next(iter(job.outputs), ""), "log": list(job.logs), "reason": job.reason}
