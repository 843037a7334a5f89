"""Detectors that are scores of another method: where its files are, and what keeps them from being read.

Tested in tests/plan/test_external.py.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from patchshift.plan.base import leaves_folder
from patchshift.plan.cells import Cell, Target
from patchshift.plan.detector_specs import ExternalSpec
from patchshift.plan.fingerprints import digest_times
from patchshift.plan.study import Study


def name_detectors(study: Study, *, fitted: bool) -> str:
    """A regular expression that matches exactly the detectors that are fitted, or those whose scores are read."""
    detectors = study.catalog.detectors.items()
    names = (name for name, spec in detectors if isinstance(spec, ExternalSpec) != fitted)
    return "|".join(sorted(map(re.escape, names))) or "(?!)"


def find_table(study: Study, detector: str, target: Target) -> Path:
    """The CSV file with the scores of a target's images."""
    return Path(study.config.data_dir, _spec(study, detector).folder, f"{target.path}.csv")


def table_inputs(study: Study, detector: str, target: Target) -> list[str]:
    """The same, where it is there; `plan.inputs` says if it is not."""
    table = find_table(study, detector, target)
    return [str(table)] if table.is_file() else []


def fingerprint_maps(study: Study, detector: str, target: Target) -> str:
    """Changes when a map that the table names comes, goes or is written anew; what is wrong with it, the job says."""
    table = find_table(study, detector, target)
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            columns, *rows = [[value.strip() for value in row] for row in csv.reader(file)]
        named = {row[columns.index("map")] for row in rows if len(row) == len(columns)}
    except (OSError, ValueError, csv.Error):  # not there, not text, empty, or without maps
        return ""
    inside = (table.parent / name for name in named if name and not leaves_folder(name))
    return digest_times([path for path in inside if path.is_file()], table.parent)


def import_spec(study: Study, detector: str) -> str:
    """What imported scores depend on beside the files; not what tables say of the weights."""
    return _spec(study, detector).canonical(exclude={"weights"})


def find_repeated_tables(cells: Sequence[Cell]) -> Iterator[str]:
    """Tables that would stand for several trainings: the same scores would be reported of each."""
    trainings: dict[tuple[str, Target], dict[Target, None]] = {}
    for cell in cells:
        if not cell.bank.is_fitted:
            for target in (cell.target, *cell.calibrated_on):
                trainings.setdefault((cell.bank.detector, target), {})[cell.bank.training] = None
    for (detector, target), found in trainings.items():
        if len(found) > 1:
            yield (
                f"detector '{detector}' is read from one table for {target.path}, which cannot be the scores of "
                f"methods trained on {' and on '.join(training.path for training in found)}: exclude all but one of "
                "these combinations, or add a detector with a folder of its own for each"
            )


def external_options(study: Study, detector: str) -> list[str]:
    """What tells a script that scores are another method's."""
    return ["--external"] * isinstance(study.catalog.detectors[detector], ExternalSpec)


def _spec(study: Study, detector: str) -> ExternalSpec:
    spec = study.catalog.detectors[detector]
    assert isinstance(spec, ExternalSpec)  # only the job of external detectors asks
    return spec
