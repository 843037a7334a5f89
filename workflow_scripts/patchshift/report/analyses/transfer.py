"""What banks are worth on targets that they were not fitted on: an experiment's `transfer.csv`.

Columns: docs/results.md. Tested in tests/report/test_transfer.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from patchshift.evaluation.undefined import Undefined
from patchshift.report.analyses.losses import (
    Sample,
    as_columns,
    category_positions,
    columns_of,
    lost,
    mean_sample,
    relative_loss,
    sample_metric,
)
from patchshift.report.analyses.rankings import (
    CROSS_DATASET,
    IN_DOMAIN,
    KEY_COLUMNS,
    RELATIONS,
    SHIFTED,
    Distances,
    Ranking,
    distances_of,
    find_homes,
    grade_auroc,
    list_rankings,
    read_distances,
)
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.results import Value

DRIFT = "feature_drift"
NO_HOME = "no bank of these was scored in its own domain"
COLUMNS = [
    *("kind", "relation", "pairs"),
    *KEY_COLUMNS,
    *("same_category", "same_dataset"),
    *columns_of("image_auroc"),
    "grade",
    *columns_of("pixel_auroc"),
    *("distance_name", *columns_of("distance"), *columns_of(DRIFT)),
    *(*columns_of("gap"), *columns_of("gap_relative")),
    "undefined",
]


@dataclass(frozen=True)
class Gap:
    """What rankings of one setup are worth on average, and how much less than at home.

    Attributes:
        pairs: rankings with an image AUROC.
        mean: their mean image AUROC.
        home: mean image AUROC of the same banks in their own domains.
        gap: `home` minus `mean`; `relative` to `home`.
    """

    pairs: int
    mean: Value
    home: Value
    gap: Value
    relative: Value


def transfer_table(data: StudyData, experiment: str) -> pd.DataFrame:
    """One row per bank and target, then, of each setup, the mean of each relation and its gap to what is at home.

    Empty where the experiment scores banks in their own domain only. Homes may be of any experiment of the study.
    """
    rankings, at_home = find_rankings(data, experiment)
    if all(ranking.relation == IN_DOMAIN for ranking in rankings):
        return pd.DataFrame(columns=COLUMNS)
    known = read_distances(data)
    rows = [_pair_row(data, ranking, distances_of(ranking, known)) for ranking in rankings]
    groups: dict[tuple[object, ...], list[Ranking]] = {}
    for ranking in rankings:
        groups.setdefault((*ranking.setup, ranking.keys["policy"]), []).append(ranking)
    for group in groups.values():
        homes = home_rankings(group, at_home)
        by_relation = {name: [each for each in group if each.relation == name] for name in RELATIONS}
        by_relation[IN_DOMAIN] = homes
        for relation, chosen in by_relation.items():
            if chosen:
                found = [distances_of(each, known) for each in chosen]
                rows.append(_mean_row(data, relation, chosen, found))
        for relation in RELATIONS[1:]:
            if by_relation[relation]:
                rows.append(_gap_row(data, relation, by_relation[relation], at_home))
    whole = dict.fromkeys(("same_category", "same_dataset"), "Int64")  # 0, 1 or empty, never 1.0
    return pd.DataFrame(rows, columns=COLUMNS).astype(whole)


def find_rankings(data: StudyData, experiment: str) -> tuple[list[Ranking], list[Ranking]]:
    """The rankings of an experiment, and those at home of the whole study."""
    everything = list_rankings(data.results, data.plan, data.results.all_views())
    at_home = [ranking for ranking in everything if ranking.relation == IN_DOMAIN]
    return list_rankings(data.results, data.plan, data.cells(experiment)), at_home


def home_rankings(rankings: Sequence[Ranking], at_home: Sequence[Ranking]) -> list[Ranking]:
    """The homes of all rankings, each once."""
    found = {id(home): home for ranking in rankings for home in find_homes(ranking, at_home)}
    return list(found.values())


def pair_homes(rankings: Sequence[Ranking], at_home: Sequence[Ranking]) -> tuple[list[Ranking], list[Ranking]]:
    """The rankings whose banks were scored at home, and their homes; all rankings and none, where no bank was."""
    homes = home_rankings(rankings, at_home)
    return [ranking for ranking in rankings if find_homes(ranking, at_home)] or list(rankings), homes


def measure_gap(data: StudyData, rankings: Sequence[Ranking], homes: Sequence[Ranking]) -> Gap:
    """The mean image AUROC of rankings, and the gap to that of their banks at home.

    A category's test images are drawn once and serve every bank that is scored on them, so the interval covers the
    choice of the test images of all targets together: not that of the targets, the split or the seed.
    """
    away, home = (_samples(data, side) for side in (rankings, homes))
    confidence = data.spec.confidence
    if not away:
        empty = Value(None, undefined="no image AUROC is defined")
        return Gap(0, empty, empty, empty, empty)
    mean = mean_sample(away)
    if not home:
        empty = Value(None, undefined=NO_HOME)
        return Gap(len(away), mean.estimate(confidence), empty, empty, empty)
    start = mean_sample(home)
    estimates = (each.estimate(confidence) for each in (mean, start, lost(start, mean), relative_loss(start, mean)))
    return Gap(len(away), *estimates)


def _samples(data: StudyData, rankings: Sequence[Ranking]) -> list[Sample]:
    """Those that are defined."""
    positions = category_positions(data.results)
    samples = []
    for ranking in rankings:
        target = ranking.cell.target
        position = positions[target.dataset, target.category]
        try:
            samples.append(sample_metric(data.results, ranking.cell, "image_auroc", data.spec, position=position))
        except Undefined:
            continue
    return samples


def _pair_row(data: StudyData, ranking: Ranking, distances: Distances) -> dict[str, Any]:
    auroc, pixels = (data.results.value(ranking.cell, metric) for metric in ("image_auroc", "pixel_auroc"))
    return {
        "kind": "pair",
        "relation": ranking.relation,
        "pairs": 1,
        **ranking.keys,
        "same_category": int(ranking.relation in (IN_DOMAIN, SHIFTED)),
        "same_dataset": int(ranking.relation != CROSS_DATASET),
        **as_columns("image_auroc", auroc),
        "grade": grade_auroc(auroc.value),
        **as_columns("pixel_auroc", pixels),
        "distance_name": data.analysis.distance,
        **as_columns("distance", distances.get(data.analysis.distance, Value(None))),
        **as_columns(DRIFT, distances.get(DRIFT, Value(None))),
        "undefined": next((value.undefined for value in (auroc, pixels) if value.value is None), ""),
    }


def _mean_row(
    data: StudyData, relation: str, rankings: Sequence[Ranking], distances: Sequence[Distances]
) -> dict[str, Any]:
    found = measure_gap(data, rankings, [])
    pixels = [data.results.value(ranking.cell, "pixel_auroc").value for ranking in rankings]
    return {
        **_shared_keys("mean", relation, rankings, found.pairs),
        **as_columns("image_auroc", found.mean),
        "grade": grade_auroc(found.mean.value),
        "pixel_auroc": _mean_number(pixels),
        "distance_name": data.analysis.distance,
        "distance": _mean_number([each[data.analysis.distance].value for each in distances if each]),
        DRIFT: _mean_number([each[DRIFT].value for each in distances if each]),
        "undefined": found.mean.undefined,
    }


def _gap_row(data: StudyData, relation: str, rankings: Sequence[Ranking], at_home: Sequence[Ranking]) -> dict[str, Any]:
    found = measure_gap(data, *pair_homes(rankings, at_home))
    return {
        **_shared_keys("gap", relation, rankings, found.pairs),
        **as_columns("gap", found.gap),
        **as_columns("gap_relative", found.relative),
        "undefined": found.gap.undefined,
    }


def _shared_keys(kind: str, relation: str, rankings: Sequence[Ranking], pairs: int) -> dict[str, Any]:
    setup: Mapping[str, str | int] = {
        name: value
        for name, value in rankings[0].keys.items()
        if name in ("split", "backbone", "weights", "detector", "seed", "policy")
    }
    return {"kind": kind, "relation": relation, "pairs": pairs, **dict.fromkeys(KEY_COLUMNS, ""), **setup}


def _mean_number(numbers: Sequence[float | None]) -> float | None:
    defined = [number for number in numbers if number is not None]
    return float(np.mean(defined)) if defined else None
