"""Average ranks of detectors and of backbones over categories: an experiment's `ranks.csv`. Columns: docs/results.md.

Tested in tests/report/test_ranks.py.
"""

from collections import defaultdict
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from patchshift.evaluation.comparisons import find_level
from patchshift.evaluation.ranks import AGREEMENT, Ranking, group_ranks, rank_treatments
from patchshift.report.analyses.comparisons import Place, group_cells
from patchshift.report.analyses.study_data import StudyData

DETECTOR, BACKBONE, SETUP = "detector", "backbone", "setup"
FIELDS = {DETECTOR: ("detector",), BACKBONE: ("backbone", "weights"), SETUP: ("backbone", "weights", "detector")}
"""What is ranked -> the columns that name it."""
FEWEST = 3
"""Two setups are a pair: `comparisons.csv` has the tests for it."""

COLUMNS = (
    *("ranked", "backbone", "weights", "detector", "average_rank", "image_auroc", "groups", "blocks", "left_out"),
    *("friedman", "friedman_p", "iman_davenport", "iman_davenport_p", "confidence", "critical_difference"),
    "undefined",
)

Treatment = tuple[str, ...]
Aurocs = dict[Treatment, dict[Place, dict[Hashable, float]]]
"""Treatment -> category -> whatever else was varied -> image AUROC, mean over seeds."""


def ranks_table(data: StudyData, experiment: str) -> pd.DataFrame:
    """One row per detector, and one per backbone, best first; of whole setups where neither can be ranked.

    A block is a category: the categories are what is drawn, while its images come back in every condition. In each,
    a treatment's value is the mean over the conditions (and backbones, or detectors) in which all have an image AUROC.
    """
    rows = [row for ranked in (DETECTOR, BACKBONE) for row in _rank(data, experiment, ranked)]
    return pd.DataFrame(rows or _rank(data, experiment, SETUP), columns=list(COLUMNS))


def _rank(data: StudyData, experiment: str, ranked: str) -> list[dict[str, Any]]:
    aurocs = _gather(data, experiment, ranked)
    places = list(dict.fromkeys(place for by_place in aurocs.values() for place in by_place))
    blocks = [block for place in places if (block := _fill_block(aurocs, place))]
    if len(aurocs) < FEWEST or len(blocks) < 2:
        return []
    values = np.array(blocks)
    ranking = rank_treatments(values, data.spec.confidence)
    shared = {
        "ranked": ranked, "blocks": len(blocks), "left_out": len(places) - len(blocks),
        "friedman": ranking.friedman, "friedman_p": ranking.friedman_p,
        "iman_davenport": ranking.iman_davenport, "iman_davenport_p": ranking.iman_davenport_p,
        "confidence": data.spec.confidence, "critical_difference": ranking.critical_difference,
        "undefined": "" if ranking.iman_davenport is not None else f"iman_davenport: {AGREEMENT}",
    }  # fmt: skip
    groups = _group(ranking, data.spec.confidence)
    rows = []
    for position in np.argsort(ranking.ranks, kind="stable"):
        numbers = [number for number, group in enumerate(groups, start=1) if position in group]
        names = dict(zip(FIELDS[ranked], list(aurocs)[position], strict=True))
        rank, mean = float(ranking.ranks[position]), float(values[:, position].mean())
        of_row = {"average_rank": rank, "image_auroc": mean, "groups": " ".join(map(str, numbers))}
        rows.append(shared | names | of_row)
    return rows


def _group(ranking: Ranking, confidence: float) -> list[list[int]]:
    """Who is not told apart; nobody is where the test of all together does not find a difference (Demsar 2006)."""
    everyone = float("inf")
    limit = ranking.critical_difference if ranking.p < find_level(confidence) else everyone
    return group_ranks(ranking.ranks, limit)


def _gather(data: StudyData, experiment: str, ranked: str) -> Aurocs:
    found: Aurocs = defaultdict(lambda: defaultdict(dict))
    for condition, rankers in group_cells(data.cells(experiment)).items():
        for ranker, by_place in rankers.items():
            treatment = tuple(getattr(ranker, name) for name in FIELDS[ranked])
            rest = {DETECTOR: ranker.backbone, BACKBONE: ranker.detector}.get(ranked, "")
            if ranked == BACKBONE and not ranker.is_fitted:  # scores of another method: its backbone is but a label
                continue
            for place, by_seed in by_place.items():
                values = [data.results.value(cell, "image_auroc").value for cell in by_seed.values()]
                defined = [value for value in values if value is not None]
                if len(defined) == len(values):
                    found[treatment][place][condition, rest] = float(np.mean(defined))
    return found


def _fill_block(aurocs: Mapping[Treatment, Mapping[Place, Mapping[Hashable, float]]], place: Place) -> list[float]:
    """The value of each treatment in one category, over what all have in common; empty where that is nothing."""
    by_treatment = [by_place.get(place, {}) for by_place in aurocs.values()]
    common = [key for key in by_treatment[0] if all(key in values for values in by_treatment)]
    return [float(np.mean([values[key] for key in common])) for values in by_treatment] if common else []
