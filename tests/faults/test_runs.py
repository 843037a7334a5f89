"""Runs in each other's way, on a disk that cannot be written, with a clock that goes back, on images that change."""

import json
import os
import signal
import subprocess
import time
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest

from patchshift.app.check import find_study
from patchshift.app.checklist import check_study
from patchshift.runtime.files import digest_file
from tests.checkout import PATIENCE

STUDY = Path("results/studies/tiny")
PLACE = "tiny/weave/clean/tiny_split/tiny_scattering/tiny_patchcore/seed0"
FEATURES = "results/features/tiny/weave/clean/tiny_scattering.h5"
BANK = f"results/banks/{PLACE}.h5"
SCORES = f"results/scores/{PLACE}/on/tiny/weave/clean.h5"
IMAGE = "results/datasets/tiny/weave/train/good/001.png"
INDEX = "results/images/tiny/weave.csv"


def test_a_second_run_in_one_folder_is_refused_and_leaves_the_first_ones_account_alone(checkout: Any) -> None:
    for path in (BANK, SCORES):
        (checkout.folder / path).unlink()
    told = checkout.folder.parent / "first.txt"
    with told.open("w") as stream:
        first = checkout.start("--cores", "1", SCORES, stdout=stream, stderr=stream, start_new_session=True)
        locks = checkout.folder / ".snakemake/locks"
        while not any(SCORES in lock.read_text() for lock in locks.glob("*.output.lock")):  # empty at first
            assert first.poll() is None, told.read_text()
            time.sleep(0.01)
        os.killpg(first.pid, signal.SIGSTOP)  # it takes as long as the second needs
        os.waitid(os.P_PID, first.pid, os.WSTOPPED | os.WNOWAIT)
        before = read_account(checkout.folder)
        second = checkout.run("--cores", "1", SCORES)
        after = read_account(checkout.folder)
        os.killpg(first.pid, signal.SIGCONT)
        assert first.wait(PATIENCE) == 0, told.read_text()
    assert second.returncode == 1
    assert "Directory cannot be locked" in second.stderr
    assert "Traceback" not in second.stderr
    assert after == before
    summary = json.loads((checkout.folder / STUDY / "summary.json").read_text())
    assert (summary["status"], summary["failed_jobs"]) == ("finished", [])
    log = (checkout.folder / STUDY / "run.log").read_text()
    assert "rule score_images:" in log
    assert "locked" not in log


def read_account(folder: Path) -> dict[str, bytes]:
    """What runs left of themselves."""
    return {path.name: path.read_bytes() for path in (folder / STUDY).iterdir() if path.suffix in (".log", ".json")}


def test_results_that_cannot_be_written_are_told_before_any_job_starts(checkout: Any) -> None:
    for path in (BANK, SCORES):
        (checkout.folder / path).unlink()
    results = checkout.folder / "results"
    try:
        subprocess.run(["mount", "--bind", results, results], check=True, capture_output=True)
    except (subprocess.CalledProcessError, FileNotFoundError, PermissionError):
        pytest.skip("only who may mount a folder can make it read-only for the superuser, too")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", results], check=True)
        run = checkout.run("--cores", "1", SCORES)
        assert run.returncode == 1
        told = run.stderr.splitlines()[-1]
        assert told.startswith("cannot write results/")
        assert told.endswith("the file system is read-only: choose another folder or remount it")
        assert "Traceback" not in run.stderr
    finally:
        subprocess.run(["umount", "--lazy", results], check=True)
    assert checkout.plan_rules(SCORES) == {"fit_detector", "score_images"}


def test_after_a_clock_went_back_jobs_run_once_more_and_then_no_more(checkout: Any) -> None:
    expected = digest_file(checkout.folder / SCORES)
    ahead = time.time() + 24 * 3600
    for path in (FEATURES, BANK):
        os.utime(checkout.folder / path, (ahead, ahead))
    by_time = ("--max-checksum-file-size", "0")  # as it is with files of a megabyte and more
    run = checkout.run("--cores", "1", *by_time, SCORES)
    assert run.returncode == 0, run.stderr
    assert "artifacts were dated in the future, such as results/" in run.stderr
    assert digest_file(checkout.folder / SCORES) == expected
    again = checkout.run("--cores", "1", *by_time, SCORES)
    assert "Nothing to be done" in again.stderr
    assert "dated in the future" not in again.stderr


def test_an_image_that_changes_is_reported_by_name_and_the_remedy_works(checkout: Any) -> None:
    image = checkout.folder / IMAGE
    content = bytearray(image.read_bytes())
    other = (image.parent / "002.png").read_bytes()
    times = image.stat()
    image.write_bytes(other)
    os.utime(image, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert bytes(content) != other
    with chdir(checkout.folder):
        problems = {each.check: each.problems for each in check_study(find_study("tiny"))}
    message = f"{IMAGE} changed since it was indexed (if that was meant, run again with --forcerun index_images)"
    assert problems["images as indexed"] == [message]
    (checkout.folder / FEATURES).unlink()
    run = checkout.run("--cores", "1", FEATURES)
    assert run.returncode == 1
    assert f"{IMAGE}: changed since it was indexed; run again with --forcerun index_images" in run.stderr
    assert "Traceback" not in run.stderr
    assert not (checkout.folder / FEATURES).exists()
    run = checkout.run("--cores", "1", FEATURES, "--forcerun", "index_images")
    assert run.returncode == 0, run.stderr
    assert (checkout.folder / INDEX).read_text().count(digest_file(image)) == 2
