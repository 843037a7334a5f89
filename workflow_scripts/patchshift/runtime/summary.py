"""What a run leaves behind whether it succeeded or not: `summary.json` and `run.log` of the study.

Called by Snakemake's handlers, so it imports nothing heavy.
"""

import platform
import shutil
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from patchshift.plan import Study
from patchshift.runtime.files import write_json


def missing_inputs(study: Study) -> str:
    """What to tell the user when folders or files that they must bring are missing; empty where none are."""
    missing = study.missing_inputs()
    return "\n  ".join(["this study needs what is not there:", *missing]) if missing else ""


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
    folder.mkdir(parents=True, exist_ok=True)
    # Snakemake names its log after the moment the run started.
    started = datetime.strptime(log.name.split(".")[0], "%Y-%m-%dT%H%M%S").astimezone(UTC)
    shutil.copyfile(log, folder / f"run_{started:%Y%m%d_%H%M%S}.log")
    shutil.copyfile(log, folder / "run.log")
    experiments = [_experiment(study, name) for name in study.cells]
    write_json(
        folder / "summary.json",
        {
            "study": study.name,
            "status": "failed" if failed else "finished",
            "execution_timestamp": started.isoformat(timespec="seconds"),
            "duration_seconds": round((datetime.now(UTC) - started).total_seconds(), 1),
            "total_experiments": len(experiments),
            "successful": sum(experiment["status"] == "finished" for experiment in experiments),
            "failed": sum(experiment["status"] != "finished" for experiment in experiments),
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
    if not report.exists():  # single artifacts were asked for
        return ""
    return f"\n{(folder / 'results.txt').read_text(encoding='utf-8')}\nReport: {report}"


def _experiment(study: Study, name: str) -> dict[str, str]:
    results = f"{study.folder}/experiments/{name}/results.csv"
    # Snakemake deletes the outputs of jobs that it starts, so a results file that exists is one that is whole.
    status = "finished" if Path(results).exists() else "failed"
    return {"name": name, "title": study.config.experiments[name].title, "status": status, "results_file": results}
