"""The checks of a finished study, one after another.

Tested in tests/workflow/test_closing.py and tests/app/test_check.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from patchshift.app import check_files, check_specs, check_tables
from patchshift.errors import UserError
from patchshift.plan import Study

CHECKS: dict[str, Callable[[Study], tuple[Any, ...]]] = {
    "files are there": check_files.check_presence,
    "results.csv as planned": check_tables.check_results,
    "metrics.csv as planned": check_tables.check_metrics,
    "predictions.csv as planned": check_tables.check_predictions,
    "values in range": check_tables.check_ranges,
    "counts add up": check_tables.check_counts,
    "tables agree": check_tables.check_agreement,
    "figures can be opened": check_files.check_figures,
    "last run without error": check_files.check_run,
    "digests as in the manifest": check_files.check_digests,
    "images as indexed": check_files.check_images,
    "made from these inputs": check_files.check_origins,
    "up to date with the config": check_specs.check_settings,
}
"""Every check: what it looked at, in a few words, what is wrong with it, and it may be which artifacts to make anew. A
new one is a function and a line."""


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        check: its name.
        told: what was looked at.
        problems: one line each; none if all is well.
        rebuild: paths of artifacts that a run is to make anew.
    """

    check: str
    told: str
    problems: list[str]
    rebuild: Sequence[str] = ()


def check_study(study: Study) -> list[Finding]:
    """Run every check of a study in the working folder; one that cannot read its files has failed."""
    findings = []
    for name, check in CHECKS.items():
        try:
            finding = Finding(name, *check(study))
        except (UserError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            finding = Finding(name, "", [f"cannot be checked: {_explain(error)}"])
        findings.append(finding)
    return findings


def _explain(error: Exception) -> str:
    """What a check stopped at: a mistake in its own words, a missing file, or damage that the error itself names."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"{error.filename} does not exist: run the study again"
    if isinstance(error, PermissionError) and error.filename:
        return f"{error.filename}: permission denied: make it readable for you"
    return f"a file that it reads is damaged ({type(error).__name__}: {error})"
