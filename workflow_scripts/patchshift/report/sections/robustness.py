"""The report's section on robustness: what shifts cost, what comes back, and what foretells it, read from the tables.

It adds to "Under shift", which has every category: means, changes and recovery, correlation, ranking of features. What
shifts do to the setup that the page recommends stands under the recommendation. Every difference is told as a change:
value minus what it is measured against. Plain text: the template escapes it. Tested in tests/report/test_robustness.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from patchshift.report.analyses.study_data import StudyData
from patchshift.report.conditions import IN_DOMAIN, Setup
from patchshift.report.labels import name_backbone
from patchshift.report.plots.distance_effects import describe_correlation
from patchshift.report.results import Value, read_estimate, read_rows
from patchshift.report.sections.changes import Row, show_range, turn, word_domain
from patchshift.report.sections.drifts import DriftRanking, rank_drifts
from patchshift.report.wording import join_words

SHOWN = 4
"""Setups on a page; the table has all."""
TABLES = ("robustness.csv", "cross_shift.csv", "distance_effects.csv", "feature_robustness.csv")

_SETUP = ("split", "backbone", "detector", "seed", "policy")


@dataclass(frozen=True)
class ConditionRow:
    """Means over the categories in a shifted domain under one condition, or in the reference domain.

    Attributes:
        domain: as the config calls it.
        condition: one of the three, or in domain.
        categories: how many of them.
        auroc, f1, floor, misses, alarms: the figures; `floor` is F1's.
        change: image AUROC minus that of the reference domain, on the same images.
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
    floor: Value
    misses: Value
    alarms: Value
    change: Value
    above_chance: Value
    recovery: Value
    share: Value
    undefined: str


@dataclass(frozen=True)
class SetupRobustness:
    """One setup.

    Attributes:
        name: the setup in words.
        start: the reference domain, with most of its categories; None where it was not scored there.
        categories: the most that were scored in one domain.
        domains: domain -> its three rows.
        sentences: domain -> what they say.
        is_told: whether the sentences stand under the recommendation.
    """

    name: str
    start: ConditionRow | None
    categories: int
    domains: dict[str, list[ConditionRow]]
    sentences: dict[str, list[str]]
    is_told: bool

    @property
    def paragraphs(self) -> dict[str, list[str]]:
        """Domains of which the same is said, in words -> what that is."""
        domains: dict[tuple[str, ...], list[str]] = {}
        for domain, said in self.sentences.items():
            domains.setdefault(tuple(said), []).append(domain)
        return {join_words(names): list(said) for said, names in domains.items()}


