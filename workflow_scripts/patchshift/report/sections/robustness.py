"""The report's section on robustness: what shifts cost, what comes back, and what foretells it, read from the tables.

It adds to "Under shift", which has every category: means, losses and recovery, correlation, ranking of features.
Plain text: the template escapes it. Tested in tests/report/test_robustness.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from patchshift.report.analyses.digits import show_ends, show_value
from patchshift.report.analyses.losses import is_above_zero
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.conditions import ADAPTED, NO_ADAPTATION, RECALIBRATED
from patchshift.report.labels import name_backbone
from patchshift.report.plots.distance_effects import describe_correlation
from patchshift.report.results import Value, as_value, read_rows

SHOWN = 4
"""Setups on a page; the table has all."""
TABLES = ("robustness.csv", "cross_shift.csv", "distance_effects.csv", "feature_robustness.csv")

_SETUP = ("split", "backbone", "detector", "seed", "policy")
_OPENINGS = {
    NO_ADAPTATION: "Used as it is",
    RECALIBRATED: "With a threshold from shifted images",
    ADAPTED: "With bank and threshold from shifted images",
}
_NAMES = {"image_auroc": "image AUROC", "f1": "F1", "specificity": "specificity"}

Row = dict[str, str]


@dataclass(frozen=True)
class ConditionRow:
    """Means over the categories in a shifted domain under one condition.

    Attributes:
        domain: as the config calls it.
        condition: one of the three.
        categories: how many of them.
        auroc, f1, specificity: the figures.
        loss: image AUROC of the reference domain minus this one, on the same images.
        above_chance: that as a share of what the reference is above 0.5.
        recovery: image AUROC minus that without adaptation.
        share: that as a share of what was lost.
        undefined: why the condition has no figures, or the share no value.
    """

    domain: str
    condition: str
    categories: int
    auroc: Value
    f1: Value
    specificity: Value
    loss: Value
    above_chance: Value
    recovery: Value
    share: Value
    undefined: str


@dataclass(frozen=True)
class SetupRobustness:
    """One setup: domain -> its three rows, and what they say."""

    name: str
    domains: dict[str, list[ConditionRow]]
    sentences: list[str]


@dataclass(frozen=True)
class FeatureRow:
    """One setup among the features compared."""

    name: str
    drift: float | None
    drift_rank: str
    slope: Value
    slope_rank: str
    gap: Value
    gap_relative: Value
    gap_rank: str
    undefined: str


@dataclass(frozen=True)
class RobustnessSection:
    """What the report shows of robustness.

    Attributes:
        reference: the domain that losses are measured against; empty where nothing is shifted.
        setups: the setups that were scored in shifted domains, at most `SHOWN`.
        hidden: number of setups that are not among them.
        distance: the one that the study plots losses against, in words.
        correlations: what it foretells, one sentence for each setup.
        features: setups by what their features lose away from home.
        ranking: what may be said of their order.
        tables: paths of all figures, from the study's folder.
    """

    reference: str
    setups: list[SetupRobustness]
    hidden: int
    distance: str
    correlations: list[str]
    features: list[FeatureRow]
    ranking: list[str]
    tables: list[str]


def describe_robustness(data: StudyData) -> RobustnessSection | None:
    """What the study's tables say; None where no bank is scored away from the domain that it was fitted on."""
    tables = {name: read_rows(data.folder / name) for name in TABLES}
    if not any(tables.values()):
        return None
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in tables["robustness.csv"]:
        if row["kind"] == "mean":
            groups.setdefault(tuple(row[name] for name in _SETUP), []).append(row)
    named = [rows[0] for rows in groups.values()]
    setups = [_describe_setup(rows, _name(rows[0], named)) for rows in list(groups.values())[:SHOWN]]
    features = tables["feature_robustness.csv"]
    shown = [_feature_row(row, features) for row in features]
    return RobustnessSection(
        reference=named[0]["reference_domain"] if named else "",
        setups=setups,
        hidden=len(groups) - len(setups),
        distance=data.analysis.distance.replace("_", " "),
        correlations=_word_correlations(tables["distance_effects.csv"], data.analysis.distance),
        features=shown if len(shown) > 1 or any(row.drift is not None for row in shown) else [],
        ranking=_word_ranking(shown),
        tables=[name for name, rows in tables.items() if rows],
    )


def _name(row: Row, others: Sequence[Row]) -> str:
    """Detector and backbone, and what else tells it from the others."""
    parts = [f"{row['detector']} on {name_backbone(row['backbone'], row['weights'])}"]
    for name in ("split", "policy", "seed"):
        if len({other[name] for other in others}) > 1:
            parts.append(f"seed {row['seed']}" if name == "seed" else row[name])
    return ", ".join(parts)


def _describe_setup(rows: Sequence[Row], name: str) -> SetupRobustness:
    domains: dict[str, list[ConditionRow]] = {}
    sentences = []
    for row in rows:
        domains.setdefault(row["domain"], []).append(_condition_row(row))
    for domain in domains:
        said = [words for row in rows if row["domain"] == domain if (words := _word_condition(row))]
        if said:
            sentences.append(f"{domain}: {' '.join(said)}")
    return SetupRobustness(name, domains, sentences)


