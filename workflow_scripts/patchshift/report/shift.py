"""What domain shift costs and what adaptation brings back, and what one bank for all categories costs.

Tested in tests/report/test_shift.py.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from patchshift.plan.experiments import Cell
from patchshift.plan.specs import EvaluationSpec
from patchshift.report.conditions import CONDITIONS, IN_DOMAIN, Setup, condition_of, is_own_category, is_pool, setup_of
from patchshift.report.figures import SHIFT_METRICS
from patchshift.report.labels import category_labels
from patchshift.report.pairing import Share, Summary, count_left_out, estimate_of, mean_difference, summarise
from patchshift.report.recommendation import shifted_cells
from patchshift.report.results import StudyResults, Value
from patchshift.report.tables import cell_keys

Panels = dict[str, dict[str, dict[str, dict[str, Value]]]]


@dataclass(frozen=True)
class Outcome:
    """One row of a comparison: a cell's figures in words and numbers.

    Attributes:
        category: the target's category.
        domain: the domain scored.
        condition: one of `conditions.CONDITIONS`, or what the bank was fitted on.
        cell: where the figures come from.
        auroc: image AUROC.
        f1: F1 at the threshold.
        f1_floor: F1 of calling every image defective.
        specificity: share of normal images that pass.
        threshold: scores at or above it are called defective; None if undefined.
        summary: misses and false alarms.
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
    summary: Summary

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
        changes: shifted cell -> its image AUROC minus that of the reference domain, on the same images; only where the
            reference domain was scored on them.
        left_out: shifted domain -> images left out of `changes`, since their defect is not to be seen there or in the
            reference domain.
    """

    setup: Setup
    conditions: list[str]
    outcomes: dict[str, list[Outcome]]
    changes: dict[Cell, Value]
    left_out: dict[str, int]

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


@dataclass(frozen=True)
class PoolComparison:
    """A pool's bank against the banks of its categories, scored on the same images.

    Attributes:
        pool: the pool's id.
        domain: the domain scored.
        setup: the setup of both.
        pairs: (own category's bank, pool's bank) per category.
        difference: mean image AUROC of the pool's bank minus that of the categories' own banks.
        left_out: domain -> images left out of `difference`, since their defect is not to be seen.
    """

    pool: str
    domain: str
    setup: Setup
    pairs: list[tuple[Outcome, Outcome]]
    difference: Value
    left_out: dict[str, int]


def compare_shifts(results: StudyResults, reference: str, spec: EvaluationSpec) -> list[ShiftComparison]:
    """Every setup that was scored on shifted images, beside the reference domain."""
    comparisons = []
    for setup in dict.fromkeys(map(setup_of, results.all_cells())):
        shifted = [cell for cells in shifted_cells(results, setup, reference).values() for cell in cells]
        if not shifted:
            continue
        start = [
            cell
            for cell in results.all_cells()
            if setup_of(cell) == setup and condition_of(cell, reference) == IN_DOMAIN
        ]
        conditions = {cell: condition_of(cell, reference) or "" for cell in (*start, *shifted)}
        order = list(dict.fromkeys(cell.target.category for cell in results.all_cells()))
        outcomes: dict[str, list[Outcome]] = defaultdict(list)
        for outcome in list_outcomes(results, conditions, spec):
            outcomes[outcome.category].append(outcome)
        by_plan = sorted(outcomes.items(), key=lambda item: order.index(item[1][0].cell.target.category))
        named = [condition for condition in CONDITIONS if condition in conditions.values()]
        pairs = _pair_with_reference(results, start, shifted)
        changes = {cell: mean_difference(results, [cell], [own], spec) for cell, own in pairs.items()}
        comparisons.append(ShiftComparison(setup, named, dict(by_plan), changes, count_left_out(results, pairs)))
    return comparisons


def _pair_with_reference(results: StudyResults, start: Sequence[Cell], shifted: Sequence[Cell]) -> dict[Cell, Cell]:
    """Shifted cell -> the reference domain's cell of the same category, where both show the same images."""
    own = {(cell.target.dataset, cell.target.category): cell for cell in start}
    pairs = {cell: own.get((cell.target.dataset, cell.target.category)) for cell in shifted}
    return {
        cell: other
        for cell, other in pairs.items()
        if other is not None and results.images(cell).names == results.images(other).names
    }


def list_outcomes(results: StudyResults, conditions: Mapping[Cell, str], spec: EvaluationSpec) -> list[Outcome]:
    """One row per cell, in order; `conditions` says what each stands for."""
    labels = category_labels([cell_keys(cell) for cell in conditions])
    return [
        Outcome(
            category=label,
            domain=cell.target.domain,
            condition=condition,
            cell=cell,
            auroc=results.value(cell, "image_auroc"),
            f1=results.value(cell, "f1"),
            f1_floor=results.value(cell, "f1_floor"),
            specificity=results.value(cell, "specificity"),
            threshold=results.images(cell).threshold,
            summary=summarise(results, [cell], spec),
        )
        for label, (cell, condition) in zip(labels, conditions.items(), strict=True)
    ]


def compare_pools(results: StudyResults, spec: EvaluationSpec) -> list[PoolComparison]:
    """Every pool whose bank and whose categories' own banks were scored on the same images."""
    own = {
        (cell.target, cell.calibration, cell.bank.training.domain, setup_of(cell)): cell
        for cell in results.all_cells()
        if is_own_category(cell)
    }
    pairs: dict[tuple[str, str, str, Setup], list[tuple[Cell, Cell]]] = defaultdict(list)
    for cell in results.all_cells():
        training, setup = cell.bank.training, setup_of(cell)
        counterpart = own.get((cell.target, cell.calibration, training.domain, setup))
        if is_pool(cell) and counterpart:
            pairs[training.category, training.domain, cell.target.domain, setup].append((counterpart, cell))
    comparisons = []
    for (pool, _, domain, setup), cells in pairs.items():
        single, pooled = [first for first, _ in cells], [second for _, second in cells]
        comparisons.append(
            PoolComparison(
                pool,
                domain,
                setup,
                list(
                    zip(
                        list_outcomes(results, dict.fromkeys(single, "own bank"), spec),
                        list_outcomes(results, dict.fromkeys(pooled, f"pool {pool}"), spec),
                        strict=True,
                    )
                ),
                mean_difference(results, pooled, single, spec),
                count_left_out(results, dict(zip(pooled, single, strict=True))),
            )
        )
    return comparisons


def _values(outcome: Outcome) -> dict[str, Value]:
    auroc, miss, alarm = SHIFT_METRICS
    return {auroc: outcome.auroc, miss: estimate_of(outcome.misses), alarm: estimate_of(outcome.false_alarms)}