@dataclass(frozen=True)
class RankedSetup:
    """One setup among those compared by what their features lose."""

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
        setups: the setups that were scored in shifted domains, at most `SHOWN`, first the one that is told above.
        hidden: number of setups that are not among them.
        distance: the one that the study plots losses against, in words.
        correlations: what it foretells, one sentence for each setup.
        features: setups by what their features lose away from home.
        ranking: what may be said of their order.
        drifts: layers and fusions by their drift; None where no distances are measured.
        tables: paths of all figures, from the study's folder.
    """

    reference: str
    setups: list[SetupRobustness]
    hidden: int
    distance: str
    correlations: list[str]
    features: list[RankedSetup]
    ranking: list[str]
    drifts: DriftRanking | None
    tables: list[str]

    @property
    def told(self) -> SetupRobustness | None:
        """The setup whose sentences stand under the recommendation."""
        return next((setup for setup in self.setups if setup.is_told), None)


def describe_robustness(data: StudyData, told: Setup | None = None, categories: int = 0) -> RobustnessSection | None:
    """What the study's tables say; None where no bank is scored away from the domain that it was fitted on.

    Args:
        data: the study, with its tables.
        told: the setup whose sentences stand under the recommendation.
        categories: how many it was scored on in the reference domain.
    """
    tables = {name: read_rows(data.folder / name) for name in TABLES}
    if not any(tables.values()):
        return None
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in tables["robustness.csv"]:
        if row["kind"] == "mean":
            groups.setdefault(tuple(row[name] for name in _SETUP), []).append(row)
    named = [rows[0] for rows in groups.values()]
    key = (told.split, told.backbone, told.detector, str(told.seed), told.threshold) if told else ()
    ordered = sorted(groups, key=lambda group: group != key)  # stable
    setups = [
        _describe_setup(groups[group], _name(groups[group][0], named), group == key, categories if group == key else 0)
        for group in ordered[:SHOWN]
    ]
    features = [row for row in tables["feature_robustness.csv"] if row["kind"] == "setup"]
    shown = [_rank_setup(row, features) for row in features]
    return RobustnessSection(
        reference=named[0]["reference_domain"] if named else "",
        setups=setups,
        hidden=len(groups) - len(setups),
        distance=data.analysis.distance.replace("_", " "),
        correlations=_word_correlations(tables["distance_effects.csv"], data.analysis.distance),
        features=shown if len(shown) > 1 or any(row.drift is not None for row in shown) else [],
        ranking=_word_ranking(shown),
        drifts=rank_drifts(data),
        tables=[name for name, rows in tables.items() if rows],
    )


def _name(row: Row, others: Sequence[Row]) -> str:
    """Detector and backbone, and what else tells it from the others."""
    parts = [f"{row['detector']} on {name_backbone(row['backbone'], row['weights'])}"]
    for name in ("split", "policy", "seed"):
        if len({other[name] for other in others}) > 1:
            parts.append(f"seed {row['seed']}" if name == "seed" else row[name])
    return ", ".join(parts)


def _describe_setup(rows: Sequence[Row], name: str, is_told: bool, categories: int) -> SetupRobustness:
    domains: dict[str, list[Row]] = {}
    for row in rows:
        domains.setdefault(row["domain"], []).append(row)
    most = max(categories, *(int(row["categories"]) for row in rows))
    start = max(rows, key=lambda row: int(row["categories"]) if row["image_auroc_reference"] else 0)
    return SetupRobustness(
        name,
        _reference_row(start) if start["image_auroc_reference"] else None,
        most,
        {domain: [_condition_row(row) for row in found] for domain, found in domains.items()},
        {domain: said for domain, found in domains.items() if (said := word_domain(found, most))},
        is_told,
    )


def _condition_row(row: Row) -> ConditionRow:
    return ConditionRow(
        domain=row["domain"],
        condition=row["condition"],
        categories=int(row["categories"]),
        auroc=read_estimate(row, "image_auroc"),
        f1=read_estimate(row, "f1"),
        floor=read_estimate(row, "f1_floor"),
        misses=read_estimate(row, "miss_rate"),
        alarms=read_estimate(row, "false_alarm_rate"),
        change=turn(read_estimate(row, "image_auroc_loss")),
        above_chance=turn(read_estimate(row, "image_auroc_loss_above_chance")),
        recovery=read_estimate(row, "image_auroc_recovery"),
        share=read_estimate(row, "image_auroc_recovery_relative"),
        undefined=row["undefined"] or row["image_auroc_undefined"],
    )


def _reference_row(row: Row) -> ConditionRow:
    """The reference domain, which a row of a shifted one holds too."""
    reference = {name.replace("_reference", ""): value for name, value in row.items() if "_reference" in name}
    empty = dict.fromkeys((name for name in row if "_loss" in name or "_recovery" in name), "")
    start = {"domain": row["reference_domain"], "condition": IN_DOMAIN, "undefined": "", "image_auroc_undefined": ""}
    return _condition_row({**row, **reference, **empty, **start})


def _word_correlations(rows: Sequence[Row], distance: str) -> list[str]:
    found = [
        row
        for row in rows
        if row["kind"] == "correlation" and row["distance_name"] == distance and int(row["pairs"])  # else all at home
    ]
    sentences = []
    for row in found:
        correlation = read_estimate(row, "correlation")
        said = describe_correlation(correlation, int(row["pairs"]))
        name = f"{_name(row, found)}: " if len(found) > 1 else ""
        sentences.append(f"{name}{said}." if name else f"{said[0].upper()}{said[1:]}.")
    return sentences


def _rank_setup(row: Row, others: Sequence[Row]) -> RankedSetup:
    return RankedSetup(
        name=_name(row, others),
        drift=float(row["feature_drift"]) if row["feature_drift"] else None,
        drift_rank=row["drift_rank"],
        slope=read_estimate(row, "lost_per_distance"),
        slope_rank=row["lost_per_distance_rank"],
        gap=read_estimate(row, "gap"),
        gap_relative=read_estimate(row, "gap_relative"),
        gap_rank=row["gap_rank"],
        undefined=row["undefined"],
    )


def _word_ranking(rows: Sequence[RankedSetup]) -> list[str]:
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
        sentences.append(f"{title[0].upper()}{title[1:]}: {ranked[0].name}, {show_range(first)}; {told}.")
    return sentences
