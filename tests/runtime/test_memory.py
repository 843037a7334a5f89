import os
import platform
import subprocess
import sys

import pytest

from patchshift.runtime import memory

PROGRAM = """
import resource, sys
import numpy as np
from patchshift.runtime.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    batch = [np.ones(10_000_000, np.uint8) for _ in range(5)]
    del batch
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    small_pages = os.environ | {"NUMPY_MADVISE_HUGEPAGE": "0"}  # how many huge ones are free is chance
    command = [sys.executable, "-c", PROGRAM, how]
    run = subprocess.run(command, env=small_pages, capture_output=True, text=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc's allocator")
def test_buffers_of_one_batch_are_used_again_for_the_next() -> None:
    assert faults("keep") < faults("default") / 5


def test_another_allocator_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not memory.keep_freed_memory()
