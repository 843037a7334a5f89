"""Setups of an experiment in pairs, on the same images: its `comparisons.csv`. Columns: docs/results.md.

Tested in tests/report/test_comparisons.py.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from patchshift.evaluation.comparisons import (
    PairedTest,
    compare_aurocs,
    compare_means,
    compare_signed_ranks,
    correct_holm,
    find_level,
)
from patchshift.evaluation.image_metrics import image_auroc
from patchshift.evaluation.statistics import bootstrap_image_auroc, percentile_interval
from patchshift.evaluation.undefined import Undefined
from patchshift.plan.cells import Cell
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.keys import row_keys
from patchshift.report.labels import as_called, trained_on
from patchshift.report.pairing import relabelled_on_either_side

Float64 = npt.NDArray[np.float64]
Place = tuple[str, str]
"""Dataset and category that are scored, as the config calls them."""

MOST_SETUPS = 12
"""More are not compared pair by pair, but each with the baseline."""
PAIRWISE, WITH_BASELINE = "pairwise", "with baseline"
CATEGORY, OVER_CATEGORIES = "category", "over categories"
NO_SEED = "no seed in common"


@dataclass(frozen=True)
class Ranker:
    """What ranks images: a detector on a backbone, whatever it is trained on and decides by."""

    backbone: str
    detector: str
    weights: str = field(default="", compare=False)
    is_fitted: bool = field(default=True, compare=False)


@dataclass(frozen=True)
class Condition:
    """What all setups that are compared with each other share."""

    split: str
    trained_on: str
    train_domain: str
    target_domain: str


Cells = dict[Ranker, dict[Place, dict[int, Cell]]]

_TESTS = {"wilcoxon": ("wilcoxon", "wilcoxon_p", "rank_biserial"), "t": ("t", "t_p", "cohen_d")}
"""Test over categories -> columns of its statistic, p and effect."""
COLUMNS = (
    *("comparison", "level", "split", "trained_on", "train_domain", "target_domain", "target_dataset"),
    *("target_category", "first_backbone", "first_weights", "first_detector", "second_backbone", "second_weights"),
    *("second_detector", "seeds", "categories", "images", "left_out", "difference", "low", "high", "p", "p_holm"),
    *("wilcoxon", "wilcoxon_p", "wilcoxon_p_holm", "rank_biserial", "t", "t_p", "t_p_holm", "cohen_d", "undefined"),
)


def comparisons_table(data: StudyData, experiment: str) -> pd.DataFrame:
    """Each pair of setups in each condition: one row per category (DeLong), then one over all (Wilcoxon, t)."""
    conditions = group_cells(data.cells(experiment))
    several = {ranker for cells in conditions.values() for ranker in list_rankers(cells)}
    rows: list[dict[str, Any]] = []
    for condition, cells in conditions.items():
        comparer = Comparer(data)
        pairs = list_pairs(list_rankers(cells), data.baseline(experiment), pairwise=len(several) <= MOST_SETUPS)
        for first, second in pairs:
            shared = {
                "comparison": PAIRWISE if len(several) <= MOST_SETUPS else WITH_BASELINE,
                **vars(condition),
                **_name("first", first),
                **_name("second", second),
            }
            rows += [shared | row for row in comparer.compare(cells[first], cells[second])]
    for name in ("p", "wilcoxon_p", "t_p"):
        for row, corrected in zip(rows, correct_holm([row.get(name) for row in rows]), strict=True):
            row[f"{name}_holm"] = corrected
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(
        dict.fromkeys(("categories", "images", "left_out"), "Int64")
    )


def group_cells(cells: Sequence[Cell]) -> dict[Condition, Cells]:
    """Condition -> setup -> place -> seed -> cell; of several thresholds, on which rankings hardly ever depend, the
    first."""
    conditions: dict[Condition, Cells] = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    for cell in cells:
        keys, bank = as_called(row_keys(cell)), cell.bank
        condition = Condition(bank.split, trained_on(keys), str(keys["train_domain"]), str(keys["target_domain"]))
        place = str(keys["target_dataset"]), str(keys["target_category"])
        ranker = Ranker(bank.backbone, bank.detector, bank.weights, bank.is_fitted)
        conditions[condition][ranker][place].setdefault(bank.seed, cell)
    return conditions


def list_rankers(cells: Cells) -> list[Ranker]:
    """The setups of a condition; the scores of another method, whose backbone is but a label, once."""
    return list({(each.detector, each.is_fitted and each.backbone): each for each in reversed(cells)}.values())[::-1]


def list_pairs(rankers: Sequence[Ranker], baseline: str, *, pairwise: bool) -> list[tuple[Ranker, Ranker]]:
    """The pairs to compare, the baseline detector second wherever it takes part, and else the setup named earlier.

    Args:
        rankers: the setups of a condition, in the order of the experiment.
        baseline: a detector; where no setup has it, the first one's stands for it.
        pairwise: all pairs; otherwise each setup with the baseline on its own backbone, or on the first if it has none
            there or is the baseline itself.
    """
    ordered = sorted(rankers, key=lambda ranker: ranker.detector != baseline)
    if pairwise:
        return [(later, earlier) for earlier, later in combinations(ordered, 2)]
    others = {ranker.backbone: ranker for ranker in ordered if ranker.detector == ordered[0].detector}
    pairs = [(ranker, others.get(ranker.backbone, ordered[0])) for ranker in ordered[1:]]
    return [(ranker, ordered[0] if ranker == other else other) for ranker, other in pairs]


class Comparer:
    """Compares pairs of setups; keeps resampled AUROCs, since every setup is in many pairs."""

    def __init__(self, data: StudyData) -> None:
        self.results = data.results
        self.spec = data.spec
        self._drawn: dict[tuple[Cell, int, bytes], Float64] = {}

    def compare(
        self, first: dict[Place, dict[int, Cell]], second: dict[Place, dict[int, Cell]]
    ) -> list[dict[str, Any]]:
        """The rows of one pair of setups: of each place that both were scored on, and over these."""
        rows: list[dict[str, Any]] = []
        aurocs, drawn, counted, seeds = [], [], [], set()
        for position, place in enumerate([place for place in first if place in second]):
            common = sorted(first[place].keys() & second[place].keys())
            pairs = [(first[place][seed], second[place][seed]) for seed in common]
            names = dict(zip(("target_dataset", "target_category"), place, strict=True))
            rows.append({"level": CATEGORY, **names, **self._test_category(pairs[:1]), "seeds": _join(common[:1])})
            try:
                of_seeds = [self._measure(pair) for pair in pairs]
            except Undefined:
                continue
            if of_seeds:
                counted.append(rows[-1])
                seeds |= set(common)
                aurocs.append(np.mean(of_seeds, axis=0))
                drawn.append(np.mean([self._resample_difference(pair, position) for pair in pairs], axis=0))
        over: dict[str, Any] = {"level": OVER_CATEGORIES, "seeds": _join(sorted(seeds)), "categories": len(aurocs)}
        over |= {name: sum(row[name] for row in counted) for name in ("images", "left_out")}
        if aurocs:
            over |= self._test_categories(np.array(aurocs), np.mean(drawn, axis=0))
        elif rows:
            over["undefined"] = "an image AUROC is undefined"
        return [*rows, over] if rows else []

    def _test_category(self, pairs: Sequence[tuple[Cell, Cell]]) -> dict[str, Any]:
        """DeLong's test on the images of one category, of the lowest seed."""
        if not pairs:
            return {"undefined": NO_SEED}
        relabelled = relabelled_on_either_side(self.results, *pairs[0])
        row: dict[str, Any] = {"images": int((~relabelled).sum()), "left_out": int(relabelled.sum())}
        try:
            test = compare_aurocs(*self._sides(pairs[0]), self.spec.confidence)
        except Undefined as reason:
            return {**row, "undefined": str(reason)}
        return {**row, "difference": test.difference, "low": test.low, "high": test.high, "p": test.p}

    def _test_categories(self, aurocs: Float64, drawn: Float64) -> dict[str, Any]:
        """Tests over categories of [C, 2] AUROCs, with the interval of the mean's [R] resampled differences."""
        first, second = aurocs.T
        low, high = percentile_interval(drawn, self.spec.confidence)
        row: dict[str, Any] = {"difference": float(first.mean() - second.mean()), "low": low, "high": high}
        reasons = []
        tests: dict[str, Callable[[], PairedTest]] = {
            "wilcoxon": lambda: compare_signed_ranks(first, second, find_level(self.spec.confidence)),
            "t": lambda: compare_means(first, second),
        }
        for name, test in tests.items():
            try:
                row |= zip(_TESTS[name], vars(test()).values(), strict=True)
            except Undefined as reason:
                reasons.append(str(reason))
        return {**row, "undefined": "; ".join(reasons)}

    def _measure(self, pair: tuple[Cell, Cell]) -> list[float]:
        labels, *scores = self._sides(pair)
        return [image_auroc(labels, of_side) for of_side in scores]

    def _sides(self, pair: tuple[Cell, Cell]) -> tuple[npt.NDArray[np.bool_], Float64, Float64]:
        """Labels and both scores of the images that are not relabelled on either side."""
        kept = ~relabelled_on_either_side(self.results, *pair)
        first, second = map(self.results.images, pair)
        return first.labels[kept] == 1, first.scores[kept], second.scores[kept]

    def _resample_difference(self, pair: tuple[Cell, Cell], position: int) -> Float64:
        """[R] difference of each resample: the same images on both sides, and of all seeds of a category."""
        kept = ~relabelled_on_either_side(self.results, *pair)
        labels, *scores = self._sides(pair)
        sides = []
        for cell, of_side in zip(pair, scores, strict=True):
            key = cell, position, kept.tobytes()
            if key not in self._drawn:
                seed = self.spec.bootstrap_seed + position  # categories are drawn independently of each other
                resamples = self.spec.bootstrap_resamples
                self._drawn[key] = bootstrap_image_auroc(labels, of_side, resamples=resamples, seed=seed)
            sides.append(self._drawn[key])
        difference: Float64 = sides[0] - sides[1]
        return difference


def _name(side: str, ranker: Ranker) -> dict[str, str]:
    names = {"backbone": ranker.backbone, "weights": ranker.weights, "detector": ranker.detector}
    return {f"{side}_{name}": value for name, value in names.items()}


def _join(seeds: Sequence[int]) -> str:
    return " ".join(map(str, seeds))
