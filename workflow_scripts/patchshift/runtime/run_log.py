"""One log of a run, in order of time: Snakemake's account with what the jobs wrote, all in UTC.

Written by Snakemake's handlers, so it imports nothing heavy. Tested in tests/runtime/test_run_log.py.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from patchshift.runtime.jobs import MISTAKE, TRACEBACK, Job

MARGIN = "    | "
"""Stands before each line that a job wrote."""

ZONE = "All times are UTC."
"""The log's first line."""

_MOMENT = re.compile(r"^\[(\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4})\]$")
_JOB_MOMENT = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d{3} ")
_FORM = "%Y-%m-%d %H:%M:%S"
_FINISHED = re.compile(r"^Finished jobid: (\d+) \(Rule: ")
_FAILED = re.compile(r"^Error in (?:rule|group) ")
_NUMBER = re.compile(r"^    jobid: (\d+)$")
_START = datetime.min.replace(tzinfo=UTC)


@dataclass
class _Entry:
    """Lines of one moment, to the second.

    Attributes:
        moment: in UTC.
        lines: that Snakemake or a job wrote.
        writer: the job; None for Snakemake.
    """

    moment: datetime
    lines: list[str]
    writer: Job | None = None


def weave_log(account: str, jobs: Iterable[Job]) -> str:
    """Snakemake's account of a run with the lines of the jobs that ended in it, sorted by time.

    In one second, what a job wrote stands before its end. Where other lines come between a job's, it is named again.

    Args:
        account: Snakemake's log, its times local.
        jobs: of the run.
    """
    by_number = {job.number: job for job in jobs}
    entries: list[_Entry] = []
    for block in _split_account(account):
        for number in _find_ended(block.lines):
            if number in by_number:
                entries += _read_entries(by_number[number], account, block.moment)
        entries.append(block)
    woven, writer = [ZONE], None
    for entry in sorted(entries, key=lambda entry: entry.moment):
        if entry.writer and entry.writer is not writer:
            woven.append(f"    jobid {entry.writer.number} ({entry.writer.stage}) wrote:")
        writer = entry.writer
        woven += [f"{MARGIN}{line}".rstrip() for line in entry.lines] if writer else entry.lines
    return "\n".join([*woven, ""])


def _split_account(account: str) -> list[_Entry]:
    """Snakemake's lines from one time to the next; a time before the one above it counts as that one."""
    blocks = [_Entry(_START, [])]
    for line in account.splitlines():
        moment = _read_moment(line)
        if moment:
            blocks.append(_Entry(max(moment, blocks[-1].moment), [f"[{moment:{_FORM}}]"]))
        else:
            blocks[-1].lines.append(line)
    return blocks


def _read_moment(line: str) -> datetime | None:
    """`[Sun Nov  1 00:45:50 2026]`, local, in UTC; None for other lines."""
    found = _MOMENT.match(line)
    return _parse(found[1], "%a %b %d %H:%M:%S %Y") if found else None


def _parse(text: str, form: str) -> datetime | None:
    """A local time in UTC; None if it is none, or has the names of another language."""
    try:
        return datetime.strptime(text, form).astimezone(UTC)
    except ValueError:
        return None


def _find_ended(lines: Iterable[str]) -> Iterator[int]:
    """Numbers of the jobs that finished or failed, as Snakemake says it."""
    failing = False
    for line in lines:
        failing = bool(_FAILED.match(line)) or (failing and line.startswith("    "))
        ended = _FINISHED.match(line) or (failing and _NUMBER.match(line))
        if ended:
            yield int(ended[1])


def _read_entries(job: Job, account: str, ended: datetime) -> list[_Entry]:
    """What a job wrote, unless Snakemake has shown it.

    An error stands at the job's end; any other line without a time belongs to the one above it.
    """
    entries: list[_Entry] = []
    for path in map(Path, job.logs):
        if not path.is_file() or f"Logfile {path}:" in account:
            continue
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            found = _JOB_MOMENT.match(line)
            moment = _parse(found[1], _FORM) if found else None
            if found and moment:
                entries.append(_Entry(moment, [f"{moment:{_FORM}} {line[found.end() :]}"], job))
            elif not entries or line.startswith((MISTAKE, TRACEBACK)):
                entries.append(_Entry(ended, [line], job))
            else:
                entries[-1].lines.append(line)
    return entries
