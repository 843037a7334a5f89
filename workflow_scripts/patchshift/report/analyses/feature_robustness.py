"""Which features are robust: a study's `feature_robustness.csv`. Columns: docs/results.md.

Tested in tests/report/test_feature_robustness.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from patchshift.evaluation.association import slope_through_origin
from patchshift.report.analyses.distance_effects import Pair, list_pairs, lost_by_distance
from patchshift.report.analyses.estimates import as_columns, columns_of
from patchshift.report.analyses.feature_drifts import (
    Drifts,
    Features,
    MeanDrift,
    Places,
    find_drifts,
    mean_drift,
    read_drifts,
)
from patchshift.report.analyses.losses import as_value
from patchshift.report.analyses.rankings import IN_DOMAIN, Ranking, Setup, list_rankings, lowest_seeds
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.analyses.transfer import DRIFT, Gap, measure_gap
from patchshift.report.results import Value

FEATURES = ("layers", "fusion", "neighbourhood", "normalise", "reduction")
NOT_MEASURED = "the study measures no distances (inspection: distances)"
HOME_DRIFT = f"home_{DRIFT}"
RANKS = {DRIFT: "drift_rank", "lost_per_distance": "lost_per_distance_rank", "gap": "gap_rank"}
"""Column -> that of its rank, 1 the lowest."""
COLUMNS = [
    "kind",
    *("split", "backbone", "weights", "detector", "seed", "policy"),
    *FEATURES,
    "pairs",
    *columns_of("home_image_auroc"),
    *columns_of("away_image_auroc"),
    *columns_of("gap"),
    *columns_of("gap_relative"),
    *(DRIFT, HOME_DRIFT, "distance_name"),
    *columns_of("lost_per_distance"),
    *RANKS.values(),
    "undefined",
]


def feature_robustness_table(data: StudyData) -> pd.DataFrame:
    """What features lose away from home: a row of `kind` `setup` per setup, then `features` per layer and fusion.

    Setups are those that are scored away from home, of several seeds the lowest; layers and fusions those whose drift
    the study measures. Ranked among each are those with the largest set of pairs of training and target, all over the
    same pairs: 1 is the lowest drift, loss per distance, or gap. Empty where no bank is scored away from home.
    """
    drifts = read_drifts(data)
    setups = _setup_rows(data, drifts)
    rows = [*setups, *_features_rows(drifts)] if setups else []
    whole = ("seed", *RANKS.values())
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(whole, "Int64"))


def _setup_rows(data: StudyData, drifts: Mapping[Features, Drifts]) -> list[dict[str, Any]]:
    rankings = lowest_seeds(list_rankings(data.results, data.plan, data.results.all_views()))
    at_home = [ranking for ranking in rankings if ranking.relation == IN_DOMAIN]
    away: dict[Setup, list[Ranking]] = {}
    for ranking in rankings:
        if ranking.relation != IN_DOMAIN:
            away.setdefault(ranking.setup, []).append(ranking)
    pairs = list_pairs(data)
    gaps = {setup: measure_gap(data, group, at_home) for setup, group in away.items()}
    measured = {setup: [pair for pair in pairs if pair.ranking.setup == setup and pair.is_away] for setup in away}
    rows = [_row(data, group[0], gaps[setup], measured[setup], drifts) for setup, group in away.items()]
    covered = [{ranking.pair for ranking in gaps[setup].rankings} for setup in away]
    return _rank(rows, covered, "not ranked: other setups were scored on more or other pairs")


def _features_rows(drifts: Mapping[Features, Drifts]) -> list[dict[str, Any]]:
    means = {features: mean_drift(found, found.away) for features, found in drifts.items() if found.away}
    rows = []
    for features, mean in means.items():
        missing = [value.undefined for value in drifts[features].away.values() if value.value is None]
        rows.append(
            {
                **dict.fromkeys(COLUMNS),
                "kind": "features",
                **asdict(features),
                "pairs": len(mean.pairs),
                **_drift_columns(mean),
                "undefined": "" if mean.pairs else missing[0],
            }
        )
    covered = [mean.pairs for mean in means.values()]
    return _rank(rows, covered, "not ranked: other features were measured on more or other pairs")


def _rank(rows: Sequence[dict[str, Any]], covered: Sequence[set[Places]], reason: str) -> list[dict[str, Any]]:
    """The rows with their ranks among those that cover the largest set of pairs, and the reason where they do not."""
    largest = max(covered, key=len, default=set())
    compared = [pairs == largest for pairs in covered]
    ranked = [dict(row) for row in rows]
    for column, rank in RANKS.items():
        for row, number in zip(ranked, rank_lowest([row[column] for row in rows], compared), strict=True):
            row[rank] = number
    for row, same in zip(ranked, compared, strict=True):
        row["undefined"] = row["undefined"] or ("" if same else reason)
    return ranked


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


def _row(
    data: StudyData, ranking: Ranking, found: Gap, pairs: Sequence[Pair], drifts: Mapping[Features, Drifts]
) -> dict[str, Any]:
    keys = ranking.keys
    settings = data.detectors.get(str(keys["detector"]))
    own = find_drifts(drifts, str(keys["split"]), str(keys["backbone"]), settings)
    x, y = lost_by_distance(pairs, data.analysis.distance)
    lost = Value(None, undefined=NOT_MEASURED)
    if pairs:
        lost = as_value(slope_through_origin(x, y, confidence=data.spec.confidence))
    return {
        "kind": "setup",
        **{name: keys[name] for name in ("split", "backbone", "weights", "detector", "seed", "policy")},
        **describe_features(settings),
        "pairs": len(found.rankings),
        **as_columns("home_image_auroc", found.home),
        **as_columns("away_image_auroc", found.mean),
        **as_columns("gap", found.gap),
        **as_columns("gap_relative", found.relative),
        **_drift_columns(mean_drift(own or Drifts(), {pair.ranking.pair for pair in pairs})),
        "distance_name": data.analysis.distance,
        **as_columns("lost_per_distance", lost),
        "undefined": next((value.undefined for value in (found.gap, lost) if value.value is None), ""),
    }


def _drift_columns(mean: MeanDrift) -> dict[str, float | None]:
    return {DRIFT: mean.away, HOME_DRIFT: mean.home}
