"""Images shared out among processes: who is started, in which order results come, how fast."""

import logging
import os
import subprocess
import sys
from operator import attrgetter
from pathlib import Path

import psutil
import pytest

from patchshift.data import workers
from patchshift.data.index import ImageRow
from patchshift.data.workers import map_rows
from patchshift.errors import UserError
from tests.checkout import PATIENCE

PARENT = """
import signal, time
from patchshift.data.workers import _map_in_processes
results = _map_in_processes(time.sleep, [0, 0], 2)
next(results)
print("working", flush=True)
signal.pause()
"""

ROWS = [ImageRow(f"{number:02d}.png", "", "train", 0, "") for number in range(34)]


def refuse_odd(row: ImageRow) -> str:
    if int(row.key[:2]) % 2:
        raise UserError(f"{row.key}: odd")
    return row.key


@pytest.mark.parametrize(("seconds", "count"), [(0.1, 1), (100.0, 4)])
def test_workers_are_started_only_where_they_save_time(
    monkeypatch: pytest.MonkeyPatch, seconds: float, count: int
) -> None:
    started: list[int] = []
    share_out = workers._map_in_processes
    monkeypatch.setattr(
        workers, "_map_in_processes", lambda *arguments: started.append(arguments[2]) or share_out(*arguments[:2], 1)
    )
    clock = iter([0.0, seconds])  # how long the first of 34 images took
    monkeypatch.setattr(workers.time, "perf_counter", lambda: next(clock))
    map_rows(refuse_odd, ROWS[::2] * 2, 4)
    assert started == [1, count]


def test_results_come_in_order_from_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "WORTH_SECONDS", 0)
    assert map_rows(attrgetter("key"), ROWS, 2) == [row.key for row in ROWS]


def test_what_is_wrong_with_every_image_is_said_at_once() -> None:
    with pytest.raises(UserError) as caught:
        map_rows(refuse_odd, ROWS)
    head, *lines = str(caught.value).split("\n  ")
    assert head == "17 files cannot be used:"
    assert lines == [f"{row.key}: odd" for row in ROWS[1::2]]


def test_the_pace_is_logged_now_and_then(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 4))  # four seconds for each chunk of images
    monkeypatch.setattr(workers.time, "monotonic", lambda: float(next(clock)))
    with caplog.at_level(logging.INFO):
        map_rows(refuse_odd, ROWS[::2] * 2, 1)
    assert caplog.messages == [
        "17 of 34 images, 1.4 images/s, 12 s left",
        "34 of 34 images, 1.4 images/s, 0 s left",
    ]


def test_workers_end_when_the_process_that_started_them_is_killed(repository: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(repository / "workflow_scripts")}
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == b"working\n"
        started = psutil.Process(parent.pid).children()
        parent.kill()
    _, alive = psutil.wait_procs(started, PATIENCE)
    for worker in alive:
        worker.kill()
    assert started
    assert alive == []


def test_a_killed_worker_is_explained_for_this_machine_and_for_a_cluster() -> None:
    with pytest.raises(UserError, match="a worker was killed") as told:
        list(workers._map_in_processes(os._exit, [1, 1], 2))
    for remedy in ("--cores", "--set-threads RULE=...", "--set-resources RULE:mem_mb=..."):
        assert remedy in str(told.value)
