"""What a clock that went back leaves: artifacts that are newer than any that can be made now.

Snakemake would make everything behind them again, find the new outputs older than their inputs, and fail; in every run,
until the clock is there again. Imports nothing heavy. Tested in tests/runtime/test_clock.py and
tests/faults/test_runs.py.
"""

import os
import time
from collections.abc import Iterable
from pathlib import Path

SLACK = 2_000_000_000
"""Nanoseconds by which clocks of machines that share a disk may differ."""

STAMP = ".snakemake_timestamp"
"""The file that tells the time of a folder."""

RESULTS, RECEIPT = "results/", ".receipt.json"


def date_back(inputs: Iterable[str]) -> str:
    """Date artifacts from the future as of now.

    Args:
        inputs: of the jobs that are to run; what is neither below `results/` nor a receipt is left alone.

    Returns:
        What to tell the user; nothing where there was no such artifact.
    """
    now = time.time_ns()
    late = []
    for name in dict.fromkeys(inputs):
        path = Path(name)
        if not (name.startswith(RESULTS) or name.endswith(RECEIPT)) or not path.exists():
            continue
        dated = [each for each in (path, path / STAMP) if each.exists() and each.stat().st_mtime_ns > now + SLACK]
        for each in dated:
            os.utime(each, ns=(now, now))
        late += [name] if dated else []
    if not late:
        return ""
    return (
        f"{len(late)} artifacts were dated in the future, such as {late[0]}: the clock was set back since they were "
        "made. They are dated as of now, and what is made from them is made once more"
    )
