"""The report's section on errors: which defects are missed, what failures have in common, and what detectors share.

All is read back from `defects.csv`, `failure_factors.csv` and `co_failures.csv`. Plain text: the template escapes it.
Tested in tests/report/test_errors_section.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from patchshift.evaluation.comparisons import correct_holm, find_level
from patchshift.evaluation.failures import SharedErrors
from patchshift.plan.cells import Cell
from patchshift.report.analyses.co_failures import COUNTS, PAIR
from patchshift.report.analyses.defects import DEFECT
from patchshift.report.analyses.failures import read_table, row_names
from patchshift.report.analyses.shown import explain_shown, is_recommended, name_condition, select_shown
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.cases import FALSE_ALARM, MISSED
from patchshift.report.conditions import setup_of
from patchshift.report.grammar import agree, count
from patchshift.report.keys import row_keys
from patchshift.report.labels import category_labels
from patchshift.report.pairing import Share
from patchshift.report.results import Value, as_value
from patchshift.report.sections.defect_groups import (
    DefectGroup,
    pool_groups,
    read_groups,
    tell_classes,
    tell_mistakes,
    tell_types,
)
from patchshift.report.wording import join_words, name_setup

SHOWN = 12
"""Rows of a table on the page; the CSV has the others."""

FACT_NAMES = {
    "brightness": "brightness",
    "contrast": "contrast",
    "sharpness": "sharpness",
    "defect_area": "share of defective pixels",
    "defect_regions": "number of defect regions",
    "defect_contrast": "contrast of the defect to what is around it",
    "defect_row": "distance of the defect from the top",
    "defect_column": "distance of the defect from the left",
    "border_distance": "distance of the defect from the border",
}

Row = dict[str, str]


@dataclass(frozen=True)
class DefectRow:
    """One defect type of one category: how many of its images are found, and their AUROC against the good ones."""

    category: str
    defect: str
    found: Share
    auroc: Value


@dataclass(frozen=True)
class SharedRow:
    """Errors of the detector shown and of another one on the same images, over the categories.

    Attributes:
        other: the other detector.
        kind: of error.
        shared: the counts.
        p: McNemar's, corrected over all rows of the section.
    """

    other: str
    kind: str
    shared: SharedErrors
    p: float


@dataclass(frozen=True)
class ErrorsSection:
    """What the report shows of an experiment's errors.

    Attributes:
        shown: the setup whose errors are described, why that one, and in which condition.
        is_recommended: whether it is the setup that the study recommends.
        sentences: what its decisions say.
        rows: defect types, the smallest share of found ones first.
        hidden: number of types that are not among `rows`.
        shared: the detector beside the others.
        hidden_shared: number of rows that are not among `shared`.
        tables: file name -> its path from the study's folder.
    """

    shown: str
    is_recommended: bool
    sentences: list[str]
    rows: list[DefectRow]
    hidden: int
    shared: list[SharedRow]
    hidden_shared: int
    tables: dict[str, str]


def describe_errors(data: StudyData, experiment: str) -> ErrorsSection | None:
    """The errors of the recommended setup, else of the experiment's baseline; None where no image is decided."""
    cells = select_shown(data, experiment)
    categories = category_labels([row_keys(cell) for cell in cells])
    groups = read_groups(data, experiment, cells, categories)
    if not groups:
        return None
    confidence = data.spec.confidence
    types = [group for group in groups if group.row["by"] == DEFECT]
    rows = sorted((_as_row(group, confidence) for group in types), key=lambda row: row.found.value)
    shared, alpha = _count_shared(data, experiment, cells), find_level(confidence)
    name = name_setup(setup_of(cells[0]))
    names = ("failures.csv", "defects.csv", "failure_factors.csv", "co_failures.csv")
    folder = data.experiment_folder(experiment).relative_to(data.folder)
    return ErrorsSection(
        shown=f"{name}, {explain_shown(data, experiment, cells[0])}: {name_condition(cells[0])}",
        is_recommended=is_recommended(data, cells[0]),
        sentences=[
            *tell_mistakes(groups, confidence),
            *tell_types(types, confidence),
            *tell_classes(groups, confidence),
            *_tell_facts(data, experiment, cells, categories, alpha),
            *_tell_shared(shared, cells[0].bank.detector, alpha),
        ],
        rows=rows[:SHOWN],
        hidden=len(rows[SHOWN:]),
        shared=shared[:SHOWN],
        hidden_shared=len(shared[SHOWN:]),
        tables={name: (folder / name).as_posix() for name in names},
    )


