"""Whether a domain's distance foretells what a bank loses there: a study's `distance_effects.csv`.

Columns: docs/results.md. Tested in tests/report/test_distance_effects.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pandas as pd

from patchshift.evaluation.association import name_thirds, spearman
from patchshift.evaluation.undefined import Undefined
from patchshift.plan.specs import Distance
from patchshift.report.analyses.estimates import as_columns, columns_of
from patchshift.report.analyses.losses import as_value, lost, sample_sides
from patchshift.report.analyses.rankings import (
    IN_DOMAIN,
    KEY_COLUMNS,
    Distances,
    Ranking,
    Setup,
    distances_of,
    find_homes,
    list_rankings,
    lowest_seeds,
    read_distances,
)
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.results import Value

DISTANCES: tuple[str, ...] = get_args(Distance)
SAME = "same"
NO_HOME = "its bank was not scored in its own domain"
COLUMNS = [
    *("kind", "closeness", "relation", "pairs"),
    *KEY_COLUMNS,
    *("distance_name", *columns_of("distance")),
    *DISTANCES,
    *columns_of("image_auroc"),
    *columns_of("home_image_auroc"),
    *columns_of("loss"),
    *columns_of("pixel_auroc"),
    *columns_of("correlation"),
    "undefined",
]


@dataclass(frozen=True)
class Pair:
    """A bank and a target whose distance is known.

    Attributes:
        ranking: what the bank is worth there.
        distances: distance -> its value.
        home: image AUROC of the bank in its own domain.
        loss: that minus what it is on the target; None at home.
        closeness: `same` at home; else `close`, `middle` or `far`, or empty.
    """

    ranking: Ranking
    distances: Distances
    home: Value
    loss: Value | None
    closeness: str

    @property
    def is_away(self) -> bool:
        """Whether the target is not the domain trained on."""
        return self.ranking.relation != IN_DOMAIN


def list_pairs(data: StudyData) -> list[Pair]:
    """All rankings of the study whose distance is measured, in their order; of several seeds those of the lowest."""
    known = read_distances(data)
    everything = list_rankings(data.results, data.plan, data.results.all_views())
    rankings = lowest_seeds(everything)
    at_home = [ranking for ranking in rankings if ranking.relation == IN_DOMAIN]
    measured = [(ranking, found) for ranking in rankings if (found := distances_of(ranking, known))]
    closeness = _closeness(data.analysis.distance, measured)
    pairs = []
    for ranking, distances in measured:
        home, loss = data.results.value(ranking.cell, "image_auroc"), None
        if ranking.relation != IN_DOMAIN:
            home, loss = measure_loss(data, ranking, find_homes(ranking, at_home))
        pairs.append(Pair(ranking, distances, home, loss, closeness.get(_features(ranking), "")))
    return pairs


def measure_loss(data: StudyData, ranking: Ranking, homes: Sequence[Ranking]) -> tuple[Value, Value]:
    """Image AUROC at home, and what of it is lost away: paired where both are of the same images."""
    if not homes:
        return Value(None, undefined=NO_HOME), Value(None, undefined=NO_HOME)
    try:
        sides = sample_sides(data.results, ranking.cell, [home.cell for home in homes], "image_auroc", data.spec)
    except Undefined as error:
        return Value(None, undefined=str(error)), Value(None, undefined=str(error))
    return sides[0].estimate(data.spec.confidence), lost(*sides).estimate(data.spec.confidence)


def distance_effects_table(data: StudyData) -> pd.DataFrame:
    """Pairs; then per setup the means of each group; then per setup and distance its correlation with what is lost.

    Empty where the study measures no distances, or none of a domain away from home.
    """
    pairs = list_pairs(data)
    if not any(pair.is_away for pair in pairs):
        return pd.DataFrame(columns=COLUMNS)
    rows = [_pair_row(data, pair) for pair in pairs]
    setups: dict[Setup, list[Pair]] = {}
    for pair in pairs:
        setups.setdefault(pair.ranking.setup, []).append(pair)
    for group in setups.values():
        names = dict.fromkeys(pair.closeness for pair in sorted(group, key=lambda each: _order(each.closeness)))
        rows += [
            _group_row(data, name, [pair for pair in group if pair.closeness == name]) for name in filter(None, names)
        ]
    for group in setups.values():
        rows += [_correlation_row(data, name, group) for name in DISTANCES]
    return pd.DataFrame(rows, columns=COLUMNS)


def correlate(data: StudyData, pairs: Sequence[Pair], distance: str) -> tuple[Value, int]:
    """Spearman's correlation of a distance with what is lost, over the pairs away from home; and how many they are."""
    x, y = lost_by_distance(pairs, distance)
    return as_value(spearman(x, y, confidence=data.spec.confidence)), len(x)


