"""How far a run is: done, running and failed jobs of each stage, and what is left of the time.

Tested in tests/test_logger_plugin_progress.py.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from patchshift.plan.batches import EXTRACTION
from patchshift.plan.stages import SOURCES, VERSIONS
from snakemake_logger_plugin_patchshift.measures import (
    EXTRACTING,
    Work,
    read_earlier_seconds,
    read_seconds_left,
    read_work,
)

DOWNLOADS = ("fetch_dataset", "fetch_weights")
"""Stages whose jobs draw a bar of their own on the terminal."""


@dataclass(frozen=True)
class Job:
    """A job that has been started.

    Attributes:
        rule: its name.
        stage: the stage that it is counted under; None for a target, which makes nothing.
        started: seconds since the epoch.
        cores: that it computes on.
        logs: paths of its logs.
    """

    rule: str
    stage: str | None
    started: float
    cores: int
    logs: Sequence[str]


@dataclass
class Stage:
    """The jobs of one stage.

    Attributes:
        planned: how many there are to be.
        earlier_seconds: mean of such jobs in earlier runs; None if unknown.
        running: those that run, by their id.
        failed: ids of those that have failed and were not tried again.
        done: how many have finished.
        seconds: that the finished ones took together.
        core_seconds: the same, times the cores that each had.
        work: images that the finished ones passed on, and the seconds that this took.
    """

    planned: int
    earlier_seconds: float | None = None
    running: dict[int, Job] = field(default_factory=dict)
    failed: set[int] = field(default_factory=set)
    done: int = 0
    seconds: float = 0.0
    core_seconds: float = 0.0
    work: Work = (0.0, 0.0)

    @property
    def is_complete(self) -> bool:
        """Whether all have finished."""
        return self.done >= self.planned

    @property
    def mean_seconds(self) -> float | None:
        """Of its jobs in this run; until one has finished, in earlier ones; None if unknown."""
        return self.seconds / self.done if self.done else self.earlier_seconds

    @property
    def waiting(self) -> int:
        """Jobs that have not been started."""
        return max(0, self.planned - self.done - len(self.running) - len(self.failed))

    @property
    def cores(self) -> float:
        """Mean number of cores that its jobs compute on; 1 until one has been started."""
        if self.seconds:
            return self.core_seconds / self.seconds
        return max((job.cores for job in self.running.values()), default=1)


@dataclass(frozen=True)
class TimeLeft:
    """What is left of a run.

    Attributes:
        seconds: of the jobs whose time can be told from others of their stage; None if of none.
        is_whole: whether these are all.
        is_bound: whether jobs have failed, so that others will not run.
    """

    seconds: float | None
    is_whole: bool
    is_bound: bool


class Progress:
    """The state of a run, from what happens in it.

    Args:
        planned: rule -> number of its jobs, in the order of the workflow.
        total: number of all jobs.
        started: seconds since the epoch.
        find_earlier: stage -> mean seconds of its jobs in earlier runs.

    Attributes:
        stages: in the order of the workflow.
        done: finished jobs of all rules.
    """

    def __init__(
        self,
        planned: Mapping[str, int],
        total: int,
        started: float,
        find_earlier: Callable[[str], float | None] = read_earlier_seconds,
    ) -> None:
        self.total, self.started, self.done = total, started, 0
        self.stages: dict[str, Stage] = {}
        for rule, count in planned.items():
            if name := find_stage(rule):
                stage = self.stages.setdefault(name, Stage(0, find_earlier(name)))
                stage.planned += count
        self._jobs: dict[int, Job] = {}
        self._first_start: float | None = None

    @property
    def failures(self) -> int:
        """Jobs that have failed and were not tried again."""
        return sum(len(stage.failed) for stage in self.stages.values())

    @property
    def is_downloading(self) -> bool:
        """Whether a job runs that draws on the terminal itself."""
        return any(self.stages[name].running for name in DOWNLOADS if name in self.stages)

    def start(self, number: int, rule: str, now: float, cores: int, logs: Sequence[str]) -> None:
        """Take note that a job has been started, for the first time or again."""
        job = Job(rule, find_stage(rule), now, max(1, cores), logs)
        self._jobs[number] = job
        self._first_start = now if self._first_start is None else self._first_start
        if job.stage:
            stage = self.stages.setdefault(job.stage, Stage(1))
            stage.failed.discard(number)
            stage.running[number] = job

    def finish(self, number: int, now: float) -> str | None:
        """Take note that a job has finished; the name of its stage, if that is complete now."""
        job = self._jobs.get(number)
        if job is None or job.stage is None:
            return None
        stage = self.stages[job.stage]
        stage.running.pop(number, None)
        stage.done += 1
        stage.seconds += now - job.started
        stage.core_seconds += job.cores * (now - job.started)
        if work := read_work(job.stage, job.logs):
            stage.work = (stage.work[0] + work[0], stage.work[1] + work[1])
        return job.stage if stage.is_complete else None

    def fail(self, number: int) -> None:
        """Take note that a job has failed."""
        job = self._jobs.get(number)
        if job and job.stage:
            self.stages[job.stage].running.pop(number, None)
            self.stages[job.stage].failed.add(number)

    def images_per_second(self, name: str) -> float | None:
        """Of a stage's jobs, finished and running, start-up left out; None where their logs do not say."""
        stage = self.stages[name]
        works = [stage.work, *(work for job in stage.running.values() if (work := read_work(name, job.logs)))]
        images, seconds = sum(images for images, _ in works), sum(seconds for _, seconds in works)
        return images / seconds if seconds else None

    def estimate(self, now: float) -> TimeLeft:
        """What is left: the work of all jobs to come, at the number of cores that were busy so far.

        A running extraction is believed what its log says. No run is over before the longest of its running jobs.
        """
        left, longest, is_known, is_whole = 0.0, 0.0, False, True
        for name, stage in self.stages.items():
            mean = stage.mean_seconds
            for job in stage.running.values():
                seconds = read_seconds_left(job.logs, now) if name == job.rule in EXTRACTING else None
                if seconds is None and mean is not None and job.started + mean > now:  # one that is late, is unknown
                    seconds = job.started + mean - now
                is_known, is_whole = is_known or seconds is not None, is_whole and seconds is not None
                left, longest = left + job.cores * (seconds or 0.0), max(longest, seconds or 0.0)
            if stage.waiting:
                is_known, is_whole = is_known or mean is not None, is_whole and mean is not None
                left += stage.waiting * stage.cores * (mean or 0.0)
        seconds = max(longest, left / self._busy_cores(now))
        return TimeLeft(seconds if is_known else None, is_whole, bool(self.failures))

    def _busy_cores(self, now: float) -> float:
        """The mean number of cores that were computing since the first job started."""
        if self._first_start is None or now <= self._first_start:
            return 1.0
        running = [job for stage in self.stages.values() for job in stage.running.values()]
        worked = sum(stage.core_seconds for stage in self.stages.values())
        worked += sum(job.cores * (now - job.started) for job in running)
        return max(0.1, worked / (now - self._first_start))


def find_stage(rule: str) -> str | None:
    """The stage that a rule belongs to: itself, or of a batch's rule the extraction; None for a target."""
    if rule.startswith(f"{EXTRACTION}_"):
        return EXTRACTION
    return rule if rule in VERSIONS or rule in SOURCES else None
