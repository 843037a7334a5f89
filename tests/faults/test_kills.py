"""SIGKILL at random moments: of a job, of Snakemake, of everything; then the same command goes on to the same results.

`PATCHSHIFT_KILLS` says how often (`make test-faults`: 20), `PATCHSHIFT_KILLS_SEED` which moments: a failed test has it
in its name.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from patchshift.runtime.sealed import check_seal
from tests.checkout import PATIENCE

ROUNDS = int(os.environ.get("PATCHSHIFT_KILLS", "1"))
SEED = int(os.environ.get("PATCHSHIFT_KILLS_SEED", "0"))
VICTIMS = ("everything", "snakemake", "a job")

STAGES = (
    *("datasets", "images", "splits", "domains", "packs", "features", "banks", "scores", "thresholds", "metrics"),
    "decisions",
)
"""Folders of results in the order in which they are made."""

TABLES = ("metrics.csv", "predictions.csv", "timings.csv", "results.txt")
STUDY = Path("results/studies/tiny")
TARGETS = [str(STUDY / name) for name in TABLES]


@dataclass(frozen=True)
class Killed:
    """A study whose run was killed, and what was told of the moment."""

    checkout: Any
    victim: str
    moment: str
    processes: list[psutil.Process]


@pytest.fixture(scope="module", params=range(ROUNDS), ids=lambda number: f"{number}-seed-{SEED}")
def killed(
    request: pytest.FixtureRequest, finished_tiny: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Killed]:
    chance = random.Random(f"{SEED} {request.param}")
    victim = VICTIMS[request.param % len(VICTIMS)]
    for haste in (0, 0.25, 0.5, 0.75, 1):
        checkout = finished_tiny.copy(tmp_path_factory.mktemp("killed") / "checkout")
        found = strike(checkout, victim, chance, haste)
        if found:
            yield found
            shutil.rmtree(checkout.folder.parent)
            return
        shutil.rmtree(checkout.folder.parent)
    pytest.fail("no run lived long enough to be killed")


@pytest.fixture(scope="module")
def resumed(killed: Killed) -> Killed:
    if killed.victim != "a job":  # else Snakemake lived on, and took its lock away
        assert killed.checkout.run("--unlock").returncode == 0
    run = killed.checkout.run("--cores", "2", *TARGETS)
    assert run.returncode == 0, f"{killed.victim}, {killed.moment}: {run.stderr}"
    _, alive = psutil.wait_procs(killed.processes, PATIENCE)  # jobs that outlived their Snakemake
    assert not alive
    return killed


def strike(checkout: Any, victim: str, chance: random.Random, haste: float) -> Killed | None:
    """Start a run of some of the study and kill the victim; None where there was none any more.

    With more haste less is waited for, as on a busy machine a run may end before anyone has seen it write: with a haste
    of 1 the victim dies as soon as there is a job.
    """
    first = chance.randrange(len(STAGES))
    for name in STAGES[first:]:
        shutil.rmtree(checkout.folder / "results" / name)
    for target in TARGETS:
        (checkout.folder / target).unlink()
    moment = f"from {STAGES[first]} on"
    with Path(f"{checkout.folder}.told").open("w") as told:
        run = checkout.start("--cores", "2", *TARGETS, stdout=told, stderr=told, start_new_session=True)
        process = psutil.Process(run.pid)
        if victim == "a job" or chance.random() < 0.9 + haste / 10:  # else perhaps while it plans
            wait_until(lambda: list_jobs(process), run)
        writers: list[int] = []
        if chance.random() < 0.8 * (1 - haste):
            count = chance.randint(1, 6)
            writers = stop_while_writing(run, checkout.folder, count)
            moment += f", while something writes, the {count}. of its time or later"
        else:
            delay = chance.uniform(0, 4 * (1 - haste))
            time.sleep(delay)
            moment += f", {delay:.2f} s later"
        with suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGSTOP)  # it starts no more jobs while they are counted
        processes = list_descendants(process)
        jobs = [job for job in list_jobs(process) if not writers or job.pid in writers]
        struck = run.poll() is None and (victim != "a job" or kill_one(jobs, chance))
        if victim == "snakemake" and struck:
            run.kill()
        elif victim == "everything" and struck:
            os.killpg(run.pid, signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGCONT)  # what is left of it goes on
        code = run.wait(PATIENCE)
    return Killed(checkout, victim, moment, processes) if struck and code != 0 else None


def wait_until(holds: Callable[[], Any], run: subprocess.Popen[str]) -> None:
    """Until it is so, or the run ended."""
    while run.poll() is None and not holds():
        time.sleep(0.002)


def stop_while_writing(run: subprocess.Popen[str], folder: Path, count: int) -> list[int]:
    """Stop a run with a temporary file there, when it has had so many; who writes now; none where it ended."""
    seen = set[Path]()
    while run.poll() is None:
        now = list_temporary(folder)
        seen |= now
        if now and len(seen) >= count:
            os.killpg(run.pid, signal.SIGSTOP)
            now = list_temporary(folder)
            if now:
                return [int(path.name.split(".")[-2]) for path in now]
            os.killpg(run.pid, signal.SIGCONT)
        time.sleep(0.001)
    return []


def list_temporary(folder: Path) -> set[Path]:
    found = set()
    for place, folders, files in os.walk(folder / "results"):
        found |= {Path(place, name) for name in (*folders, *files) if name.endswith(".partial")}
    return found


def list_descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def list_jobs(process: psutil.Process) -> list[psutil.Process]:
    """The processes of workflow scripts, not the shells that started them."""
    found = []
    for each in list_descendants(process):
        try:
            arguments = each.cmdline()
        except psutil.Error:
            continue
        if len(arguments) > 1 and arguments[1].startswith("workflow_scripts/"):
            found.append(each)
    return found


def kill_one(jobs: list[psutil.Process], chance: random.Random) -> bool:
    try:
        chance.choice(jobs).kill()
    except (IndexError, psutil.NoSuchProcess):
        return False
    return True


def list_files(folder: Path) -> dict[str, Path]:
    """What lies in the results, logs and what is remembered of images' digests aside."""
    found = {}
    for place, folders, files in os.walk(folder / "results"):  # which passes over what a job renames meanwhile
        for path in (Path(place, name) for name in (*folders, *files)):
            name = path.relative_to(folder / "results").as_posix()
            if not name.startswith(("logs", "benchmarks")) and not path.name.endswith(".digests.csv"):
                found[name] = path
    return {name: path for name, path in found.items() if not path.name.startswith("run_")}


