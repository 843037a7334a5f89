"""Two corners of Snakemake's command line that trip every newcomer.

`--configfile FILE all` and `--config KEY=VALUE all` take the target for one more file or setting, and a config file
that is missing or malformed ends in a traceback that does not say where the mistake is.
docs/design/005-command-line.md tells why this is mended here. Tested in tests/test_logger_plugin.py.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from patchshift.errors import UserError
from patchshift.plan import read_yaml

CONFIG_FILES = ("--configfile", "--configfiles")
SETTINGS = ("--config", "-C")


def tidy(argv: Sequence[str]) -> list[str]:
    """The command line with targets in front, and its config files checked.

    Args:
        argv: program and arguments; another program's are returned as they are.

    Raises:
        SystemExit: with one line that says which config file is missing or malformed, and where.
    """
    if not argv or Path(argv[0]).name != "snakemake":
        return list(argv)
    targets, others, option = [], [], ""
    for argument in argv[1:]:
        option = argument if argument.startswith("-") else option
        if argument == option:
            others.append(argument)
        elif _is_target(argument, option):
            targets.append(argument)
        else:
            if option in CONFIG_FILES:
                _check(Path(argument))
            others.append(argument)
    return [argv[0], *targets, *others]


def _is_target(argument: str, option: str) -> bool:
    """Whether an argument behind an option that takes several is none of them."""
    if option in CONFIG_FILES:
        if Path(argument).parts[:1] == ("results",):  # artifacts are JSON too
            return True
        return Path(argument).suffix not in (".yaml", ".yml", ".json")
    return option in SETTINGS and "=" not in argument


def _check(path: Path) -> None:
    try:
        read_yaml(path)
    except UserError as error:
        sys.exit(str(error))