def lost_by_distance(pairs: Sequence[Pair], distance: str) -> tuple[list[float], list[float]]:
    """Distance and loss of the pairs away from home that have both."""
    found = [
        (pair.distances[distance].value, pair.loss.value)
        for pair in pairs
        if pair.loss is not None and distance in pair.distances
    ]
    defined = [(x, y) for x, y in found if x is not None and y is not None]
    return [x for x, _ in defined], [y for _, y in defined]


def _features(ranking: Ranking) -> tuple[object, ...]:
    """What a distance depends on: several detectors share it."""
    bank = ranking.cell.bank
    return bank.training, bank.split, bank.backbone, ranking.cell.target


def _closeness(distance: str, measured: Sequence[tuple[Ranking, Distances]]) -> dict[tuple[object, ...], str]:
    """The group of each pair; thirds are of one split and backbone, whose distances have one scale."""
    groups = {_features(ranking): SAME for ranking, _ in measured if ranking.relation == IN_DOMAIN}
    away: dict[tuple[str, str], dict[tuple[object, ...], float]] = {}
    for ranking, found in measured:
        value = found[distance].value if distance in found else None
        if ranking.relation != IN_DOMAIN and value is not None:
            bank = ranking.cell.bank
            away.setdefault((bank.split, bank.backbone), {})[_features(ranking)] = value
    for values in away.values():
        groups |= dict(zip(values, name_thirds(list(values.values())), strict=True))
    return groups


def _order(closeness: str) -> int:
    return (SAME, "close", "middle", "far", "").index(closeness)


def _pair_row(data: StudyData, pair: Pair) -> dict[str, Any]:
    auroc, pixels = (data.results.value(pair.ranking.cell, metric) for metric in ("image_auroc", "pixel_auroc"))
    return {
        "kind": "pair",
        "closeness": pair.closeness,
        "relation": pair.ranking.relation,
        "pairs": 1,
        **pair.ranking.keys,
        "distance_name": data.analysis.distance,
        **as_columns("distance", pair.distances.get(data.analysis.distance, Value(None))),
        **{name: pair.distances[name].value for name in DISTANCES if name in pair.distances},
        **as_columns("image_auroc", auroc),
        **as_columns("home_image_auroc", pair.home),
        **as_columns("loss", pair.loss or Value(None)),
        **as_columns("pixel_auroc", pixels),
        "undefined": next(
            (value.undefined for value in (auroc, pair.home, pair.loss) if value and value.value is None), ""
        ),
    }


def _group_row(data: StudyData, closeness: str, pairs: Sequence[Pair]) -> dict[str, Any]:
    """Means over the pairs with an image AUROC, of what all of them have; the loss is over those with a home."""
    results, distance = data.results, data.analysis.distance
    pairs = [pair for pair in pairs if results.value(pair.ranking.cell, "image_auroc").value is not None] or pairs
    columns: dict[str, list[float | None]] = {
        "distance": [pair.distances.get(distance, Value(None)).value for pair in pairs],
        **{
            metric: [results.value(pair.ranking.cell, metric).value for pair in pairs]
            for metric in ("image_auroc", "pixel_auroc")
        },
        "loss": [pair.loss.value for pair in pairs if pair.loss and pair.loss.value is not None],
        **{name: [pair.distances.get(name, Value(None)).value for pair in pairs] for name in DISTANCES},
    }
    return {
        **_setup_columns("group", pairs),
        "closeness": closeness,
        "pairs": len(pairs),
        "distance_name": distance,
        **{name: _mean(values) for name, values in columns.items()},
    }


def _correlation_row(data: StudyData, distance: str, pairs: Sequence[Pair]) -> dict[str, Any]:
    found, count = correlate(data, pairs, distance)
    return {
        **_setup_columns("correlation", pairs),
        "pairs": count,
        "distance_name": distance,
        **as_columns("correlation", found),
        "undefined": found.undefined,
    }


def _setup_columns(kind: str, pairs: Sequence[Pair]) -> dict[str, Any]:
    keys = pairs[0].ranking.keys
    named = {name: keys[name] for name in ("split", "backbone", "weights", "detector", "seed", "policy")}
    return {"kind": kind, **dict.fromkeys(KEY_COLUMNS, ""), **named}


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined and len(defined) == len(values) else None
