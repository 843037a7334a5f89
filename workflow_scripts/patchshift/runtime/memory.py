"""Keep freed memory for the next batch.

Tested in tests/runtime/test_memory.py; what it saves stands in benchmarks/README.md.
"""

import ctypes
import sys

# From glibc's malloc.h, with values in bytes: blocks up to the first size are cut from the heap, whose end is kept
# until it is larger than the second, and grows by at least the third.
MMAP_THRESHOLD, TRIM_THRESHOLD, TOP_PAD = -3, -1, -2
SETTINGS = {MMAP_THRESHOLD: 32 << 20, TRIM_THRESHOLD: 1 << 30, TOP_PAD: 64 << 20}


def keep_freed_memory() -> bool:
    """Let the allocator reuse the buffers of a batch for the next one.

    By default glibc returns large buffers to the system at once, and the system hands them out anew page by page: a
    sixth of the time of a forward pass on the CPU.

    Returns:
        Whether this system's allocator knows these settings; elsewhere nothing is changed.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(setting, value) == 1 for setting, value in SETTINGS.items())
