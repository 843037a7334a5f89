"""What each shift costs and what recalibration and adaptation bring back: a study's `robustness.csv`.

Columns: docs/results.md. Tested in tests/report/test_robustness.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from patchshift.evaluation.rates import Estimates
from patchshift.evaluation.undefined import Undefined
from patchshift.plan.cells import Cell
from patchshift.plan.specs import EvaluationSpec
from patchshift.report.analyses.decision_losses import DecisionLosses, compare_decisions
from patchshift.report.analyses.estimates import as_columns, columns_of, mean_value
from patchshift.report.analyses.losses import (
    REFERENCE,
    UNADAPTED,
    VALUE,
    AurocLosses,
    Sample,
    are_paired,
    is_above_zero,
    kept_in_both,
    sample_metric,
)
from patchshift.report.analyses.rankings import KEY_COLUMNS, describe_domain
from patchshift.report.analyses.study_data import StudyData
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
from patchshift.report.keys import row_keys
from patchshift.report.labels import category_labels
from patchshift.report.pairing import mean_auroc
from patchshift.report.results import StudyResults, Value

METRICS = ("image_auroc", "f1", "f1_floor", "recall", "specificity", "miss_rate", "false_alarm_rate")
LOSSES = ("image_auroc", "f1", "recall", "specificity")
"""Metrics whose loss and recovery are told; miss rate and false-alarm rate are the rest of recall and specificity."""

UNMEASURED = {
    NO_ADAPTATION: "not measured: no experiment scores the reference domain's bank there with its own threshold",
    RECALIBRATED: "not measured: no experiment sets that bank's threshold there (calibrate_on: target)",
    ADAPTED: "not measured: no experiment fits a bank there (train_domains)",
}
NO_REFERENCE = "the category was not scored in the reference domain"
NO_LOSS = "no loss told apart from zero"

LABELS = ("kind", "category", "categories", "domain", "condition", "shift", "severity", "transform")
COLUMNS = [
    *LABELS,
    *KEY_COLUMNS,
    "reference_domain",
    *(column for metric in METRICS for column in columns_of(metric)),
    *("undefined", "left_out"),
    *(column for metric in METRICS for column in columns_of(f"{metric}_reference")),
    *(
        column
        for metric in LOSSES
        for part in ("loss", "loss_relative", "loss_above_chance", "recovery", "recovery_relative")
        if part != "loss_above_chance" or metric == "image_auroc"
        for column in columns_of(f"{metric}_{part}")
    ),
    *(f"{metric}_undefined" for metric in LOSSES),
]


@dataclass(frozen=True)
class Shifted:
    """A category in a shifted domain, as one setup sees it.

    Attributes:
        setup: the setup.
        domain: as the config calls it.
        category: the category's name.
        start: its cell in the reference domain; None where the study has none.
        cells: condition -> its cell there, where the study has one.
    """

    setup: Setup
    domain: str
    category: str
    start: Cell | None
    cells: dict[str, Cell]


@dataclass(frozen=True)
class Balance:
    """What one metric loses in a shifted domain under one condition, and what of that is back.

    Attributes:
        loss: reference minus value; `relative` to the reference, `above_chance` to what that is above 0.5.
        recovery: value minus that without adaptation; `share` of the loss.
        undefined: why the first of them that is missing is missing; of `no adaptation` nothing can recover, and only
            of image AUROC is there something above chance.
    """

    loss: Value
    relative: Value
    above_chance: Value
    recovery: Value
    share: Value
    undefined: str


def list_shifted(results: StudyResults, reference: str) -> list[Shifted]:
    """Every category in every shifted domain: setup by setup, domain by domain."""
    views = results.all_views()
    starts: dict[tuple[Setup, str, str], Cell] = {}
    found: dict[tuple[Setup, str, str, str], dict[str, Cell]] = {}
    for cell in views:
        condition, product = condition_of(cell, reference), (cell.origin.dataset, cell.origin.category)
        if condition == IN_DOMAIN:
            starts[setup_of(cell), *product] = cell
        elif condition:
            found.setdefault((setup_of(cell), cell.domain, *product), {})[condition] = cell
    setups, domains = (list(dict.fromkeys(key[part] for key in found)) for part in (0, 1))
    shown = [next(iter(cells.values())) for cells in found.values()]
    labels = dict(zip(found, category_labels([row_keys(cell) for cell in shown]), strict=True))
    ordered = sorted(found, key=lambda key: (setups.index(key[0]), domains.index(key[1])))
    return [Shifted(key[0], key[1], labels[key], starts.get((key[0], key[2], key[3])), found[key]) for key in ordered]


def robustness_table(data: StudyData) -> pd.DataFrame:
    """Three rows per setup, shifted domain and category, and three of the means over the categories."""
    results = data.results
    reference = reference_domain(results.all_views(), data.domains)
    rows: list[dict[str, Any]] = []
    groups: dict[tuple[Setup, str], list[Shifted]] = {}
    for each in list_shifted(results, reference) if reference is not None else []:
        groups.setdefault((each.setup, each.domain), []).append(each)
    for group in groups.values():
        parts = [("category", [each]) for each in group] + [("mean", group)]
        rows += [
            _row(data, kind, members, condition, reference or "") for kind, members in parts for condition in UNMEASURED
        ]
    return pd.DataFrame(rows, columns=COLUMNS)


def balance(
    results: StudyResults, group: Sequence[Shifted], condition: str, metric: str, spec: EvaluationSpec
) -> Balance:
    """What a metric loses and recovers, of one category or as the mean over several.

    Images whose defect is gone in the shifted domain are left out on all sides; a shifted domain that shows other
    images than the reference is resampled independently of it.
    """
    samples: list[list[Sample]] = []
    estimates: list[Estimates] = []
    reason = ""
    for position, each in enumerate(group):
        cell, none = each.cells.get(condition), each.cells.get(NO_ADAPTATION)
        if cell is None or each.start is None:
            reason = reason or (UNMEASURED[condition] if cell is None else NO_REFERENCE)
            continue
        sides = [each.start, cell, *([none] if none else [])]
        paired = are_paired(results, cell, each.start)
        kept = kept_in_both(results, cell, each.start) if paired else None
        try:
            if metric == "image_auroc":
                draws = [position if paired else position + len(group), position, position]
                samples.append(
                    [
                        sample_metric(results, side, metric, spec, position=draw, kept=kept)
                        for side, draw in zip(sides, draws, strict=False)
                    ]
                )
            else:
                estimates.append(
                    compare_decisions(results, sides, metric, spec, kept=kept, paired=paired, position=position)
                )
        except Undefined as error:
            reason = reason or str(error)
    losses: AurocLosses | DecisionLosses | None = None
    adapted: AurocLosses | DecisionLosses | None = None  # where both are measured
    if samples:
        whole = [sides for sides in samples if len(sides) > UNADAPTED]
        losses, adapted = AurocLosses(samples, spec.confidence), AurocLosses(whole, spec.confidence) if whole else None
    if estimates:
        known = [sides for sides in estimates if len(sides.values) > UNADAPTED]
        losses = DecisionLosses([sides.take([REFERENCE, VALUE]) for sides in estimates])
        adapted = DecisionLosses(known) if known else None
    if losses is None:
        empty = Value(None, undefined=reason)
        return Balance(empty, empty, empty, empty, empty, reason)
    return _balance(losses, adapted, condition)


def _balance(
    losses: AurocLosses | DecisionLosses, adapted: AurocLosses | DecisionLosses | None, condition: str
) -> Balance:
    """The balance over all categories; recovery is over those that were also measured without adaptation."""
    empty = Value(None)
    loss, relative, above = losses.lost(REFERENCE, VALUE), losses.lost_relative(), losses.lost_above_chance()
    reason = relative.undefined or above.undefined
    if condition == NO_ADAPTATION:
        return Balance(loss, relative, above, empty, empty, reason)
    if adapted is None:
        return Balance(loss, relative, above, empty, empty, reason or UNMEASURED[NO_ADAPTATION])
    recovery = adapted.lost(VALUE, UNADAPTED)
    if not is_above_zero(adapted.lost(REFERENCE, UNADAPTED)):
        return Balance(loss, relative, above, recovery, empty, reason or NO_LOSS)
    share = adapted.recovered_share()
    return Balance(loss, relative, above, recovery, share, reason or share.undefined)


def _row(data: StudyData, kind: str, group: Sequence[Shifted], condition: str, reference: str) -> dict[str, Any]:
    results, spec = data.results, data.spec
    named = [each.cells.get(condition) or _unmeasured(each, condition, reference) for each in group]
    cells = [each.cells[condition] for each in group if condition in each.cells]
    starts = [each.start for each in group if each.start is not None and condition in each.cells]
    row: dict[str, Any] = {
        "kind": kind,
        "category": group[0].category if kind == "category" else "",
        "categories": len(cells),
        "domain": group[0].domain,
        "condition": condition,
        **describe_domain(data, named[0].target.domain, natural=named[0].natural is not None),
        **_shared([row_keys(cell) for cell in named]),
        "reference_domain": reference,
    }
    values = {metric: _value(results, cells, metric, spec) for metric in METRICS}
    for metric, value in values.items():
        row |= as_columns(metric, value)
    reasons = [value.undefined for value in values.values() if value.value is None]
    row["undefined"] = next(filter(None, reasons), "") if cells else UNMEASURED[condition]
    row["left_out"] = sum(
        int((~kept_in_both(results, each.cells[condition], each.start)).sum())
        for each in group
        if condition in each.cells and each.start and are_paired(results, each.cells[condition], each.start)
    )
    for metric in METRICS:
        row |= as_columns(f"{metric}_reference", _value(results, starts, metric, spec))
    for metric in LOSSES:
        found = balance(results, group, condition, metric, spec)
        row |= as_columns(f"{metric}_loss", found.loss)
        row |= as_columns(f"{metric}_loss_relative", found.relative)
        if metric == "image_auroc":
            row |= as_columns(f"{metric}_loss_above_chance", found.above_chance)
        row |= as_columns(f"{metric}_recovery", found.recovery)
        row |= as_columns(f"{metric}_recovery_relative", found.share)
        row[f"{metric}_undefined"] = found.undefined
    return row


def _value(results: StudyResults, cells: Sequence[Cell], metric: str, spec: EvaluationSpec) -> Value:
    """The metric of a single cell, or the mean over several categories."""
    if len(cells) == 1:
        return results.value(cells[0], metric)
    if cells and metric == "image_auroc":
        return mean_auroc(results, cells, spec)
    return mean_value([results.value(cell, metric) for cell in cells])


def _unmeasured(each: Shifted, condition: str, reference: str) -> Cell:
    """The cell that would have measured a condition."""
    cell = next(iter(each.cells.values()))
    start = replace(cell.origin, domain=reference)
    training = cell.target if condition == ADAPTED else start
    calibration = start if condition == NO_ADAPTATION else cell.target
    return replace(cell, bank=replace(cell.bank, training=training), calibration=calibration)


def _shared(rows: Sequence[Mapping[str, str | int]]) -> dict[str, str | int]:
    """The key columns of all rows; empty where they differ."""
    return {name: value if all(row[name] == value for row in rows) else "" for name, value in rows[0].items()}
