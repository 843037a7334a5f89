"""The report's section on errors: which defects are missed, what failures have in common, and what detectors share.

All is read back from `defects.csv`, `failure_factors.csv` and `co_failures.csv`. Plain text: the template escapes it.
Tested in tests/report/test_errors_section.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from patchshift.evaluation.comparisons import correct_holm, find_level
from patchshift.evaluation.failures import SIZES, SharedErrors
from patchshift.evaluation.statistics import wilson_interval
from patchshift.plan.cells import Cell
from patchshift.report.analyses.co_failures import COUNTS, PAIR
from patchshift.report.analyses.defects import ALL, BORDER, CENTRE, DEFECT, POSITION, SIZE
from patchshift.report.analyses.failures import DEFECTIVE, GOOD, name_condition, read_table, row_names, select_baseline
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.cases import FALSE_ALARM, MISSED
from patchshift.report.labels import category_labels, group_labels
from patchshift.report.pairing import Share
from patchshift.report.results import Value, as_value
from patchshift.report.tables import row_keys
from patchshift.report.wording import join_words

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
        shown: the detector whose errors are described, and in which condition.
        sentences: what its decisions say.
        rows: defect types, the smallest share of found ones first.
        hidden: number of types that are not among `rows`.
        shared: the detector beside the others.
        hidden_shared: number of rows that are not among `shared`.
        tables: file name -> its path from the study's folder.
    """

    shown: str
    sentences: list[str]
    rows: list[DefectRow]
    hidden: int
    shared: list[SharedRow]
    hidden_shared: int
    tables: dict[str, str]


def describe_errors(data: StudyData, experiment: str) -> ErrorsSection | None:
    """The errors of the experiment's baseline in its first condition; None where no image is decided."""
    cells = select_baseline(data, experiment)
    categories = category_labels([row_keys(cell) for cell in cells])
    groups = _read_groups(data, experiment, cells, categories)
    if not groups:
        return None
    confidence = data.spec.confidence
    types = [group for group in groups if group.row["by"] == DEFECT]
    rows = sorted((_as_row(group, confidence) for group in types), key=lambda row: row.found.value)
    shared, alpha = _count_shared(data, experiment, cells), find_level(confidence)
    names = ("failures.csv", "defects.csv", "failure_factors.csv", "co_failures.csv")
    folder = data.experiment_folder(experiment).relative_to(data.folder)
    return ErrorsSection(
        shown=f"{group_labels([row_keys(cell) for cell in cells])[0]}: {name_condition(cells[0])}",
        sentences=[
            *_tell_mistakes(groups, confidence),
            *_tell_types(types, confidence),
            *_tell_classes(groups, confidence),
            *_tell_facts(data, experiment, cells, categories, alpha),
            *_tell_shared(shared, cells[0].bank.detector, alpha),
        ],
        rows=rows[:SHOWN],
        hidden=len(rows[SHOWN:]),
        shared=shared[:SHOWN],
        hidden_shared=len(shared[SHOWN:]),
        tables={name: (folder / name).as_posix() for name in names},
    )


@dataclass(frozen=True)
class _Group:
    """A row of `defects.csv` whose images are decided."""

    category: str
    row: Row

    @property
    def images(self) -> int:
        return int(self.row["images"])

    @property
    def called(self) -> int:
        return int(self.row["called_defective"])


def _read_groups(data: StudyData, experiment: str, cells: Sequence[Cell], categories: Sequence[str]) -> list[_Group]:
    table = read_table(data, experiment, "defects.csv")
    return [
        _Group(category, row)
        for cell, category in zip(cells, categories, strict=True)
        for row in table[row_names(cell)]
        if row["called_defective"]
    ]


def _pool(groups: Sequence[_Group], confidence: float) -> Share | None:
    """The share called defective over some groups; None of no image."""
    called, total = sum(group.called for group in groups), sum(group.images for group in groups)
    return Share(called, total, *wilson_interval(called, total, confidence)) if total else None


def _as_row(group: _Group, confidence: float) -> DefectRow:
    found = _pool([group], confidence)
    assert found is not None
    return DefectRow(group.category, group.row["value"], found, as_value(group.row, *_AUROC))


_AUROC = ("image_auroc", "image_auroc_low", "image_auroc_high")


def _tell_mistakes(groups: Sequence[_Group], confidence: float) -> list[str]:
    parts = []
    for value, said in ((DEFECTIVE, "found"), (GOOD, "falsely called defective")):
        share = _pool([group for group in groups if _is(group, ALL, value)], confidence)
        if share:
            kind = "defective" if value == DEFECTIVE else "good"
            parts.append(f"{share.count} of {share.total} {kind} images are {said} ({_range(share)})")
    return [f"{join_words(parts)}."] if parts else []


def _tell_types(types: Sequence[_Group], confidence: float) -> list[str]:
    """Types whose recall lies below that of all others of their category together, by their intervals."""
    sentences = []
    for group in types:
        others = [other for other in types if other.category == group.category and other is not group]
        own, rest = _pool([group], confidence), _pool(others, confidence)
        if own and rest and own.high < rest.low:
            sentences.append(
                f"{group.category}: {group.row['value']} is found less often than the other defects, {own.count} of "
                f"{own.total} ({_range(own)}) against {rest.count} of {rest.total} ({_range(rest)})."
            )
    if not sentences and len({(group.category, group.row["value"]) for group in types}) > 1:
        return ["No defect type is told from the others of its category by its recall: the intervals overlap."]
    return sentences


def _tell_classes(groups: Sequence[_Group], confidence: float) -> list[str]:
    """Small against large and border against centre, where their intervals do not overlap."""
    sentences = []
    pairs = (
        (SIZE, SIZES[0], SIZES[-1], "Small defects", "large ones"),
        (POSITION, BORDER, CENTRE, "Defects at the border", "those at the centre"),
    )
    for by, first, second, name, other in pairs:
        shares = [_pool([group for group in groups if _is(group, by, value)], confidence) for value in (first, second)]
        one, two = shares
        if one and two and (one.high < two.low or two.high < one.low):
            often = "less" if one.high < two.low else "more"
            sentences.append(
                f"{name} are found {often} often than {other}: {one.count} of {one.total} ({_range(one)}) against "
                f"{two.count} of {two.total} ({_range(two)})."
            )
    return sentences


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
    count = f"{len(tested)} {'test' if len(tested) == 1 else 'tests'}"
    if not sentences:
        return [
            f"In no fact of the images do failures differ from successes with a p below {alpha:g}, corrected for "
            f"{count}."
        ]
    return [*sentences, f"These p are corrected for all {count} of facts in these categories."]


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
            count = "fewer" if shared.second_wrong < shared.first_wrong else "more"
            sentences.append(
                f"{row.other} has {count} {said} than {own}: of {shared.total} images {shared.second_wrong} are wrong "
                f"there alone, {shared.first_wrong} here alone (McNemar's test, p = {row.p:.2g}, corrected for "
                f"{len(rows)} comparisons)."
            )
        level = [row.other for row in of_kind if row.p >= alpha]
        if level and apart:
            sentences.append(f"The {said} of {join_words(level)} are not told from its own in number.")
        elif level:
            sentences.append(f"No other detector's {said} are told from its own in number (McNemar's test).")
    return sentences


def _is(group: _Group, by: str, value: str) -> bool:
    return (group.row["by"], group.row["value"]) == (by, value)


def _range(share: Share) -> str:
    return f"{share.low:.2f} to {share.high:.2f}"
