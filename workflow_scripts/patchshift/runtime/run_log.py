"""One log of a run, in order of time: Snakemake's account, with what each job wrote where the job ended.

Written by Snakemake's handlers, so it imports nothing heavy. Tested in tests/runtime/test_run_log.py.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from patchshift.runtime.jobs import Job

MARGIN = "    | "
"""Stands before each line that a job wrote."""

_MOMENT = re.compile(r"^\[(\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4})\]$")
_FINISHED = re.compile(r"^Finished jobid: (\d+) \(Rule: ")
_FAILED = re.compile(r"^Error in (?:rule|group) ")
_NUMBER = re.compile(r"^    jobid: (\d+)$")


def weave_log(account: str, jobs: Iterable[Job]) -> str:
    """Snakemake's account of a run, its times as the jobs write theirs, with the jobs' own lines in it.

    Args:
        account: Snakemake's log.
        jobs: of the run.
    """
    by_number = {job.number: job for job in jobs}
    woven: list[str] = []
    failing = False
    for line in account.splitlines():
        woven.append(_write_moment(line))
        failing = bool(_FAILED.match(line)) or (failing and line.startswith("    "))
        ended = _FINISHED.match(line) or (failing and _NUMBER.match(line))
        if ended:
            woven += _quote_logs(by_number, int(ended[1]), account)
            failing = False
    return "\n".join([*woven, ""])


def _write_moment(line: str) -> str:
    """`[Sun Nov  1 00:45:50 2026]` as `[2026-11-01 00:45:50]`; other lines as they are."""
    moment = _MOMENT.match(line)
    if not moment:
        return line
    try:
        return f"[{datetime.strptime(moment[1], '%a %b %d %H:%M:%S %Y'):%Y-%m-%d %H:%M:%S}]"
    except ValueError:  # the names of another language
        return line


def _quote_logs(jobs: Mapping[int, Job], number: int, account: str) -> list[str]:
    paths = list(map(Path, jobs[number].logs)) if number in jobs else []
    told = [path for path in paths if path.is_file() and f"Logfile {path}:" not in account]
    return [
        f"{MARGIN}{line}".rstrip()
        for path in told
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
    ]
