"""What analyses and their figures are made from.

Tested in tests/report/test_analyses.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from patchshift.plan.cells import Cell
from patchshift.plan.experiments import StudyPlan
from patchshift.plan.specs import AnalysisSpec, EvaluationSpec
from patchshift.report.recommendation import Recommendation, recommend
from patchshift.report.results import StudyResults


@dataclass(frozen=True)
class StudyData:
    """A study whose tables are made.

    Attributes:
        plan: the study's plan; of a table or figure of one experiment, the plan of all.
        spec: the evaluation protocol.
        analysis: what analyses show.
        domains: domain id -> its settings (`plan.provenance.settings_of`).
        detectors: detector id -> its settings, likewise.
        baselines: experiment -> the detector that it names as its baseline; none where it names none.
        folder: the study's folder, with `metrics.csv` and `predictions.csv`.
    """

    plan: StudyPlan
    spec: EvaluationSpec
    analysis: AnalysisSpec
    domains: Mapping[str, Mapping[str, Any]]
    detectors: Mapping[str, Mapping[str, Any]]
    baselines: Mapping[str, str]
    folder: Path

    @cached_property
    def results(self) -> StudyResults:
        """Metrics and predictions, asked by cell."""
        return StudyResults(self.plan, self.folder)

    @cached_property
    def recommendation(self) -> Recommendation | None:
        """What the study recommends; None where no bank has an image AUROC in the domain that it was fitted on."""
        return recommend(self.results, self.domains, self.spec)

    def cells(self, experiment: str) -> list[Cell]:
        """The cells of an experiment, in their order."""
        return self.results.cells[experiment]

    def experiment_folder(self, experiment: str) -> Path:
        """Where an experiment's tables stand."""
        return self.folder / "experiments" / experiment

    def baseline(self, experiment: str) -> str:
        """The detector that others are compared with: the one named, or the experiment's first."""
        return self.baselines.get(experiment) or self.cells(experiment)[0].bank.detector
