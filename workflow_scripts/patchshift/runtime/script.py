"""How every workflow script starts: messages on standard error, users' mistakes without a traceback.

Tested in tests/runtime/test_script.py.
"""

import errno
import logging
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from patchshift.errors import UserError
from patchshift.runtime.files import explain_write_failure

LOG_LEVEL = "PATCHSHIFT_LOG_LEVEL"
"""The environment variable that hands `log_level` of the config to jobs."""

SHORT_MEMORY = "DefaultCPUAllocator: can't allocate memory"
"""What torch's RuntimeError says where others raise MemoryError."""

log = logging.getLogger(__name__)


def run_script(main: Callable[[Sequence[str] | None], None]) -> None:
    """Run `main` on the command line's arguments; exit 1 with one clear message where the user can mend it."""
    start_logging()
    _allow_many_open_files()
    start = time.monotonic()
    log.debug("arguments: %s", sys.argv[1:])
    try:
        main(None)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        log.debug("done in %.2f s, peak memory %.0f MB", time.monotonic() - start, peak / 1024)
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("error: interrupted; run again to go on")
    except PermissionError as error:
        sys.exit(f"error: {error.filename}: permission denied: make it readable, and its folder writable, for you")
    except (MemoryError, RuntimeError, OSError) as error:
        explained = _explain_shortage(error)
        if explained is None:
            raise
        sys.exit(explained)


def _explain_shortage(error: Exception) -> str | None:
    """The user's version of what memory or a disk did not give; None where it was something else."""
    if (
        isinstance(error, MemoryError)
        or SHORT_MEMORY in str(error)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)  # no process, thread or mapping
    ):
        log.debug("where memory ran out:", exc_info=True)
        reason = (str(error).strip() or "MemoryError").splitlines()[-1]  # TorchScript puts a traceback before it
        return (
            f"error: memory ran out ({reason}): run fewer jobs at a time (--cores) or set a smaller "
            "batch_size or chunk_mb; on a cluster, ask for more memory (--set-resources RULE:mem_mb=...)"
        )
    if not isinstance(error, OSError):
        return None
    explained = explain_write_failure(Path(error.filename or "a file"), error)
    return None if explained is None else f"error: {explained}"


def _allow_many_open_files() -> None:
    """Raise this process' limit as far as it goes: each open store takes two files, and shards are open together."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # some systems refuse what they give as the most
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def start_logging() -> None:
    """Send log messages to standard error: those of the level that the environment names, by default `info`.

    Other libraries' debugging is left out at every level.
    """
    level = logging.getLevelNamesMapping().get(os.environ.get(LOG_LEVEL, "info").upper(), logging.INFO)
    form = "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(stream=sys.stderr, level=max(level, logging.INFO), format=form)
    logging.getLogger("patchshift").setLevel(level)
