"""What domain shift costs and what adaptation brings back.

Tested in tests/report/test_shift.py.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from patchshift.plan.cells import Cell
from patchshift.plan.specs import EvaluationSpec
from patchshift.report.conditions import CONDITIONS, IN_DOMAIN, Setup, condition_of, setup_of
from patchshift.report.keys import row_keys
from patchshift.report.labels import category_labels
from patchshift.report.pairing import (
    Share,
    Summary,
    count_left_out,
    estimate_of,
    independent_difference,
    mean_difference,
    summarise,
)
from patchshift.report.recommendation import shifted_cells
from patchshift.report.results import StudyResults, Value
from patchshift.report.shift_figure import SHIFT_METRICS

Panels = dict[str, dict[str, dict[str, dict[str, Value]]]]


@dataclass(frozen=True)
class Change:
    """An image AUROC minus that of the same category in the reference domain.

    Attributes:
        value: the difference.
        paired: whether both are of the same images, and of the same resamples of them; if not, of other images of the
            same product, each resampled independently.
    """

    value: Value
    paired: bool


@dataclass(frozen=True)
class Outcome:
    """One row of a comparison: a cell's figures in words and numbers.

    Attributes:
        category: the target's category; where an alias led to it, the one that the alias started from.
        domain: the domain scored, as the config calls it.
        condition: one of `conditions.CONDITIONS`, or what the bank was fitted on.
        cell: where the figures come from.
        auroc: image AUROC.
        f1: F1 at the threshold.
        f1_floor: F1 of calling every image defective.
        specificity: share of normal images that pass.
        threshold: scores at or above it are called defective; None if undefined, or where zones decide.
        by_zones: whether they do.
        summary: misses and false alarms.
        change: what the shift does to the image AUROC; None where there is nothing to compare with.
    """

    category: str
    domain: str
    condition: str
    cell: Cell
    auroc: Value
    f1: Value
    f1_floor: Value
    specificity: Value
    threshold: float | None
    by_zones: bool
    summary: Summary
    change: Change | None = None

    @property
    def misses(self) -> Share | None:
        """Missed among the anomalous images."""
        return self.summary.misses

    @property
    def false_alarms(self) -> Share | None:
        """Flagged among the normal images."""
        return self.summary.false_alarms


@dataclass(frozen=True)
class ShiftComparison:
    """One setup in the reference domain and in every shifted one.

    Attributes:
        setup: the setup.
        conditions: those that were measured, in a fixed order.
        outcomes: category -> its rows, the reference domain first.
        left_out: shifted domain -> images left out of paired changes, since their defect is not to be seen there or in
            the reference domain.
    """

    setup: Setup
    conditions: list[str]
    outcomes: dict[str, list[Outcome]]
    left_out: dict[str, int]

    def rows(self) -> list[Outcome]:
        """The rows of all categories."""
        return [outcome for outcomes in self.outcomes.values() for outcome in outcomes]

    def compared(self, *, paired: bool) -> list[str]:
        """The domains whose changes are, or are not, of the same images."""
        return list(dict.fromkeys(row.domain for row in self.rows() if row.change and row.change.paired == paired))

    def natural(self) -> list[Cell]:
        """The cells that an alias led to, one for each of their targets."""
        found = {(row.domain, row.cell.target): row.cell for row in self.rows() if row.cell.natural}
        return list(found.values())

    def panels(self) -> Panels:
        """What `figures.draw_shift` draws: the reference's values start every domain's line."""
        panels: Panels = {}
        for category, outcomes in self.outcomes.items():
            start = [outcome for outcome in outcomes if outcome.condition == IN_DOMAIN]
            shifted = [outcome for outcome in outcomes if outcome.condition != IN_DOMAIN]
            panels[category] = {
                domain: {
                    each.condition: _values(each)
                    for each in (*start, *(other for other in shifted if other.domain == domain))
                }
                for domain in dict.fromkeys(outcome.domain for outcome in shifted)
            }
        return panels


def compare_shifts(results: StudyResults, reference: str, spec: EvaluationSpec) -> list[ShiftComparison]:
    """Every setup that was scored on shifted images, beside the reference domain."""
    comparisons = []
    views = results.all_views()
    products = list(dict.fromkeys(map(_product, views)))
    for setup in dict.fromkeys(map(setup_of, views)):
        shifted = [cell for cells in shifted_cells(results, setup, reference).values() for cell in cells]
        if not shifted:
            continue
        start = {
            _product(cell): cell
            for cell in views
            if setup_of(cell) == setup and condition_of(cell, reference) == IN_DOMAIN
        }
        concerned = [start[product] for product in dict.fromkeys(map(_product, shifted)) if product in start]
        cells = sorted([*concerned, *shifted], key=lambda cell: products.index(_product(cell)))
        conditions = [(cell, condition_of(cell, reference) or "") for cell in cells]
        outcomes: dict[str, list[Outcome]] = defaultdict(list)
        pairs = {}
        for outcome in list_outcomes(results, conditions, spec):
            cell, own = outcome.cell, start.get(_product(outcome.cell))
            change = None
            if own is not None and outcome.condition != IN_DOMAIN:
                # files of two cameras may have the same names
                paired = cell.natural is None and results.images(cell).names == results.images(own).names
                if paired:
                    pairs[cell] = own
                    change = Change(mean_difference(results, [cell], [own], spec), paired)
                else:
                    change = Change(independent_difference(results, cell, own, spec), paired)
            outcomes[outcome.category].append(replace(outcome, change=change))
        named = [name for name in CONDITIONS if name in {condition for _, condition in conditions}]
        comparisons.append(ShiftComparison(setup, named, dict(outcomes), count_left_out(results, pairs)))
    return comparisons


def _product(cell: Cell) -> tuple[str, str]:
    """The category that a cell is about, however it is seen."""
    return cell.origin.dataset, cell.origin.category


def list_outcomes(results: StudyResults, conditions: Sequence[tuple[Cell, str]], spec: EvaluationSpec) -> list[Outcome]:
    """One row per cell, in order, each beside what it stands for."""
    labels = category_labels([row_keys(cell) for cell, _ in conditions])
    return [
        Outcome(
            category=label,
            domain=cell.domain,
            condition=condition,
            cell=cell,
            auroc=results.value(cell, "image_auroc"),
            f1=results.value(cell, "f1"),
            f1_floor=results.value(cell, "f1_floor"),
            specificity=results.value(cell, "specificity"),
            threshold=results.images(cell).threshold,
            by_zones=results.images(cell).zone_decisions is not None,
            summary=summarise(results, [cell], spec),
        )
        for label, (cell, condition) in zip(labels, conditions, strict=True)
    ]


def _values(outcome: Outcome) -> dict[str, Value]:
    auroc, miss, alarm = SHIFT_METRICS
    return {auroc: outcome.auroc, miss: estimate_of(outcome.misses), alarm: estimate_of(outcome.false_alarms)}
