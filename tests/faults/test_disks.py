"""Every script that writes artifacts, on a disk that is full and on one that is read-only: one message, nothing half.

Scripts of downloads in tests/data/test_download.py, test_archives.py and test_fetch_weights.py.
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

NAMES = ("metrics", "predictions")
PAGE = 4096
SPACE = 128 << 20

ELSEWHERE = {
    "fetch_dataset": "needs a server: tests/data",
    "crop_defects": "needs training defects; writes a folder as synthesize_defects does",
    "fetch_weights": "needs a server: tests/data",
    "trace_attention": "needs a transformer; writes as inspect_features does",
    "import_scores": "needs the table of another method; writes as score_images does",
    "predict_images": "needs an exported model; writes a folder as render_heatmaps does",
    "compare_pools": "needs a pool; writes as collect_experiment does",
    "plot_inspection": "needs an inspection; writes as plot_experiment does",
    "plot_attention": "needs attention; writes as plot_experiment does",
    "collect_distances": "needs distances; writes as collect_study does",
    "extract_shard": "needs shards; writes as extract_features does",
    "merge_features": "needs shards; writes as extract_features does",
    "fit_representation": "needs shards; writes as fit_detector does",
    "choose_shard": "needs shards; writes as fit_detector does",
}
"""Scripts that are not run here, and why."""


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


def list_files(disk: Path) -> list[Path]:
    return [path for path in disk.rglob("*") if path.is_file()]


SCRIPTS = sorted(
    path.stem for path in (Path(__file__).parents[2] / "workflow_scripts").glob("*.py") if path.stem not in ELSEWHERE
)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_full_disk_ends_in_one_message_and_leaves_nothing(
    script: str, stages: dict[str, Any], disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = stages[script][0]
    fill(disk, stage.size // 2)  # in the middle of writing, if a page of memory is less than half of it
    message = rf"^cannot write {re.escape(str(disk))}/results/\S+: the disk is full: free some space and run again"
    with pytest.raises(UserError, match=message):
        stage.run(script, disk, monkeypatch)
    assert list_files(disk) == []


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_read_only_disk_ends_in_one_message(
    script: str, stages: dict[str, Any], disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = stages[script][0]
    subprocess.run(["mount", "-o", "remount,ro", disk.parent], check=True)
    message = rf"^cannot write {re.escape(str(disk))}/results/\S+: the file system is read-only: choose another folder"
    with pytest.raises(UserError, match=message):
        stage.run(script, disk, monkeypatch)


def test_a_run_whose_disk_fills_up_loses_nothing_and_goes_on_when_there_is_space(
    checkout: Any, finished: Any, disk: Path
) -> None:
    results, tables = checkout.folder / "results", [f"results/studies/harmed/{name}.csv" for name in NAMES]
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
        assert (checkout.folder / table).read_bytes() == (finished.folder / table).read_bytes()
