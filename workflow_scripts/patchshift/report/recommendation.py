"""Which detector and threshold to use on this data, and what to expect of it.

All words follow from the numbers; where intervals do not tell two setups apart, neither do the words.
Tested in tests/report/test_recommendation.py.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from patchshift.plan.cells import Cell, Target
from patchshift.plan.specs import EvaluationSpec
from patchshift.report.conditions import (
    ADAPTED,
    IN_DOMAIN,
    NO_ADAPTATION,
    RECALIBRATED,
    Setup,
    condition_of,
    reference_domain,
    setup_of,
)
from patchshift.report.pairing import Summary, count_left_out, mean_auroc, mean_difference, summarise
from patchshift.report.policy_choice import PolicyRival, compare_policies
from patchshift.report.results import StudyResults, Value

CHANCE = 0.5  # image AUROC of a ranking that knows nothing

UNDECIDED = 2.0
"""Mistakes of a policy that does not decide: more than any can make."""


@dataclass(frozen=True)
class Rival:
    """Another setup that was compared on the same images.

    Attributes:
        setup: the other setup; its threshold says nothing here.
        auroc: its mean image AUROC.
        advantage: mean image AUROC of the recommended setup minus that of the rival.
    """

    setup: Setup
    auroc: Value
    advantage: Value

    @property
    def is_told_apart(self) -> bool:
        """Whether the interval of the difference lies above zero."""
        return self.advantage.low is not None and self.advantage.low > 0


@dataclass(frozen=True)
class Recommendation:
    """The setup with the highest mean image AUROC in its own domain, unless a trained one is as good.

    Attributes:
        setup: what to use, if anything (`reaches_chance`).
        domain: where it was measured: the reference domain.
        cells: its cells in that domain, one per category.
        summary: what they are worth together.
        rivals: the other setups, best first.
        incomplete: setups left out because they do not cover the same categories.
        left_out: domain -> images left out of the rivals' comparison, since their defect is not to be seen.
        other_splits: the study's other splits in which such banks have an image AUROC; they are not compared.
        policies: the other threshold policies that decide, which were compared for it, the nearest first.
        shift_setup: the setup whose loss under shift is told: the recommended one, with the threshold that was scored
            on most shifted images; else the next best that was scored on any; None if none was.
    """

    setup: Setup
    domain: str
    cells: list[Cell]
    summary: Summary
    rivals: list[Rival]
    incomplete: list[Setup]
    left_out: dict[str, int]
    other_splits: list[str]
    policies: list[PolicyRival]
    shift_setup: Setup | None

    @property
    def reaches_chance(self) -> bool:
        """Whether the images do not show that even the best setup ranks defects: then nothing is recommended."""
        return self.summary.auroc.low is not None and self.summary.auroc.low <= CHANCE

    @property
    def is_highest(self) -> bool:
        """Whether no setup has a higher mean; one with untrained weights may, and is not preferred."""
        highest = self.summary.auroc.value or 0.0
        return all((rival.auroc.value or 0.0) <= highest for rival in self.rivals)

    @property
    def level(self) -> list[Rival]:
        """The rivals that these test images do not tell from the recommended setup."""
        return [rival for rival in self.rivals if not rival.is_told_apart]


def recommend(
    results: StudyResults, domains: Mapping[str, Mapping[str, Any]], spec: EvaluationSpec
) -> Recommendation | None:
    """Choose among the banks of single categories that were scored in their own domain.

    Seeds repeat a setup: the lowest one stands for all. Splits have different test images: of several, the first in
    which a threshold is defined is used. Detectors are compared by mean image AUROC; threshold policies, on which it
    does not depend, by the mean of miss rate and false-alarm rate. Untrained weights give way to the best of the
    setups that the test images do not tell from them.

    Args:
        results: the study's results.
        domains: domain id -> its settings.
        spec: the evaluation protocol.

    Returns:
        None where no such bank has an image AUROC.
    """
    reference = reference_domain(results.all_views(), domains)
    if reference is None:
        return None
    by_setup, other_splits = _cells_by_setup(results, reference)
    if not by_setup:
        return None
    complete = max(len(cells) for cells in by_setup.values())
    largest = {setup: cells for setup, cells in by_setup.items() if len(cells) == complete}
    # ties of dictionaries' maxima go to the first, so to the order of the plan
    means = {setup: mean_auroc(results, cells, spec).value or 0.0 for setup, cells in largest.items()}
    leader = max(means, key=lambda setup: means[setup])
    candidates = {setup: cells for setup, cells in largest.items() if _targets(cells) == _targets(largest[leader])}
    if leader.is_untrained:
        trained = [setup for setup in sorted(candidates, key=lambda setup: -means[setup]) if not setup.is_untrained]
        level = (setup for setup in trained if not _compare(results, candidates, leader, setup, spec).is_told_apart)
        leader = next(level, leader)
    policies = [setup for setup in candidates if _ranker(setup) == _ranker(leader)]
    mistakes = {setup: _mistakes(summarise(results, candidates[setup], spec)) for setup in policies}
    best = min(policies, key=mistakes.__getitem__)
    chosen = candidates[best]
    others: dict[Setup, Setup] = {}
    for setup in candidates:
        if _ranker(setup) != _ranker(best):
            others.setdefault(_ranker(setup), setup)
    rivals = [
        _compare(results, candidates, best, setup, spec)
        for setup in sorted(others.values(), key=lambda setup: -means[setup])
    ]
    compared = {_ranker(best), *(_ranker(rival.setup) for rival in rivals)}
    incomplete = list({_ranker(setup): setup for setup in by_setup if _ranker(setup) not in compared}.values())
    # the same scores under another threshold, before another detector: in most shifted domains, of equals the chosen
    shifted = {
        setup: sum(map(len, shifted_cells(results, setup, reference).values()))
        for setup in (best, *(setup for setup in by_setup if _ranker(setup) == _ranker(best)))
    }
    widest = max(shifted, key=shifted.__getitem__)
    measured = (
        setup for setup in (widest, *(rival.setup for rival in rivals)) if shifted_cells(results, setup, reference)
    )
    return Recommendation(
        setup=best,
        domain=reference,
        cells=chosen,
        summary=summarise(results, chosen, spec),
        rivals=rivals,
        incomplete=incomplete,
        left_out=count_left_out(results, dict(zip(chosen, chosen, strict=True))) if rivals else {},
        other_splits=other_splits,
        policies=_compare_policies(results, candidates, best, mistakes, spec),
        shift_setup=next(measured, None),
    )


def shifted_cells(results: StudyResults, setup: Setup, reference: str) -> dict[tuple[str, str], list[Cell]]:
    """(domain, condition) -> the setup's cells there, in a fixed order of conditions."""
    found: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for condition in (NO_ADAPTATION, RECALIBRATED, ADAPTED):
        for cell in results.all_views():
            if setup_of(cell) == setup and condition_of(cell, reference) == condition:
                found[cell.domain, condition].append(cell)
    domains = list(dict.fromkeys(domain for domain, _ in found))
    return dict(sorted(found.items(), key=lambda item: domains.index(item[0][0])))


