"""What a run leaves behind whether it succeeded or not: `summary.json` and `run.log` of the study.

Called by Snakemake's handlers, so it imports nothing heavy.
"""

import platform
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from patchshift.errors import UserError
from patchshift.plan import Study, licences_to_show, missing_inputs, record_ids
from patchshift.plan.inputs import FORWARD
from patchshift.runtime.files import write_json, write_text
from patchshift.runtime.pace import count_images

LOGS = Path("results/logs")


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


def finish_run(study: Study, log: Path, *, failed: bool) -> str:
    """Write the summary and the log of a run.

    Args:
        study: what ran.
        log: Snakemake's log of this run, in order of time.
        failed: whether a job failed.

    Returns:
        What to tell the user: the results table and the report's path, or where to look.
    """
    folder = Path(study.folder)
    # Snakemake names its log after the moment the run started.
    started = datetime.strptime(log.name.split(".")[0], "%Y-%m-%dT%H%M%S").astimezone(UTC)
    for name in (f"run_{started:%Y%m%d_%H%M%S}.log", "run.log"):
        write_text(folder / name, log.read_text(encoding="utf-8", errors="replace"))
    experiments = [_experiment(study, name, failed) for name in study.cells]
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
            "images_through_backbones": images,
            "experiments": experiments,
            "report": f"{study.folder}/report.html",
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in ("patchshift", "snakemake")},
            },
        },
    )
    if failed:
        return f"\nThe run failed: see {folder}/run.log. Finished artifacts are kept; run again to go on."
    report = folder / "report.html"
    if not report.exists() or report.stat().st_mtime < started.timestamp():  # single artifacts were asked for
        return ""
    table = (folder / "results.txt").read_text(encoding="utf-8")
    return f"\n{table}\nImages passed through a backbone in this run: {images}\nReport: {report}"


def _images_through_backbones(started: float) -> int:
    """How many forward passes this run's jobs made: their logs are those written since it started."""
    logs = (path for rule in FORWARD for path in (LOGS / rule).rglob("*.log") if path.stat().st_mtime >= started)
    return sum(count_images(path.read_text(encoding="utf-8", errors="replace")) for path in logs)


def _experiment(study: Study, name: str, failed: bool) -> dict[str, str]:
    results = f"{study.folder}/experiments/{name}/results.csv"
    needed = [results, *(artifact for cell in study.cells[name] for artifact in cell.artifacts)]
    # Snakemake deletes the outputs of a job when it starts and when it fails, but not what was made from them before.
    finished = all(Path(path).exists() for path in needed)
    return {
        "name": name,
        "title": study.config.experiments[name].title,
        "status": "finished" if finished else "failed" if failed else "not run",
        "results_file": results,
    }
