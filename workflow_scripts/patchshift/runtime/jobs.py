"""The jobs of a run, as its handlers see them: what each reads and makes, and which failed.

Nothing else knows Snakemake's objects. Imports nothing heavy. Tested in tests/workflow/test_closing.py.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from patchshift.plan import Study
from patchshift.plan.batches import EXTRACTION, list_batches
from patchshift.plan.sharding import FOLDER

MOST_LISTED = 3
"""Lines below an error's first one that are told with it."""

MISTAKE, TRACEBACK = "error: ", "Traceback "
"""What the lines begin with that tell why a job failed."""

SILENT = "nothing in its log: it was killed, or never started"
"""Why a job failed that told nothing."""

_STOPPED = (
    "Will exit after finishing currently running jobs (scheduler).",
    "Terminating processes on user request, this might take some time.",
)
"""What Snakemake's log says of SIGTERM and of Ctrl-C."""

ALL = "all"
"""The rule that asks for everything of a study."""


@dataclass(frozen=True)
class Job:
    """One job of a run's graph, whether it ran this time or was done before.

    Attributes:
        number: Snakemake's number of the job in this run.
        stage: the rule; that of single targets for a batch.
        inputs: role -> paths, of inputs that the rule names.
        outputs: paths.
        logs: paths.
        benchmark: path of its times and memory; None where it has none.
        needs: numbers of the jobs that make its inputs.
        failed: whether it failed in this run.
        pending: whether it was to run and has not ended well.
    """

    number: int
    stage: str
    inputs: Mapping[str, Sequence[str]]
    outputs: Sequence[str]
    logs: Sequence[str] = ()
    benchmark: str | None = None
    needs: frozenset[int] = frozenset()
    failed: bool = False
    pending: bool = False

    @property
    def reason(self) -> str:
        """Of a failed job, why: the error that its log ends with."""
        return next(filter(None, map(first_error, self._read_logs())), SILENT if self.logs else "")

    @property
    def tells_error(self) -> bool:
        """Whether one of its logs has an error."""
        return any(line.startswith((MISTAKE, TRACEBACK)) for text in self._read_logs() for line in text.splitlines())

    def _read_logs(self) -> list[str]:
        paths = [path for path in map(Path, self.logs) if path.is_file()]
        return [path.read_text(encoding="utf-8", errors="replace") for path in paths]

    def inputs_of(self, output: str) -> list[str]:
        """The paths that one of its outputs is made from: in a batch, the images of that target alone; no shards, of
        which the whole bears no trace.
        """
        if self.stage != EXTRACTION or len(self.outputs) == 1:
            return sorted({path for paths in self.inputs.values() for path in paths if FOLDER not in path})
        place = list(self.outputs).index(output)
        own = [paths if len(paths) != len(self.outputs) else [paths[place]] for paths in self.inputs.values()]
        return sorted({path for paths in own for path in paths})


def list_jobs(study: Study, workflow: Any) -> list[Job]:
    """All jobs of a run, in the order of their numbers.

    Args:
        study: what runs.
        workflow: Snakemake's `workflow`, in one of its handlers.
    """
    batches = {batch.rule for batch in list_batches(study)}
    dag, failed = workflow.dag, workflow.scheduler.failed
    jobs = [
        Job(
            number=dag.jobid(job),
            stage=EXTRACTION if job.rule.name in batches else job.rule.name,
            inputs={role: [paths] if isinstance(paths, str) else list(paths) for role, paths in job.input.items()},
            outputs=list(map(str, job.output)),
            logs=list(map(str, job.log)),
            benchmark=str(job.benchmark) if job.benchmark else None,
            needs=frozenset(dag.jobid(needed) for needed in dag.dependencies[job]),
            failed=job in failed,
            pending=dag.needrun(job) and not dag.finished(job),
        )
        for job in list(dag.jobs)
    ]
    return sorted(jobs, key=lambda job: job.number)


def is_stopped(account: str) -> bool:
    """Whether a run was ended by a signal, according to Snakemake's log."""
    return any(line in _STOPPED for line in account.splitlines())


def excuse_stopped(jobs: Iterable[Job]) -> list[Job]:
    """The jobs of a run that was stopped: those that failed without an error of their own got the signal, too.

    `timeout` and batch systems send it to all processes.
    """
    return [replace(job, failed=False, pending=True) if job.failed and not job.tells_error else job for job in jobs]


def find_behind(jobs: Iterable[Job], path: str) -> list[Job]:
    """The job that makes a file, and all that it comes from; none where no job of the run makes it."""
    by_number = {job.number: job for job in jobs}
    pending = [job.number for job in by_number.values() if path in job.outputs]
    found: dict[int, Job] = {}
    while pending:
        number = pending.pop()
        if number not in found:
            found[number] = by_number[number]
            pending += by_number[number].needs
    return [found[number] for number in sorted(found)]


def first_error(log: str) -> str:
    """The message that a job's log ends with, in one line: a user's mistake, or what a traceback comes to.

    Of a mistake that lists things below its first line, the first few.
    """
    lines = [line for line in log.splitlines() if line.strip()]
    mistakes = [number for number, line in enumerate(lines) if line.startswith(MISTAKE)]
    if mistakes:
        first, rest = lines[mistakes[-1]].removeprefix(MISTAKE), lines[mistakes[-1] + 1 :]
        listed = [line.strip() for line in takewhile(lambda line: line.startswith(" "), rest)]
        more = [f"and {len(listed) - MOST_LISTED} more"] if len(listed) > MOST_LISTED else []
        return " ".join(filter(None, (first, "; ".join(listed[:MOST_LISTED] + more))))
    starts = [number for number, line in enumerate(lines) if line.startswith(TRACEBACK)]
    if starts:
        return next((line for line in lines[starts[-1] + 1 :] if not line.startswith(" ")), lines[-1])
    return lines[-1] if lines else ""
