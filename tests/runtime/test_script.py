import shutil
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


@pytest.mark.parametrize(
    "error", ["ValueError('bug')", "RuntimeError('bug')", "FileNotFoundError(2, 'no such file', 'a')"]
)
def test_a_bug_keeps_its_traceback(run: Run, error: str) -> None:
    done = run(f"raise {error}")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.parametrize(
    ("imports", "body", "reason"),
    [
        ("import numpy", "numpy.empty(1 << 60, 'u1')", "Unable to allocate 1.00 EiB for an array"),
        ("import torch", "torch.empty(1 << 55, dtype=torch.uint8)", "DefaultCPUAllocator: can't allocate memory"),
        ("", "raise MemoryError", "(MemoryError)"),
        ("", "raise OSError(errno.ENOMEM, 'Cannot allocate memory')", "Cannot allocate memory"),  # of a fork, say
    ],
)
def test_short_memory_ends_in_one_message_that_says_how_to_need_less(
    run: Run, imports: str, body: str, reason: str
) -> None:
    done = run(f"{imports}; {body}" if imports else body)
    assert done.returncode == 1
    assert done.stderr.startswith("error: memory ran out (")
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1
    for remedy in ("--cores", "batch_size", "chunk_mb", "--set-resources RULE:mem_mb=..."):
        assert remedy in done.stderr


def test_a_script_may_open_more_files_than_it_was_started_with(repository: Path, artifact: Path) -> None:
    """As many open stores as a plan may have shards exceed the usual limit."""
    shards = artifact.parent / "shards"
    shards.mkdir()
    for number in range(100):
        shutil.copy(artifact, shards / f"{number}.h5")
    opened = f"[stores.enter_context(open_hdf5(path, check=leave_seal)) for path in Path({str(shards)!r}).iterdir()]"
    program = SCRIPT.format(body=f"with ExitStack() as stores: print('opened', len({opened}))")
    imports = [
        "import resource",
        "from contextlib import ExitStack",
        "from pathlib import Path",
        "from patchshift.runtime.hdf5 import open_hdf5",
        "from patchshift.runtime.sealed import leave_seal",
        "_, most = resource.getrlimit(resource.RLIMIT_NOFILE)",
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, most))",
    ]
    environment = {"PYTHONPATH": str(repository / "workflow_scripts")}
    command = [sys.executable, "-c", "\n".join([*imports, program])]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (0, "opened 100\n"), done.stderr


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


def test_the_level_of_logs_comes_from_the_environment(repository: Path) -> None:
    body = "[log.log(level, 'said %d', level) for level in (10, 20, 30, 40)]"
    program = SCRIPT.format(body=body).replace(
        "def main", "import logging\nlog = logging.getLogger('patchshift.data.index')\n\ndef main"
    )
    for level, first in (("debug", 10), ("info", 20), ("warning", 30), ("error", 40), ("", 20)):
        environment = {"PYTHONPATH": str(repository / "workflow_scripts")}
        environment |= {"PATCHSHIFT_LOG_LEVEL": level} if level else {}
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
        said = [int(line.split("said ")[1]) for line in done.stderr.splitlines() if "said " in line]
        assert said == [each for each in (10, 20, 30, 40) if each >= first]
        assert ("DEBUG arguments: " in done.stderr) == ("DEBUG done in " in done.stderr) == (level == "debug")


def test_what_tables_are_read_from_is_logged_at_every_level(repository: Path) -> None:
    program = SCRIPT.format(body="ScoringPace(3, 1.0, 2.0).report(); Pace('a.h5', 4).__exit__(None, None, None)")
    imports = "from patchshift.detectors.pace import ScoringPace\nfrom patchshift.runtime.pace import Pace\n"
    environment = {"PYTHONPATH": str(repository / "workflow_scripts"), "PATCHSHIFT_LOG_LEVEL": "error"}
    done = subprocess.run([sys.executable, "-c", imports + program], capture_output=True, text=True, env=environment)
    assert "scored 3 images: " in done.stderr
    assert "a.h5: passed 0 images through the backbone in " in done.stderr
