"""An experiment's summary: every setup per category, over all categories, ranked, and against the baseline.

docs/results.md has the columns, docs/analyses.md what the intervals cover.
Tested in tests/report/test_summary.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from patchshift.evaluation.seeds import (
    Measured,
    SeedEstimate,
    average_auroc,
    combine_measured,
)
from patchshift.plan.backbone_specs import RANDOM
from patchshift.plan.cells import POOLS, Cell, Target
from patchshift.report.analyses.published import Figure, matching, read_published
from patchshift.report.analyses.rankings import grade_auroc
from patchshift.report.analyses.resampled_aurocs import ResampledAurocs
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.analyses.summary_groups import Circumstance, Group, Pair, group_cells
from patchshift.report.conditions import IN_DOMAIN
from patchshift.report.keys import row_keys

CATEGORY, MACRO, SPREAD = "category", "macro-average", "sd over categories"
"""Kinds of rows."""
METRICS = (
    *(
        "image_auroc",
        "image_ap",
        "image_f1_oracle",
        "fpr_at_95_tpr",
        "f1",
        "f1_floor",
        "balanced_accuracy",
        "recall",
        "specificity",
    ),
    *("pixel_auroc", "pixel_ap", "pixel_f1_oracle", "pro", "pro_strict", "aupimo", "pixel_iou"),
)
PUBLISHED_METRICS = ("image_auroc", "pixel_auroc", "pro")
BEST, LEVEL, BELOW = "best", "level", "below"
COLUMNS = (
    *("row", "split", "backbone", "weights", "detector", "policy", "trained_on", "condition"),
    *("train_dataset", "train_category", "train_domain", "target_dataset", "target_category", "target_domain"),
    *("calibration_domain", "alias", "origin", "seeds", "categories", "count_normal", "count_anomalous"),
    *(f"{metric}{part}" for metric in METRICS for part in ("", "_low", "_high", "_sd")),
    *("grade", "grade_low", "rank", "standing", "baseline", "gain", "gain_low", "gain_high"),
    *(f"published_{metric}" for metric in PUBLISHED_METRICS),
    *("published_source", "published_protocol"),
)
WHOLE = ("seeds", "categories", "count_normal", "count_anomalous", "rank")


def summary_table(data: StudyData, experiment: str) -> pd.DataFrame:
    """The experiment's `summary.csv`."""
    groups = group_cells(data, data.cells(experiment))
    figures = read_published()
    rows: list[dict[str, Any]] = []
    for circumstance, compared in groups.items():
        rows += _Comparison(data, circumstance, compared, data.baseline(experiment), figures).rows()
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(WHOLE, "Int64"))


