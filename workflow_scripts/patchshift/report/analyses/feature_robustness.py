"""Which features are robust: a study's `feature_robustness.csv`. Columns: docs/results.md.

Tested in tests/report/test_feature_robustness.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from patchshift.evaluation.association import slope_through_origin
from patchshift.plan.cells import Target
from patchshift.report.analyses.distance_effects import Pair, list_pairs, lost_by_distance
from patchshift.report.analyses.losses import as_columns, as_value, columns_of
from patchshift.report.analyses.rankings import IN_DOMAIN, Ranking, Setup, list_rankings, lowest_seeds
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.analyses.transfer import DRIFT, Gap, measure_gap
from patchshift.report.results import Value

FEATURES = ("layers", "fusion", "neighbourhood", "normalise", "reduction")
NOT_MEASURED = "the study measures no distances (inspection: distances)"
COLUMNS = [
    *("split", "backbone", "weights", "detector", "seed", "policy"),
    *FEATURES,
    "pairs",
    *columns_of("home_image_auroc"),
    *columns_of("away_image_auroc"),
    *columns_of("gap"),
    *columns_of("gap_relative"),
    *("distance_name", DRIFT),
    *columns_of("lost_per_distance"),
    *("drift_rank", "lost_per_distance_rank", "gap_rank"),
    "undefined",
]


def feature_robustness_table(data: StudyData) -> pd.DataFrame:
    """One row per setup that is scored away from home, of several seeds the lowest: what its features lose there.

    Ranked are the setups with the largest set of pairs of training and target, all over the same pairs: 1 is the
    lowest drift, loss per distance, or gap. Empty where no bank is scored away from home.
    """
    rankings = lowest_seeds(list_rankings(data.results, data.plan, data.results.all_views()))
    at_home = [ranking for ranking in rankings if ranking.relation == IN_DOMAIN]
    away: dict[Setup, list[Ranking]] = {}
    for ranking in rankings:
        if ranking.relation != IN_DOMAIN:
            away.setdefault(ranking.setup, []).append(ranking)
    pairs = list_pairs(data)
    gaps = {setup: measure_gap(data, group, at_home) for setup, group in away.items()}
    covered = {setup: {ranking.pair for ranking in gap.rankings} for setup, gap in gaps.items()}
    largest = max(covered.values(), key=len, default=set())
    rows = [
        _row(data, group[0], gaps[setup], [pair for pair in pairs if pair.ranking.setup == setup and pair.is_away])
        for setup, group in away.items()
    ]
    compared = [_is_compared(covered[setup], largest) for setup in away]
    for rank, column in (
        ("drift_rank", DRIFT),
        ("lost_per_distance_rank", "lost_per_distance"),
        ("gap_rank", "gap"),
    ):
        for row, number in zip(rows, rank_lowest([row[column] for row in rows], compared), strict=True):
            row[rank] = number
    for row, same in zip(rows, compared, strict=True):
        if not same:
            row["undefined"] = row["undefined"] or "not ranked: other setups were scored on more or other pairs"
    ranks = ("drift_rank", "lost_per_distance_rank", "gap_rank")
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(ranks, "Int64"))


def rank_lowest(values: Sequence[float | None], compared: Sequence[bool]) -> list[int | None]:
    """The rank of each value among those compared, 1 the lowest; equal values have the same, the lower one."""
    known = [value for value, same in zip(values, compared, strict=True) if same and value is not None]
    if len(known) < 2:
        return [None] * len(values)
    return [
        1 + sum(other < value for other in known) if same and value is not None else None
        for value, same in zip(values, compared, strict=True)
    ]


def describe_features(settings: Mapping[str, Any] | None) -> dict[str, str]:
    """What a detector makes of layer maps, in a few words; empty of scores of another method."""
    representation = (settings or {}).get("representation")
    if not representation:
        return dict.fromkeys(FEATURES, "")
    layers, reduction = representation.get("layers"), representation.get("reduction")
    return {
        "layers": " ".join(layers) if layers else "all",
        **{name: str(representation.get(name, "")) for name in ("fusion", "neighbourhood", "normalise")},
        "reduction": str(reduction["method"]) if reduction else "none",
    }


def _is_compared(pairs: set[tuple[Target, Target]], largest: set[tuple[Target, Target]]) -> bool:
    return pairs == largest


def _row(data: StudyData, ranking: Ranking, found: Gap, pairs: Sequence[Pair]) -> dict[str, Any]:
    keys = ranking.keys
    x, y = lost_by_distance(pairs, data.analysis.distance)
    lost = Value(None, undefined=NOT_MEASURED)
    if pairs:
        lost = as_value(slope_through_origin(x, y, confidence=data.spec.confidence))
    drifts = {
        pair.ranking.pair: pair.distances[DRIFT].value
        for pair in pairs
        if DRIFT in pair.distances and pair.distances[DRIFT].value is not None
    }
    return {
        **{name: keys[name] for name in ("split", "backbone", "weights", "detector", "seed", "policy")},
        **describe_features(data.detectors.get(str(keys["detector"]))),
        "pairs": len(found.rankings),
        **as_columns("home_image_auroc", found.home),
        **as_columns("away_image_auroc", found.mean),
        **as_columns("gap", found.gap),
        **as_columns("gap_relative", found.relative),
        "distance_name": data.analysis.distance,
        DRIFT: float(np.mean(list(drifts.values()))) if drifts else None,
        **as_columns("lost_per_distance", lost),
        "undefined": next((value.undefined for value in (found.gap, lost) if value.value is None), ""),
    }