def _condition_row(row: Row) -> ConditionRow:
    return ConditionRow(
        domain=row["domain"],
        condition=row["condition"],
        categories=int(row["categories"]),
        auroc=_read(row, "image_auroc"),
        f1=_read(row, "f1"),
        specificity=_read(row, "specificity"),
        loss=_read(row, "image_auroc_loss"),
        above_chance=_read(row, "image_auroc_loss_above_chance"),
        recovery=_read(row, "image_auroc_recovery"),
        share=_read(row, "image_auroc_recovery_relative"),
        undefined=row["undefined"] or row["image_auroc_undefined"],
    )


def _word_condition(row: Row) -> str:
    """What one condition costs or brings back, as far as intervals tell; empty where it was not measured."""
    if not int(row["categories"]):
        return ""
    metrics = list(_NAMES)
    if row["condition"] == NO_ADAPTATION:
        said = [_word_loss(row, metric) for metric in metrics]
        nothing = "nothing is told apart from the reference domain"
    else:
        said = [_word_recovery(row, metric) for metric in metrics]
        nothing = "no figure is told apart from the one without adaptation"
    return f"{_OPENINGS[row['condition']]}, {'; '.join(filter(None, said)) or nothing}."


def _word_loss(row: Row, metric: str) -> str:
    loss = _read(row, f"{metric}_loss")
    if is_above_zero(loss):
        share = _read(row, f"{metric}_loss_above_chance") if metric == "image_auroc" else Value(None)
        lost = f", {100 * share.value:.0f} % of what it was above chance" if share.value is not None else ""
        return f"{_NAMES[metric]} falls by {_show(loss)}{lost}"
    return f"{_NAMES[metric]} rises by {_show(_turn(loss))}" if is_above_zero(_turn(loss)) else ""


def _word_recovery(row: Row, metric: str) -> str:
    change = _read(row, f"{metric}_recovery")
    if is_above_zero(change):
        share = _read(row, f"{metric}_recovery_relative")
        if share.value is None:
            return f"{_NAMES[metric]} rises by {_show(change)}"
        return f"{_NAMES[metric]} regains {_show(change)}, {100 * share.value:.0f} % of what was lost"
    return f"{_NAMES[metric]} falls by another {_show(_turn(change))}" if is_above_zero(_turn(change)) else ""


def _word_correlations(rows: Sequence[Row], distance: str) -> list[str]:
    found = [row for row in rows if row["kind"] == "correlation" and row["distance_name"] == distance]
    sentences = []
    for row in found:
        correlation = as_value(row, "correlation", "correlation_low", "correlation_high")
        said = describe_correlation(correlation, int(row["pairs"]))
        name = f"{_name(row, found)}: " if len(found) > 1 else ""
        sentences.append(f"{name}{said}." if name else f"{said[0].upper()}{said[1:]}.")
    return sentences


def _feature_row(row: Row, others: Sequence[Row]) -> FeatureRow:
    return FeatureRow(
        name=_name(row, others),
        drift=float(row["feature_drift"]) if row["feature_drift"] else None,
        drift_rank=row["drift_rank"],
        slope=_read(row, "lost_per_distance"),
        slope_rank=row["lost_per_distance_rank"],
        gap=_read(row, "gap"),
        gap_relative=_read(row, "gap_relative"),
        gap_rank=row["gap_rank"],
        undefined=row["undefined"],
    )


def _word_ranking(rows: Sequence[FeatureRow]) -> list[str]:
    """The setups that are first, and whether intervals tell them from the second."""
    sentences = []
    for title, rank, value in (
        ("least image AUROC lost per unit of distance", "slope_rank", "slope"),
        ("smallest gap between home and away", "gap_rank", "gap"),
    ):
        ranked = sorted((row for row in rows if getattr(row, rank)), key=lambda row: int(getattr(row, rank)))
        if len(ranked) < 2:
            continue
        first, second = (getattr(row, value) for row in ranked[:2])
        apart = first.high is not None and second.low is not None and first.high < second.low
        told = "its interval lies below that of the next" if apart else "its interval overlaps that of the next"
        sentences.append(f"{title[0].upper()}{title[1:]}: {ranked[0].name}, {_show(first)}; {told}.")
    return sentences


def _show(value: Value) -> str:
    """`0.213 (0.088 to 0.347)`."""
    assert value.value is not None
    shown = show_value(value.value, value.low, value.high)
    if value.low is None or value.high is None:
        return shown
    return f"{shown} ({' to '.join(show_ends(value.value, value.low, value.high))})"


def _turn(value: Value) -> Value:
    """Minus a value."""
    turned = [None if end is None else -end for end in (value.value, value.high, value.low)]
    return Value(turned[0], turned[1], turned[2])


def _read(row: Row, name: str) -> Value:
    return as_value(row, name, f"{name}_low", f"{name}_high")