class _Comparison:
    """The rows of one circumstance."""

    def __init__(
        self,
        data: StudyData,
        circumstance: Circumstance,
        groups: Sequence[Group],
        baseline: str,
        figures: Sequence[Figure],
    ) -> None:
        self.data, self.circumstance, self.groups, self.figures = data, circumstance, groups, figures
        self.baseline = next((group for group in groups if group.setup.detector == baseline), None)
        targets = list(dict.fromkeys(target for group in groups for _, target in group.cells))
        self.resampled = ResampledAurocs(data.results, targets, data.spec)

    def rows(self) -> list[dict[str, Any]]:
        """Of each setup its categories; after all of these, of each its mean over categories and their spread."""
        means = [self._mean(group) for group in self.groups]
        covered = [self._defined(group) for group in self.groups]
        widest = max(covered, key=len)
        ranked = [
            (group, mean)
            for group, mean, pairs in zip(self.groups, means, covered, strict=True)
            if mean is not None and pairs == widest
        ]
        categories, ends = [], []
        for group, mean in zip(self.groups, means, strict=True):
            own = [self._category_row(group, pair) for pair in group.cells]
            categories += own
            ends += [self._macro_row(group, mean, ranked), self._spread_row(group, own)]
        return categories + ends

    def _defined(self, group: Group) -> set[Pair]:
        """Where the setup has an image AUROC."""
        return {pair for pair in group.cells if self._value(group, pair) is not None}

    def _value(self, group: Group, pair: Pair) -> float | None:
        drawn = self.resampled.of(list(group.cells[pair].values()), pair[1])
        return None if drawn is None else float(drawn.values.mean())

    def _category_row(self, group: Group, pair: Pair) -> dict[str, Any]:
        training, target = pair
        by_seed = group.cells[pair]
        cells = [by_seed[seed] for seed in sorted(by_seed)]
        normal, anomalous = self.data.results.sizes(cells[0])
        row = self._keys(CATEGORY, group, cells) | {
            "target_category": target.category,
            "seeds": len(cells),
            "categories": 1,
            "count_normal": normal,
            "count_anomalous": anomalous,
        }
        estimates = {metric: self._estimate([cells], metric) for metric in METRICS}
        if len(cells) > 1 and (drawn := self.resampled.of(cells, target)):
            estimates["image_auroc"] = average_auroc([drawn], **self.resampled.options)
        rivals = [
            (other, value)
            for other in self.groups
            if pair in other.cells and (value := self._value(other, pair)) is not None
        ]
        row |= _columns(estimates) | self._gain(group, [pair]) | {"standing": self._standing(group, rivals, [pair])}
        return row | self._published(group, training, target.dataset, [target.category])

    def _macro_row(
        self,
        group: Group,
        mean: SeedEstimate | None,
        ranked: Sequence[tuple[Group, SeedEstimate]],
    ) -> dict[str, Any]:
        seeds, pairs = group.common_seeds, list(group.cells)
        cells = [[group.cells[pair][seed] for seed in seeds] for pair in pairs]
        firsts = {target: next(iter(group.cells[training, target].values())) for training, target in pairs}
        sizes = [self.data.results.sizes(cell) for cell in firsts.values()]
        row = self._keys(MACRO, group, list(firsts.values())) | {
            "target_category": MACRO,
            "seeds": len(seeds),
            "categories": len({target for _, target in self._defined(group)}),
            "count_normal": sum(normal for normal, _ in sizes),
            "count_anomalous": sum(anomalous for _, anomalous in sizes),
        }
        estimates = {metric: self._estimate(cells, metric) if seeds else None for metric in METRICS}
        row |= _columns({**estimates, "image_auroc": mean}) | self._gain(group, pairs) | {"standing": ""}
        rankers = {other.setup.ranker for other, _ in ranked}
        if mean is not None and len(rankers) > 1 and any(other is group for other, _ in ranked):
            row["rank"] = 1 + len({other.setup.ranker for other, rival in ranked if rival.value > mean.value})
            row["standing"] = self._standing(group, [(other, rival.value) for other, rival in ranked], pairs)
        datasets = {target.dataset for target in firsts}
        if len(datasets) == 1:
            names = [target.category for target in firsts]
            row |= self._published(group, pairs[0][0], datasets.pop(), names)
        return row

    def _spread_row(self, group: Group, own: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        firsts = [next(iter(by_seed.values())) for by_seed in group.cells.values()]
        row = self._keys(SPREAD, group, firsts) | {"target_category": SPREAD, "categories": len(own)}
        for metric in METRICS:
            values = [entry[metric] for entry in own if entry[metric] is not None]
            row[metric] = float(np.std(values, ddof=1)) if len(values) > 1 else None
        return row

    def _keys(self, kind: str, group: Group, cells: Sequence[Cell]) -> dict[str, Any]:
        """Columns that name a row; what differs between the cells of a mean is empty."""
        rows = [row_keys(cell) for cell in cells]
        named = (
            "train_dataset",
            "train_category",
            "train_domain",
            "target_dataset",
            "target_domain",
            "alias",
            "origin",
        )
        shared = {key: rows[0][key] if all(row[key] == rows[0][key] for row in rows) else "" for key in named}
        setup, circumstance = group.setup, self.circumstance
        return {
            **shared,
            "row": kind,
            "split": circumstance.split,
            "backbone": setup.backbone,
            "weights": setup.weights,
            "detector": setup.detector,
            "policy": setup.policy,
            "trained_on": circumstance.trained_on,
            "condition": circumstance.condition,
            "calibration_domain": circumstance.calibration_domain,
        }

    def _estimate(self, cells: Sequence[Sequence[Cell]], metric: str) -> SeedEstimate | None:
        """Of [pairs][seeds] cells, over the pairs where it is defined for all seeds; else None."""
        targets, measured = [], []
        for by_seed in cells:
            values = [self.data.results.value(cell, metric) for cell in by_seed]
            known = [Measured(value.value, value.low, value.high) for value in values if value.value is not None]
            if len(known) == len(values):
                targets.append(by_seed[0].target)
                measured.append(known)
        return combine_measured(measured, targets=targets, confidence=self.data.spec.confidence) if measured else None

    def _mean(self, group: Group) -> SeedEstimate | None:
        """The macro-average of image AUROC; that of one category is its own."""
        seeds = group.common_seeds
        cells = {pair: [by_seed[seed] for seed in seeds] for pair, by_seed in group.cells.items()}
        if not seeds:
            return None
        if len(cells) == len(seeds) == 1:
            return self._estimate(list(cells.values()), "image_auroc")
        drawn = [self.resampled.of(by_seed, target) for (_, target), by_seed in cells.items()]
        defined = [entry for entry in drawn if entry is not None]
        return average_auroc(defined, **self.resampled.options) if defined else None

    def _gain(self, group: Group, pairs: Sequence[Pair]) -> dict[str, Any]:
        if self.baseline is None:
            return {}
        named = {"baseline": self.baseline.setup.name}
        same = self.baseline.setup.ranker == group.setup.ranker  # another policy ranks no image otherwise
        gain = None if same else self.resampled.difference(group, self.baseline, pairs)
        return named | ({} if gain is None else {"gain": gain.value, "gain_low": gain.low, "gain_high": gain.high})

    def _standing(self, group: Group, rivals: Sequence[tuple[Group, float]], pairs: Sequence[Pair]) -> str:
        """Whether a setup is the best of those compared (itself among them), or these images tell it from that one."""
        if len({other.setup.ranker for other, _ in rivals}) < 2 or all(other is not group for other, _ in rivals):
            return ""
        best = max(rivals, key=lambda rival: rival[1])[0]
        lead = None if best is group else self.resampled.difference(best, group, pairs)
        if best is group or (lead is not None and lead.value == lead.low == lead.high == 0):
            return BEST
        if lead is None or lead.low is None:
            return ""
        return BELOW if lead.low > 0 else LEVEL

    def _published(self, group: Group, training: Target, dataset: str, categories: Sequence[str]) -> dict[str, Any]:
        """What was published of the same method on the same unshifted categories."""
        domain = self.data.domains.get(training.domain, {})
        comparable = self.circumstance.condition == IN_DOMAIN and domain.get("shift") == "none"
        if not comparable or training.dataset == POOLS or group.setup.weights == RANDOM:
            return {}
        settings = self.data.detectors.get(group.setup.detector, {})
        found = matching(self.figures, dataset, categories, group.setup.backbone, settings)
        shown = {metric: found[metric] for metric in PUBLISHED_METRICS if metric in found}
        if not shown:
            return {}
        return {f"published_{metric}": figure.value for metric, figure in shown.items()} | {
            f"published_{name}": "; ".join(dict.fromkeys(getattr(figure, name) for figure in shown.values()))
            for name in ("source", "protocol")
        }


def _columns(estimates: Mapping[str, SeedEstimate | None]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for metric, found in estimates.items():
        parts = (found.value, found.low, found.high, found.sd) if found else (None,) * 4
        columns |= dict(zip((metric, f"{metric}_low", f"{metric}_high", f"{metric}_sd"), parts, strict=True))
    auroc = estimates["image_auroc"]
    return columns | {
        "grade": grade_auroc(auroc.value if auroc else None),
        "grade_low": grade_auroc(auroc.low if auroc else None),
    }