def test_what_has_its_name_is_whole(killed: Killed) -> None:
    for path in list_files(killed.checkout.folder).values():
        if ".partial" in str(path):
            continue
        if path.suffix == ".h5":
            check_seal(path)
        elif path.suffix == ".json":
            json.loads(path.read_text())


def test_the_resumed_run_has_the_results_of_one_that_was_never_killed(finished_tiny: Any, resumed: Killed) -> None:
    expected, found = (list_files(each.folder) for each in (finished_tiny, resumed.checkout))
    alike = [name for name in expected if name.startswith(STAGES)]
    alike += [f"studies/tiny/{name}" for name in TABLES if name != "timings.csv"]
    assert len(alike) > 60
    for name in alike:
        if expected[name].is_file():
            assert found[name].read_bytes() == expected[name].read_bytes(), (name, resumed.moment)


def test_the_resumed_run_leaves_no_temporary_files(finished_tiny: Any, resumed: Killed) -> None:
    folder = resumed.checkout.folder
    assert list_files(folder).keys() == list_files(finished_tiny.folder).keys(), resumed.moment
    assert [path for path in folder.rglob("*.partial") if path.name.startswith(".")] == []
    kept = folder / ".snakemake"
    assert [path for name in ("locks", "incomplete") for path in kept.glob(f"{name}/*")] == []


def test_the_summary_tells_of_the_resumed_run(resumed: Killed) -> None:
    summary = json.loads((resumed.checkout.folder / STUDY / "summary.json").read_text())
    assert (summary["status"], summary["failed_jobs"]) == ("finished", [])
