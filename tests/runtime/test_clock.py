import os
import time
from pathlib import Path

import pytest

from patchshift.runtime.clock import STAMP, date_back

HOUR = 3600


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, hours: float) -> str:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    moment = time.time() + hours * HOUR
    os.utime(path, (moment, moment))
    return name


def test_artifacts_from_the_future_are_dated_as_of_now_and_told_of() -> None:
    late, past = write("results/features/a.h5", 5), write("results/splits/a.csv", -5)
    receipt = write("data/a.receipt.json", 5)
    before = Path(past).stat().st_mtime_ns
    told = date_back([late, past, receipt, late, "results/gone.csv"])
    assert told.startswith(f"2 artifacts were dated in the future, such as {late}: the clock was set back")
    assert abs(Path(late).stat().st_mtime - time.time()) < HOUR
    assert Path(receipt).stat().st_mtime_ns == Path(late).stat().st_mtime_ns
    assert Path(past).stat().st_mtime_ns == before
    assert date_back([late, past, receipt]) == ""


def test_a_folder_is_dated_by_the_file_that_tells_its_time() -> None:
    stamp = write(f"results/domains/dark/{STAMP}", 5)
    os.utime("results/domains/dark", (1, 1))
    assert date_back(["results/domains/dark"]).startswith("1 artifacts were dated in the future")
    assert abs(Path(stamp).stat().st_mtime - time.time()) < HOUR


def test_what_the_user_brought_keeps_its_time() -> None:
    table = write("data/scores.csv", 5)
    assert date_back([table]) == ""
    assert Path(table).stat().st_mtime > time.time() + HOUR