def explain_lack(results: StudyResults, domains: Mapping[str, Mapping[str, Any]]) -> str:
    """Why there is nothing to recommend, where `recommend` finds nothing."""
    reference = reference_domain(results.all_views(), domains)
    at_home = [cell for cell in results.all_views() if reference and condition_of(cell, reference) == IN_DOMAIN]
    if not at_home:
        return "no bank of this study was scored in the domain it was fitted on"
    sizes = [results.sizes(cell) for cell in at_home]
    for label, kind in ((1, "defective"), (0, "good")):
        if not any(size[label] for size in sizes):
            return f"no {kind} test image, so nothing tells whether a setup ranks defects above good images; add a few"
    reasons = dict.fromkeys(results.value(cell, "image_auroc").undefined for cell in at_home)
    return f"no bank of this study has an image AUROC in the domain it was fitted on ({'; '.join(reasons)})"


def _cells_by_setup(results: StudyResults, reference: str) -> tuple[dict[Setup, list[Cell]], list[str]]:
    """The in-domain cells with an image AUROC, of one split and of each setup's lowest seed; and the other splits."""
    found: dict[Setup, list[Cell]] = defaultdict(list)
    for cell in results.all_views():
        if condition_of(cell, reference) == IN_DOMAIN and results.value(cell, "image_auroc").value is not None:
            found[setup_of(cell)].append(cell)
    decided = [setup.split for setup, cells in found.items() if all(results.confusion(cell) for cell in cells)]
    split = next(iter([*decided, *(setup.split for setup in found)]), None)
    seeds: dict[Setup, int] = {}
    for setup in found:
        seeds[replace(setup, seed=0)] = min(setup.seed, seeds.get(replace(setup, seed=0), setup.seed))
    chosen = {
        setup: cells
        for setup, cells in found.items()
        if setup.split == split and setup.seed == seeds[replace(setup, seed=0)]
    }
    return chosen, [name for name in dict.fromkeys(setup.split for setup in found) if name != split]


def _compare(
    results: StudyResults, candidates: Mapping[Setup, list[Cell]], setup: Setup, other: Setup, spec: EvaluationSpec
) -> Rival:
    """The other setup as a rival of the first; both have cells of the same targets."""
    cells, others = candidates[setup], _in_order_of(candidates[setup], candidates[other])
    return Rival(other, mean_auroc(results, others, spec), mean_difference(results, cells, others, spec))


def _compare_policies(
    results: StudyResults,
    candidates: Mapping[Setup, list[Cell]],
    best: Setup,
    mistakes: Mapping[Setup, float],
    spec: EvaluationSpec,
) -> list[PolicyRival]:
    """The other policies of the chosen setup that decide, beside it."""
    deciding = [setup for setup, value in mistakes.items() if value < UNDECIDED]
    if best not in deciding:
        return []
    chosen = candidates[best]
    others = {setup.threshold: _in_order_of(chosen, candidates[setup]) for setup in deciding if setup != best}
    return compare_policies(results, chosen, others, spec)


def _ranker(setup: Setup) -> Setup:
    """The setup without its threshold, on which rankings do not depend."""
    return replace(setup, threshold="")


def _mistakes(summary: Summary) -> float:
    """Mean of miss rate and false-alarm rate; worse than any where one is undefined."""
    if summary.misses is None or summary.false_alarms is None:
        return UNDECIDED
    return (summary.misses.value + summary.false_alarms.value) / 2


def _targets(cells: Sequence[Cell]) -> set[Target]:
    return {cell.target for cell in cells}


def _in_order_of(cells: Sequence[Cell], others: Sequence[Cell]) -> list[Cell]:
    by_target = {cell.target: cell for cell in others}
    return [by_target[cell.target] for cell in cells]
