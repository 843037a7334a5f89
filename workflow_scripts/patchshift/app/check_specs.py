"""Whether what a study has was made with the settings that its config has now, by the code that is here now.

Asks the artifacts alone, so it holds for results that were copied and have lost Snakemake's records and their times.
Tested in tests/workflow/test_stale.py and tests/app/test_check.py.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from patchshift.app.check_files import read_intact, tell_unreadable
from patchshift.errors import UserError
from patchshift.plan import Study
from patchshift.plan.records import Record, list_records

SHOWN = 3
"""Settings that a line names."""

ABSENT = "nothing"


def check_settings(study: Study) -> tuple[str, list[str], list[str]]:
    """What artifacts say of themselves is what the config and the code say now, as far as they are here.

    The third result is what has to be made anew.
    """
    records = [record for record in list_records(study) if Path(record.path).exists()]
    problems, rebuild, silent = [], [], 0
    for record in records:
        try:
            made = read_intact(Path(record.path))
        except UserError as error:
            problems.append(str(error))
            rebuild.append(record.path)
            continue
        except OSError as error:
            problems.append(tell_unreadable(record.path, error))
            continue
        silent += not made
        reason = explain_staleness(record, made) if made else ""
        if reason:
            rebuild.append(record.path)
            problems.append(f"{record.path} was made {reason}")
    told = f"{len(records)} artifacts" + (f", {silent} of which do not say how they were made" if silent else "")
    return told, problems, rebuild


def explain_staleness(record: Record, made: dict[str, Any]) -> str:
    """How an artifact was made that is not as planned: with which other settings, or by other code; empty if it is.

    Args:
        record: what it should say of itself.
        made: what it says.
    """
    wanted = {"spec": json.loads(record.spec), **json.loads(record.more)}
    if made.get("stage") != record.stage:
        return f"by {made.get('stage')}, not by {record.stage}"
    others = [
        f"{place.removeprefix('spec.')} was {_show(before)}, is {_show(now)}"
        for key in wanted
        for place, before, now in _compare(made.get(key), wanted[key], key)
    ]
    if others:
        more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
        return f"with other settings: {'; '.join(others[:SHOWN])}{more}"
    if made.get("version") != record.version:
        return f"by other code: {record.stage} was {made.get('version')}, is {record.version}"
    return ""


def _compare(before: Any, now: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    """Where two settings differ, and how; what only one has is `ABSENT` in the other."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            yield from _compare(before.get(key, ABSENT), now.get(key, ABSENT), f"{place}.{key}")
    elif before != now:
        yield place, before, now


def _show(value: Any) -> str:
    text = value if value is ABSENT else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
