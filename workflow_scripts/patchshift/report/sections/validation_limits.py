"""What the report says of the validation images that its thresholds rest on.

Plain text: the page escapes it. Tested in tests/report/test_limits.py.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from patchshift.data.splits import read_split
from patchshift.evaluation.calibrated import read_calibration
from patchshift.plan.cells import Cell
from patchshift.plan.deliverables import split_path
from patchshift.plan.threshold_specs import FROM_BOTH
from patchshift.report.grammar import agree, count, name_all
from patchshift.report.wording import join_words

MOST_REASONS = 4
"""Reasons for undefined thresholds or metrics that are named; their tables have all."""


def describe_validation(cells: Sequence[Cell], provenance: Mapping[str, Any]) -> list[str]:
    """How many validation images set thresholds, of which kind, and where there are none.

    Args:
        cells: the study's; thresholds are read from where they say.
        provenance: the settings of all ids.
    """
    calibrations = {cell.threshold_file: read_calibration(Path(cell.threshold_file))[0] for cell in cells}
    known = {path: one for path, one in calibrations.items() if one.threshold is not None}
    sentences = []
    lacking = len(calibrations) - len(known)
    if lacking:
        reasons = Counter(str(one.undefined) for path, one in calibrations.items() if path not in known)
        named = join_words([f"{reason} ({number})" for reason, number in reasons.most_common(MOST_REASONS)])
        verb = agree(lacking, "is", "are")
        sentences.append(f"{lacking} of {count(len(calibrations), 'threshold')} {verb} undefined: {named}.")
    if not known:
        return sentences
    good = [one.normal for one in known.values()]
    images = agree(max(good), "image", "images")
    sentences.append(f"Thresholds are set on {range_of(good)} good validation {images}.")
    settings = provenance.get("thresholds", {})
    both = {cell.threshold_file: cell for cell in cells}
    both = {path: cell for path, cell in both.items() if path in known and known[path].policy in FROM_BOTH}
    made = {path: cell for path, cell in both.items() if settings.get(cell.threshold, {}).get("defects_from")}
    mixed = {path: cell for path, cell in made.items() if _has_real_defects(cell)}
    for group, said in (
        (
            {path: cell for path, cell in both.items() if path not in made},
            ". A line without known defects cannot set such a threshold, and defects of other types than these may "
            "need another.",
        ),
        (mixed, ", some of them synthetic. Without the real ones the threshold would be another."),
        (
            {path: cell for path, cell in made.items() if path not in mixed},
            ", all synthetic: real defects may need another threshold.",
        ),
    ):
        if group:
            names = sorted({cell.threshold for cell in group.values()})
            subject = name_all("Threshold", names, "also sees", "also see")
            seen = [known[path].anomalous for path in group]
            sentences.append(f"{subject} {range_of(seen)} defective {agree(max(seen), 'one', 'ones')}{said}")
    elsewhere = {cell for cell in cells if cell.calibration != cell.target}
    if elsewhere:
        sentences.append(
            f"In {len(elsewhere)} of {count(len(cells), 'row')} the validation images are of another category or "
            "domain than the images tested."
        )
    return sentences


def _has_real_defects(cell: Cell) -> bool:
    """Whether validation images that set the cell's threshold are defective as they were taken."""
    paths = [split_path(f"{target.dataset}/{target.category}", cell.bank.split) for target in cell.calibrated_on]
    splits = [read_split(Path(path)) for path in paths]
    return any(not split.anomalous.isdisjoint(split.of("val")) for split in splits)


def range_of(counts: Sequence[int]) -> str:
    """`10`, or `10 to 20`."""
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"
