"""What one bank for several categories costs, against a bank for each: an experiment's `pools.csv`, and the report's
section. Columns: docs/results.md.

Tested in tests/report/test_pools.py.
"""

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from patchshift.evaluation.pools import COMPOSITION
from patchshift.plan.cells import POOLS, Bank, Cell, Target
from patchshift.plan.experiments import StudyPlan
from patchshift.plan.specs import EvaluationSpec
from patchshift.report.conditions import Setup, is_own_category, is_pool, setup_of
from patchshift.report.keys import cell_keys, row_keys
from patchshift.report.pairing import count_left_out, mean_difference
from patchshift.report.results import StudyResults, Value
from patchshift.report.shift import Outcome, list_outcomes

NO_OWN_BANK = "the study has no bank of the target's category alone"


@dataclass(frozen=True)
class PoolComparison:
    """A pool's bank against the banks of its categories, scored on the same images.

    Attributes:
        pool: the pool's id.
        domain: the domain scored.
        of_members: whether the targets are categories of the pool, or all others.
        setup: the setup of both.
        pairs: (own category's bank, pool's bank) per category.
        difference: mean image AUROC of the pool's bank minus that of the categories' own banks.
        left_out: domain -> images left out of `difference`, since their defect is not to be seen.
        losses: category -> image AUROC of its own bank minus that of the pool's, on the same images and resamples.
        compositions: category -> shares named in `evaluation.pools.COMPOSITION`; empty where the bank does not tell.
    """

    pool: str
    domain: str
    of_members: bool
    setup: Setup
    pairs: list[tuple[Outcome, Outcome]]
    difference: Value
    left_out: dict[str, int]
    losses: dict[str, Value]
    compositions: dict[str, dict[str, Value]]


def compare_pools(results: StudyResults, plan: StudyPlan, spec: EvaluationSpec) -> list[PoolComparison]:
    """Every pool whose bank and whose targets' own banks were scored on the same images.

    What sharing costs the pool's members, and how far its bank carries over to other categories, are two questions.
    """
    views = results.all_views()
    own = {(cell.bank, cell.target, cell.calibration, cell.threshold): cell for cell in filter(is_own_category, views)}
    pairs: dict[tuple[str, str, str, bool, Setup], list[tuple[Cell, Cell]]] = defaultdict(list)
    for cell in filter(is_pool, views):
        training = cell.bank.training
        found = (own.get((bank, cell.target, _own_calibration(cell), cell.threshold)) for bank in _own_banks(cell))
        counterpart = next(filter(None, found), None)
        if counterpart:
            question = training.category, training.domain, cell.domain, is_member(cell, plan), setup_of(cell)
            pairs[question].append((counterpart, cell))
    comparisons = []
    for (pool, _, domain, of_members, setup), cells in pairs.items():
        single, pooled = [first for first, _ in cells], [second for _, second in cells]
        of_pool = list_outcomes(results, [(cell, f"pool {pool}") for cell in pooled], spec)
        rows = zip(list_outcomes(results, [(cell, "own bank") for cell in single], spec), of_pool, strict=True)
        comparison = PoolComparison(
            pool,
            domain,
            of_members,
            setup,
            list(rows),
            mean_difference(results, pooled, single, spec),
            count_left_out(results, dict(zip(pooled, single, strict=True))),
            {
                outcome.category: mean_difference(results, [one], [outcome.cell], spec)
                for one, outcome in zip(single, of_pool, strict=True)
            },
            {outcome.category: composition for outcome in of_pool if (composition := _composition(results, outcome))},
        )
        comparisons.append(comparison)
    return comparisons


def is_member(cell: Cell, plan: StudyPlan) -> bool:
    """Whether a pool's bank is scored on one of its categories, or on what an alias of one leads to."""
    members = plan.categories(f"{POOLS}/{cell.bank.training.category}")
    return any((place.dataset, place.category) in members for place in (cell.target, cell.origin))


def _composition(results: StudyResults, outcome: Outcome) -> dict[str, Value]:
    shares = {name: results.value(outcome.cell, name) for name in COMPOSITION}
    return shares if any(share.value is not None for share in shares.values()) else {}


def pool_table(results: StudyResults, plan: StudyPlan, experiment: str, spec: EvaluationSpec) -> pd.DataFrame:
    """One row per pool's bank and target of an experiment: its `pools.csv`.

    The target's own bank may be of any experiment of the study: same split, backbone, detector, seed and domain. Where
    rankings depend on the calibration (`combination: calibrated`), there is a row for each, and the own bank's is the
    same.
    """
    own: dict[tuple[object, ...], Cell] = {}
    for cell in filter(is_own_category, results.all_views()):
        own.setdefault((cell.bank, cell.target), cell)
        own[cell.bank, cell.target, cell.calibration, cell.threshold] = cell
    rows: dict[tuple[object, ...], dict[str, Any]] = {}
    for cell in filter(is_pool, results.cells[experiment]):
        keys = {**row_keys(cell), **cell_keys(cell, ranking=results.is_ranked_once(cell))}
        if tuple(keys.values()) in rows:  # it is decided by another threshold
            continue
        ranked: tuple[object, ...] = (cell.target,)
        reason = NO_OWN_BANK
        if not results.is_ranked_once(cell):
            ranked, reason = (cell.target, _own_calibration(cell), cell.threshold), f"{NO_OWN_BANK}, calibrated alike"
        single = next(filter(None, (own.get((bank, *ranked)) for bank in _own_banks(cell))), None)
        loss = mean_difference(results, [single], [cell], spec) if single else Value(None, undefined=reason)
        rows[tuple(keys.values())] = {
            **keys,
            "is_member": int(is_member(cell, plan)),
            **{name: results.value(cell, name).value for name in ("bank_vectors", *COMPOSITION)},
            **_columns("image_auroc", results.value(cell, "image_auroc")),
            **_columns("own_image_auroc", results.value(single, "image_auroc") if single else Value(None)),
            **_columns("loss", loss),
            "undefined": loss.undefined,
        }
    return pd.DataFrame(list(rows.values())).astype({"bank_vectors": "Int64"})


def _own_banks(cell: Cell) -> list[Bank]:
    """The bank of the target's category alone that is as the cell's in all else, and where an alias led to the target
    before it that of the category that the alias started from: it meets the target as the pool's does."""
    places = (replace(place, domain=cell.bank.training.domain) for place in (cell.origin, cell.target))
    return [replace(cell.bank, training=place) for place in places]


def _own_calibration(cell: Cell) -> Target:
    """What the target's own bank is calibrated on beside a pool's: on itself, where the pool's is on its members."""
    if cell.calibration.dataset != POOLS:
        return cell.calibration
    return replace(cell.calibration, dataset=cell.target.dataset, category=cell.target.category)


def _columns(name: str, value: Value) -> dict[str, float | None]:
    return {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
