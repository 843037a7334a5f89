"""How every workflow script starts: messages on standard error, users' mistakes without a traceback."""

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from patchshift.errors import UserError
from patchshift.runtime.files import explain_write_failure


def run_script(main: Callable[[Sequence[str] | None], None]) -> None:
    """Run `main` on the command line's arguments; exit 1 with one clear message where the user can mend it."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        main(None)
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("error: interrupted; run again to go on")
    except PermissionError as error:
        sys.exit(f"error: {error.filename}: permission denied: make it readable, and its folder writable, for you")
    except OSError as error:
        explained = explain_write_failure(Path(error.filename or "a file"), error)
        if explained is None:
            raise
        sys.exit(f"error: {explained}")
