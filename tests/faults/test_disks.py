"""Every script that writes artifacts, on a disk that is full and on one that is read-only: one message, nothing half.

Downloads in tests/data/test_download.py.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from patchshift.errors import UserError

ROOT = Path(__file__).parents[2]
NAMES = ("metrics", "predictions")
PAGE = 4096
SPACE = 128 << 20

ELSEWHERE = {
    "fetch_dataset": ("test_archives.py", "test_a_disk_that_fills_up_ends_in_one_message"),
    "fetch_weights": ("test_fetch_weights.py", "test_a_disk_that_fills_up_keeps_what_was_downloaded_for_the_next_run"),
}
"""What needs a server -> where in tests/data its disk fills up."""

SCRIPTS = sorted(path.stem for path in (ROOT / "workflow_scripts").glob("*.py") if path.stem not in ELSEWHERE)


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk of its own."""
    folder = tmp_path_factory.mktemp("mounted") / "disk"
    folder.mkdir()
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={SPACE}", "tmpfs", folder], check=True, capture_output=True
        )
    except (subprocess.CalledProcessError, FileNotFoundError, PermissionError):
        pytest.skip("only who may mount a small disk can fill it, or make it read-only")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def disk(mounted: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A new folder on that disk."""
    folder = mounted / str(abs(hash(request.node.name)))
    folder.mkdir()
    yield folder
    subprocess.run(["mount", "-o", "remount,rw", mounted], check=True)
    subprocess.run(["rm", "-r", *mounted.iterdir()], check=True)


def fill(disk: Path, free: int) -> Path:
    """Leave only so many bytes, in whole pages."""
    filler = disk.parent / "filler"
    state = os.statvfs(disk)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, state.f_bavail * state.f_frsize - free // PAGE * PAGE)
    return filler


def read_files(disk: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in disk.rglob("*") if path.is_file()}


def bring_earlier(stage: Any, disk: Path) -> dict[Path, bytes]:
    """Leave what an earlier run made: a few bytes for each file, a folder with a file for each folder."""
    for path in (disk / output for output in stage.outputs):
        earlier = path if path.suffix else path / "earlier"
        earlier.parent.mkdir(parents=True, exist_ok=True)
        earlier.write_bytes(b"earlier")
    return read_files(disk)


def test_no_script_is_forgotten(stages: dict[str, Any]) -> None:
    assert [script for script in SCRIPTS if script not in stages] == []
    for file, test in ELSEWHERE.values():
        assert f"def {test}(" in (ROOT / "tests/data" / file).read_text()


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_full_disk_ends_in_one_message_and_leaves_what_was_there(
    script: str, stages: dict[str, Any], disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = stages[script][0]
    stage.prepare(monkeypatch)
    earlier = bring_earlier(stage, disk)
    fill(disk, stage.size // 2)  # in the middle of writing, if a page of memory is less than half of it
    message = rf"^cannot write {re.escape(str(disk))}/results/\S+: the disk is full: free some space and run again"
    with pytest.raises(UserError, match=message):
        stage.run(disk, monkeypatch)
    assert read_files(disk) == earlier


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_read_only_disk_ends_in_one_message(
    script: str, stages: dict[str, Any], disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = stages[script][0]
    stage.prepare(monkeypatch)
    subprocess.run(["mount", "-o", "remount,ro", disk.parent], check=True)
    message = rf"^cannot write {re.escape(str(disk))}/results/\S+: the file system is read-only: choose another folder"
    with pytest.raises(UserError, match=message):
        stage.run(disk, monkeypatch)


def test_a_run_whose_disk_fills_up_loses_nothing_and_goes_on_when_there_is_space(
    checkout: Any, finished_tiny: Any, disk: Path
) -> None:
    results, tables = checkout.folder / "results", [f"results/studies/tiny/{name}.csv" for name in NAMES]
    for name in ("scores", "thresholds", "metrics", "decisions"):
        shutil.rmtree(results / name)
    for table in tables:
        (checkout.folder / table).unlink()
    shutil.copytree(results, disk / "results")
    shutil.rmtree(results)
    results.symlink_to(disk / "results")
    filler = fill(disk, 6 * PAGE)
    run = checkout.run("--cores", "1", *tables)
    assert run.returncode == 1
    assert re.search(r"cannot write results/\S+: the disk is full: free some space and run again, finished", run.stderr)
    assert "Traceback" not in run.stderr
    assert list(disk.rglob(".*.partial")) == []
    filler.unlink()
    run = checkout.run("--cores", "1", *tables)
    assert run.returncode == 0, run.stderr
    for table in tables:
        assert (checkout.folder / table).read_bytes() == (finished_tiny.folder / table).read_bytes()
