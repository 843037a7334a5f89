"""The command line `patchshift`.

Tested in tests/app/test_main.py.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from patchshift.app import check, extend, init, inspect_bank, predict, preview, track
from patchshift.errors import UserError

COMMANDS = {
    "init": init,
    "preview-shifts": preview,
    "check": check,
    "track": track,
    "predict": predict,
    "inspect-bank": inspect_bank,
    "extend": extend,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        The exit status: 0, or 1 where the user has something to mend.
    """
    parser = argparse.ArgumentParser(prog="patchshift", description="Tools around the workflow (README.md).")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        summary = (module.__doc__ or "").split("\n")[0]
        module.add_arguments(commands.add_parser(name, help=summary, description=summary))
    args = parser.parse_args(argv)
    try:
        COMMANDS[args.command].run(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def run_command() -> None:
    """Run what the command line says, and exit with its status."""
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:  # who read has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python fails at flushing it once more
        status = 1
    sys.exit(status)
