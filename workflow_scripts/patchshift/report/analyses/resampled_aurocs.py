"""Image AUROCs of a summary in bootstrap resamples, and their paired differences.

Tested in tests/report/test_summary.py.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from patchshift.evaluation.seeds import ResampledAuroc, SeedEstimate, auroc_difference, resample_auroc
from patchshift.evaluation.undefined import Undefined
from patchshift.plan.cells import Cell, Target
from patchshift.plan.specs import EvaluationSpec
from patchshift.report.analyses.summary_groups import Group, Pair
from patchshift.report.results import StudyResults


class ResampledAurocs:
    """Resamples of the banks that are compared on the same targets; of each they are drawn once and kept."""

    def __init__(self, results: StudyResults, targets: Sequence[Target], spec: EvaluationSpec) -> None:
        """Each target has draws of its own, by its position among `targets`."""
        self.results, self.targets, self.spec = results, targets, spec
        self._kept: dict[tuple[str, str, bool], ResampledAuroc | None] = {}

    @property
    def options(self) -> dict[str, Any]:
        """What `average_auroc` and `auroc_difference` are told."""
        return {"confidence": self.spec.confidence, "seed": self.spec.bootstrap_seed}

    def difference(self, group: Group, other: Group, pairs: Sequence[Pair]) -> SeedEstimate | None:
        """The paired difference over the pairs that both have, without relabelled images."""
        sides: list[list[ResampledAuroc]] = [[], []]
        seeds = [each.common_seeds if len(pairs) > 1 else None for each in (group, other)]
        for pair in pairs:
            if pair not in other.cells:
                continue
            both = [
                self.of(
                    [each.cells[pair][seed] for seed in (sorted(each.cells[pair]) if chosen is None else chosen)],
                    pair[1],
                    paired=True,
                )
                for each, chosen in zip((group, other), seeds, strict=True)
            ]
            if both[0] is not None and both[1] is not None:
                sides[0].append(both[0])
                sides[1].append(both[1])
        return auroc_difference(sides[0], sides[1], **self.options) if sides[0] else None

    def of(self, cells: Sequence[Cell], target: Target, *, paired: bool = False) -> ResampledAuroc | None:
        """The image AUROC of one bank per seed; None where that of one is undefined.

        Paired: without the images that are relabelled in the target's domain.
        """
        drawn = [self._resampled_once(cell, target, paired) for cell in cells]
        defined = [entry for entry in drawn if entry is not None]
        if not defined or len(defined) < len(cells):
            return None
        return ResampledAuroc(
            np.concatenate([entry.values for entry in defined]), np.concatenate([entry.drawn for entry in defined])
        )

    def _resampled_once(self, cell: Cell, target: Target, paired: bool) -> ResampledAuroc | None:
        policy = "" if self.results.is_ranked_once(cell) else cell.threshold
        key = (cell.scores, policy, paired)
        if key not in self._kept:
            images = self.results.images(cell)
            kept = ~images.relabelled if paired else np.ones(len(images.labels), bool)
            spec = self.spec
            try:
                self._kept[key] = resample_auroc(
                    images.labels[kept] == 1,
                    images.scores[None, kept],
                    resamples=spec.bootstrap_resamples,
                    seed=spec.bootstrap_seed + self.targets.index(target),
                )
            except Undefined:
                self._kept[key] = None
        return self._kept[key]
