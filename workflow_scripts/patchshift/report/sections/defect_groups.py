"""Which defects are found: by type, and small against large and border against centre within their categories.

Plain text. Tested in tests/report/test_errors_section.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from patchshift.evaluation.failures import SIZES
from patchshift.evaluation.rates import compare_within
from patchshift.evaluation.statistics import wilson_interval
from patchshift.plan.cells import Cell
from patchshift.report.analyses.defects import ALL, BORDER, CENTRE, POSITION, SIZE
from patchshift.report.analyses.failures import DEFECTIVE, GOOD, read_table, row_names
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.pairing import Share, hundredths
from patchshift.report.wording import join_words

Row = dict[str, str]


@dataclass(frozen=True)
class DefectGroup:
    """A row of `defects.csv` whose images are decided, and the category that it is of."""

    category: str
    row: Row

    @property
    def images(self) -> int:
        """How many there are."""
        return int(self.row["images"])

    @property
    def called(self) -> int:
        """How many of them are called defective."""
        return int(self.row["called_defective"])


def read_groups(
    data: StudyData, experiment: str, cells: Sequence[Cell], categories: Sequence[str]
) -> list[DefectGroup]:
    """The rows of some cells, of one category each."""
    table = read_table(data, experiment, "defects.csv")
    return [
        DefectGroup(category, row)
        for cell, category in zip(cells, categories, strict=True)
        for row in table[row_names(cell)]
        if row["called_defective"]
    ]


def pool_groups(groups: Sequence[DefectGroup], confidence: float) -> Share | None:
    """The share called defective over some groups; None of no image."""
    called, total = sum(group.called for group in groups), sum(group.images for group in groups)
    return Share(called, total, *wilson_interval(called, total, confidence)) if total else None


def tell_mistakes(groups: Sequence[DefectGroup], confidence: float) -> list[str]:
    """How many images are found and how many falsely called defective, of all categories together."""
    parts = []
    for value, said in ((DEFECTIVE, "found"), (GOOD, "falsely called defective")):
        share = pool_groups([group for group in groups if _is(group, ALL, value)], confidence)
        if share:
            kind = "defective" if value == DEFECTIVE else "good"
            parts.append(f"{share.count} of {share.total} {kind} images are {said} ({_range(share)})")
    count = len({group.category for group in groups})
    together = f"Of all {count} categories together, " if count > 1 else ""
    return [f"{together}{join_words(parts)}."] if parts else []


def tell_types(types: Sequence[DefectGroup], confidence: float) -> list[str]:
    """Types whose recall lies below that of all others of their category together, by their intervals."""
    sentences, compared = [], False
    for group in types:
        others = [other for other in types if other.category == group.category and other is not group]
        own, rest = pool_groups([group], confidence), pool_groups(others, confidence)
        compared = compared or bool(own and rest)
        if own and rest and own.high < rest.low:
            sentences.append(
                f"{group.category}: {group.row['value']} is found less often than the other defects, {own.count} of "
                f"{own.total} ({_range(own)}) against {rest.count} of {rest.total} ({_range(rest)})."
            )
    if compared and not sentences:
        return ["No defect type is told from the others of its category by its recall: the intervals overlap."]
    return sentences


def tell_classes(groups: Sequence[DefectGroup], confidence: float) -> list[str]:
    """Small against large and border against centre, category by category: where that tells them apart.

    Categories differ in how hard their defects are, and where these lie: pooled, one would stand for the other.
    """
    sentences = []
    for by, first, second, name, other in (
        (SIZE, SIZES[0], SIZES[-1], "Small defects", "large ones"),
        (POSITION, BORDER, CENTRE, "Defects at the border", "those at the centre"),
    ):
        sides = [{group.category: group for group in groups if _is(group, by, value)} for value in (first, second)]
        both = [(sides[0][category], sides[1][category]) for category in sides[0] if category in sides[1]]
        if both:
            value, low, high = compare_within([(_count(one), _count(two)) for one, two in both], confidence)
            if low > 0 or high < 0:
                sentences.append(_word_classes(name, other, both, (value, low, high)))
        elif all(sides):
            sentences.append(f"No category has both {name[0].lower()}{name[1:]} and {other}: they cannot be compared.")
    return sentences


def _word_classes(
    name: str, other: str, both: Sequence[tuple[DefectGroup, DefectGroup]], difference: tuple[float, float, float]
) -> str:
    value, *ends = difference
    low, high = sorted(abs(end) for end in ends)
    often = "less" if value < 0 else "more"
    ranged = f"{hundredths(abs(value))} of 100 {'fewer' if value < 0 else 'more'}, {hundredths(low)} to "
    ranged += hundredths(high)
    if len(both) == 1:
        ((one, two),) = both
        return (
            f"{one.category}: {name[0].lower()}{name[1:]} are found {often} often than {other}, {one.called} of "
            f"{one.images} against {two.called} of {two.images} ({ranged})."
        )
    first, second = (
        f"{sum(group.called for group in side)} of {sum(group.images for group in side)}"
        for side in zip(*both, strict=True)
    )
    return (
        f"{name} are found {often} often than {other} of the same category ({ranged}; over {len(both)} categories "
        f"{first} against {second})."
    )


def _count(group: DefectGroup) -> tuple[int, int]:
    return (group.called, group.images)


def _is(group: DefectGroup, by: str, value: str) -> bool:
    return (group.row["by"], group.row["value"]) == (by, value)


def _range(share: Share) -> str:
    return f"{share.low:.2f} to {share.high:.2f}"