def _as_row(group: DefectGroup, confidence: float) -> DefectRow:
    found = pool_groups([group], confidence)
    assert found is not None
    return DefectRow(group.category, group.row["value"], found, as_value(group.row, *_AUROC))


_AUROC = ("image_auroc", "image_auroc_low", "image_auroc_high")


def _tell_facts(
    data: StudyData, experiment: str, cells: Sequence[Cell], categories: Sequence[str], alpha: float
) -> list[str]:
    """Facts whose p is below alpha, corrected over all that are tested here: those of every category."""
    table = read_table(data, experiment, "failure_factors.csv")
    tested = [
        (category, row)
        for cell, category in zip(cells, categories, strict=True)
        for row in table[row_names(cell)]
        if row["p"]
    ]
    corrected = correct_holm([float(row["p"]) for _, row in tested])
    sentences = [
        _tell_fact(category, row, p)
        for (category, row), p in zip(tested, corrected, strict=True)
        if p is not None and p < alpha
    ]
    if not tested:
        return []
    tests = count(len(tested), "test")
    if not sentences:
        return [
            f"In no fact of the images do failures differ from successes with a p below {alpha:g}, corrected for "
            f"{tests}."
        ]
    return [*sentences, f"These p are corrected for all {tests} of facts in these categories."]


def _tell_fact(category: str, row: Row, p: float) -> str:
    deed, others, done, undone = _SIDES[row["kind"]]
    size = "larger" if float(row["effect"]) > 0 else "smaller"
    medians = [f"{float(row[f'median_{side}']):.2g}" for side in ("failures", "successes")]
    return (
        f"{category}: {deed} tend to have a {size} {FACT_NAMES[row['fact']]} than {others} ({row['failures']} {done}, "
        f"{row['successes']} {undone}; median {medians[0]} against {medians[1]}, p = {p:.2g})."
    )


_SIDES = {
    MISSED: ("images whose defect is missed", "those whose defect is found", "missed", "found"),
    FALSE_ALARM: ("good images called defective", "those called good", "called defective", "called good"),
}


def _count_shared(data: StudyData, experiment: str, cells: Sequence[Cell]) -> list[SharedRow]:
    """The counts of `co_failures.csv` over the cells, by the other detector; those shown come first in their pairs."""
    table = read_table(data, experiment, "co_failures.csv")
    counts: dict[tuple[str, str], list[int]] = {}
    for cell in cells:
        for row in table[row_names(cell)]:
            if row["record"] == PAIR and row["both_right"]:
                summed = counts.setdefault((row["other_detector"], row["kind"]), [0] * 4)
                for place, name in enumerate(COUNTS[1:]):
                    summed[place] += int(row[name])
    shared = [SharedErrors(*summed) for summed in counts.values()]
    corrected = correct_holm([errors.p for errors in shared])
    return [
        SharedRow(other, kind, errors, 1.0 if p is None else p)
        for (other, kind), errors, p in zip(counts, shared, corrected, strict=True)
    ]


def _tell_shared(rows: Sequence[SharedRow], own: str, alpha: float) -> list[str]:
    """Which other detectors make more or fewer errors of a kind, and which are not told apart."""
    sentences = []
    for kind, said in ((MISSED, "missed defects"), (FALSE_ALARM, "false alarms")):
        of_kind = [row for row in rows if row.kind == kind]
        apart = [row for row in of_kind if row.p < alpha]
        for row in apart:
            shared = row.shared
            more = "fewer" if shared.second_wrong < shared.first_wrong else "more"
            sentences.append(
                f"{row.other} has {more} {said} than {own}: of {count(shared.total, 'image')} {shared.second_wrong} "
                f"{agree(shared.second_wrong, 'is', 'are')} wrong there alone, {shared.first_wrong} here alone "
                f"(McNemar's test, p = {row.p:.2g}, corrected for {count(len(rows), 'comparison')})."
            )
        level = [row.other for row in of_kind if row.p >= alpha]
        if level and apart:
            sentences.append(f"The {said} of {join_words(level)} are not told from its own in number.")
        elif level:
            sentences.append(f"No other detector's {said} are told from its own in number (McNemar's test).")
    return sentences
