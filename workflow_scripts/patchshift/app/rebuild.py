"""The command that runs a study, and the one that makes anew what a check of it found wrong.

Both can be pasted into a shell as they are. Tested in tests/app/test_rebuild.py and tests/workflow/test_stale.py.
"""

import os
import shlex
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from pathlib import Path

from patchshift.errors import UserError
from patchshift.plan import Study
from patchshift.plan.records import list_artifacts
from patchshift.runtime.files import write_text

DEFAULT = Path("config.yaml")
"""The config that Snakemake takes where none is named."""

RECORDS = Path(".snakemake/metadata")
"""Where Snakemake keeps what it knows of files that it made."""

MANY = 10
"""Paths from which the command reads them from a file."""


def tell_run(config: Path) -> str:
    """The command that runs the study of a config file."""
    return "snakemake --cores 2 all" + ("" if config == DEFAULT else f" --configfile {shlex.quote(str(config))}")


def tell_rebuild(study: Study, config: Path, paths: Sequence[str]) -> str:
    """The command that makes artifacts anew, whatever their times say, and then what comes from them.

    It names paths, never rules: which rule makes a store depends on shards and batches, and what is made on request
    alone is made by no run of a rule's name. Many paths stand in a file of the study's folder, if that can be written.

    Of results that were copied, Snakemake has no records, and would make most of them anew for their times alone: there
    it is told first to take them as they are.

    Args:
        study: the study.
        config: its config file.
        paths: what to make; those of `list_artifacts` alone are ones that Snakemake knows.
    """
    run = tell_run(config)
    make = f"{run} --forcerun {_name(paths, Path(study.folder, 'rebuild.txt'))}"
    return make if is_recorded(study) else f"{run} --touch && {make}"


def is_recorded(study: Study) -> bool:
    """Whether Snakemake has a record here of every artifact of the study that is there."""
    return all(_find_record(path).is_file() for path in list_artifacts(study) if Path(path).exists())


def _find_record(path: str) -> Path:
    """Where Snakemake keeps its record of a file; names that are too long for one are those of folders, too."""
    name, limit = urlsafe_b64encode(path.encode()).decode(), _longest_name() - 1
    *folders, last = (name[start : start + limit] for start in range(0, len(name), limit))
    return RECORDS.joinpath(*(f"@{folder}" for folder in folders), last)


def _longest_name() -> int:
    return os.pathconf(RECORDS, "PC_NAME_MAX") if RECORDS.is_dir() else 255


def _name(paths: Sequence[str], listing: Path) -> str:
    """Paths as words of a command: as they are, or what reads them from a file that lists them."""
    if len(paths) < MANY:
        return shlex.join(paths)
    try:
        write_text(listing, "".join(f"{path}\n" for path in paths))
    except (UserError, OSError):
        return shlex.join(paths)
    return f"$(cat {shlex.quote(str(listing))})"
