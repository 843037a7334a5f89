"""What banks are worth on targets that they were not fitted on: an experiment's `transfer.csv`.

Columns: docs/results.md. Tested in tests/report/test_transfer.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from patchshift.evaluation.undefined import Undefined
from patchshift.plan.cells import Target
from patchshift.report.analyses.estimates import REFERENCE_IS_ZERO, as_columns, columns_of
from patchshift.report.analyses.losses import (
    Sample,
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
from patchshift.report.pairing import category_positions
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
        rankings: those of `mean`: with an image AUROC of their own and one at home; all with one of their own where
            none has one at home, and then there is no gap.
        mean: their mean image AUROC.
        home: mean image AUROC of the same banks in their own domains.
        gap: `home` minus `mean`; `relative` to `home`.
    """

    rankings: list[Ranking]
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
                rows.append(_mean_row(data, relation, chosen, known))
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


def measure_gap(data: StudyData, rankings: Sequence[Ranking], at_home: Sequence[Ranking]) -> Gap:
    """The mean image AUROC of rankings, and the gap to that of their banks at home.

    Only rankings that have both take part, so the same banks stand on both sides, each as often: what a bank has at
    home counts once for each of its targets. A category's test images are drawn once and serve every bank that is
    scored on them, so the interval covers the choice of the test images of all targets together: not that of the
    targets, the split or the seed.
    """
    confidence = data.spec.confidence
    away, reason = _sample_defined(data, rankings)
    if not away:
        empty = Value(None, undefined=reason)
        return Gap([], empty, empty, empty, empty)
    scored = [ranking for ranking, _ in away]
    homes, reason = _sample_defined(data, home_rankings(scored, at_home))
    known = {id(home): sample for home, sample in homes}
    found = [[home for home in find_homes(ranking, at_home) if id(home) in known] for ranking in scored]
    paired = [each for each, its in zip(away, found, strict=True) if its]
    mean = mean_sample([sample for _, sample in paired or away])
    if not paired:
        empty = Value(None, undefined=reason or NO_HOME)
        return Gap(scored, mean.estimate(confidence), empty, empty, empty)
    start = mean_sample([mean_sample([known[id(home)] for home in its]) for its in found if its])
    return Gap(
        rankings=[ranking for ranking, _ in paired],
        mean=mean.estimate(confidence),
        home=start.estimate(confidence),
        gap=lost(start, mean).estimate(confidence),
        relative=relative_loss(start, mean).estimate(confidence, REFERENCE_IS_ZERO),
    )


def _sample_defined(data: StudyData, rankings: Sequence[Ranking]) -> tuple[list[tuple[Ranking, Sample]], str]:
    """Those with an image AUROC, and it; and why the first of the others has none (empty: all have one)."""
    positions = category_positions(data.results.all_views())
    samples, reason = [], ""
    for ranking in rankings:
        target = ranking.cell.target
        position = positions[target.dataset, target.category]
        try:
            sample = sample_metric(data.results, ranking.cell, "image_auroc", data.spec, position=position)
        except Undefined as error:
            reason = reason or str(error)
            continue
        samples.append((ranking, sample))
    return samples, reason


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
    data: StudyData,
    relation: str,
    rankings: Sequence[Ranking],
    known: Mapping[tuple[Target, str, str, Target], Distances],
) -> dict[str, Any]:
    """Means over the rankings with an image AUROC; of what one of them lacks there is none."""
    found = measure_gap(data, rankings, [])
    cells = [ranking.cell for ranking in found.rankings]
    pixels = _mean_number("pixel AUROC", [data.results.value(cell, "pixel_auroc") for cell in cells])
    away = [distances_of(ranking, known) for ranking in found.rankings]
    names = (data.analysis.distance, DRIFT)
    distance, drift = (_mean_number(name, [each.get(name, Value(None)) for each in away]) for name in names)
    return {
        **_shared_keys("mean", relation, rankings, len(found.rankings)),
        **as_columns("image_auroc", found.mean),
        "grade": grade_auroc(found.mean.value),
        "pixel_auroc": pixels.value,
        "distance_name": data.analysis.distance,
        "distance": distance.value,
        DRIFT: drift.value,
        "undefined": next((each.undefined for each in (found.mean, pixels, distance, drift) if each.undefined), ""),
    }


def _gap_row(data: StudyData, relation: str, rankings: Sequence[Ranking], at_home: Sequence[Ranking]) -> dict[str, Any]:
    found = measure_gap(data, rankings, at_home)
    return {
        **_shared_keys("gap", relation, rankings, len(found.rankings)),
        **as_columns("gap", found.gap),
        **as_columns("gap_relative", found.relative),
        "undefined": found.gap.undefined or found.relative.undefined,
    }


def _shared_keys(kind: str, relation: str, rankings: Sequence[Ranking], pairs: int) -> dict[str, Any]:
    setup: Mapping[str, str | int] = {
        name: value
        for name, value in rankings[0].keys.items()
        if name in ("split", "backbone", "weights", "detector", "seed", "policy")
    }
    return {"kind": kind, "relation": relation, "pairs": pairs, **dict.fromkeys(KEY_COLUMNS, ""), **setup}


def _mean_number(name: str, values: Sequence[Value]) -> Value:
    """The mean of all; undefined where one is missing, since it would be a mean over other pairs."""
    missing = [value for value in values if value.value is None]
    if not values or missing:
        reason = next((value.undefined for value in missing if value.undefined), "")
        if 0 < len(missing) < len(values):
            reason = f"pairs without {name}: {len(missing)} of {len(values)}" + (f" ({reason})" if reason else "")
        return Value(None, undefined=reason)
    return Value(float(np.mean([value.value for value in values])))
