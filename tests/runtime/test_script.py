import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[[str], subprocess.CompletedProcess[str]]

SCRIPT = """
import errno, os, sys
from patchshift.errors import UserError
from patchshift.runtime.script import run_script

def main(argv):
    {body}

run_script(main)
"""


@pytest.fixture
def run(repository: Path) -> Run:
    def run(body: str) -> subprocess.CompletedProcess[str]:
        program = SCRIPT.format(body=body)
        path = str(repository / "workflow_scripts")
        return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env={"PYTHONPATH": path})

    return run


def test_a_users_mistake_ends_in_one_message_without_a_traceback(run: Run) -> None:
    done = run("raise UserError('images: none found: bring some')")
    assert done.returncode == 1
    assert done.stderr == "error: images: none found: bring some\n"


def test_a_full_disk_ends_in_one_message_without_a_traceback(run: Run) -> None:
    done = run("raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), 'a.h5')")
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot write a.h5: the disk is full")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("error", ["ValueError('bug')", "FileNotFoundError(2, 'no such file', 'a')"])
def test_a_bug_keeps_its_traceback(run: Run, error: str) -> None:
    done = run(f"raise {error}")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_messages_go_to_standard_error_and_success_is_silent(run: Run) -> None:
    done = run("import logging; logging.info('halfway')")
    assert (done.returncode, done.stdout) == (0, "")
    assert "INFO halfway" in done.stderr


def test_a_file_that_may_not_be_read_ends_in_one_message(run: Run) -> None:
    done = run("raise PermissionError(errno.EACCES, 'denied', 'images/a.csv')")
    assert done.returncode == 1
    assert done.stderr == (
        "error: images/a.csv: permission denied: make it readable, and its folder writable, for you\n"
    )
