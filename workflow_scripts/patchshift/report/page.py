"""The report of a study: one HTML page that opens from disk, without network, script or times.

Equal inputs give equal bytes.
Tested in tests/report/test_page.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from patchshift.data.card import read_card
from patchshift.plan.experiments import Bank, Cell, StudyPlan
from patchshift.plan.specs import EvaluationSpec
from patchshift.report import wording
from patchshift.report.background import describe_making, list_settings
from patchshift.report.cases import Case, CellPictures, select_cases
from patchshift.report.conditions import CONDITIONS, IN_DOMAIN
from patchshift.report.data_card import DatasetSection, describe_dataset
from patchshift.report.experiments import METRICS, ResultsTable, bars_of_rows, curve_panels, results_table
from patchshift.report.figures import draw_bars, draw_curves, draw_scores, draw_shift
from patchshift.report.pairing import Summary
from patchshift.report.pictures import Scale, show_colours
from patchshift.report.recommendation import Recommendation, recommend
from patchshift.report.results import Images, StudyResults, read_rows
from patchshift.report.shift import (
    Outcome,
    PoolComparison,
    ShiftComparison,
    compare_pools,
    compare_shifts,
    list_outcomes,
)
from patchshift.report.templating import Picture, draw_picture, render

EXHIBIT_CATEGORIES = 4  # categories whose images are shown under shift


@dataclass(frozen=True)
class ExperimentSection:
    """One experiment on the page."""

    name: str
    title: str
    table: ResultsTable
    bars: Picture
    curves: Picture | None


@dataclass(frozen=True)
class CasesSection:
    """One category's single images."""

    category: str
    scale: Scale
    threshold: float | None
    groups: dict[str, list[Case]]
    ignores: bool

    @property
    def threshold_position(self) -> float | None:
        """Where the threshold lies among the heatmap's colours, in %; None if it does not."""
        if self.threshold is None or not self.scale.low < self.threshold < self.scale.high:
            return None
        return 100 * (self.threshold - self.scale.low) / (self.scale.high - self.scale.low)


@dataclass(frozen=True)
class ShiftLines:
    """What is left in one shifted domain: condition -> figures, and what they say."""

    conditions: dict[str, Summary]
    sentences: list[str]


@dataclass(frozen=True)
class Exhibit:
    """One image in the reference domain and in every shifted one: (domain, condition, how it looks and is decided)."""

    heading: str
    views: list[tuple[str, str, Case]]
    ignores: bool


def render_report(plan: StudyPlan, provenance: Mapping[str, Any], folder: Path) -> str:
    """The page as text.

    Args:
        plan: the study's plan.
        provenance: the question, the protocol and the settings of all ids (`Study.provenance_spec`).
        folder: the study's folder, with its tables; artifacts are read from where the plan's cells say.
    """
    results = StudyResults(plan, folder)
    spec = EvaluationSpec.model_validate(provenance["evaluation"])
    recommendation = recommend(results, provenance["domains"], spec)
    shifts = compare_shifts(results, recommendation.domain, spec) if recommendation else []
    context = {
        "study": plan.study,
        "question": provenance["question"],
        "recommendation": recommendation,
        "choice": wording.describe_choice(recommendation) if recommendation else [],
        "rows": _per_category(results, recommendation, spec) if recommendation else [],
        "shift_lines": _shift_lines(recommendation) if recommendation else {},
        "shifts": [(shift, _shift_figure(shift, position)) for position, shift in enumerate(shifts)],
        "exhibits": _exhibits(results, shifts, spec.smoothing_sigma),
        "conditions": CONDITIONS,
        "pools": [(pool, _pool_sentence(pool)) for pool in compare_pools(results, spec)],
        "experiments": [_experiment(results, name, folder) for name in results.cells],
        "metrics": METRICS,
        "scores": _score_figure(results, recommendation) if recommendation else None,
        "cases": _cases(results, recommendation.cells, spec.smoothing_sigma) if recommendation else [],
        "colours": show_colours(),
        "datasets": _datasets(plan, results.all_cells()),
        "making": describe_making(results.all_cells()),
        "settings": list_settings(dict(provenance)),
        "protocol": spec,
        "wording": wording,
    }
    return render("report.html", context)


def _per_category(results: StudyResults, recommendation: Recommendation, spec: EvaluationSpec) -> list[Outcome]:
    return list_outcomes(results, dict.fromkeys(recommendation.cells, IN_DOMAIN), spec)


def _shift_lines(recommendation: Recommendation) -> dict[str, ShiftLines]:
    lines = {}
    for domain in dict.fromkeys(domain for domain, _ in recommendation.shifted):
        conditions = {
            condition: summary for (shifted, condition), summary in recommendation.shifted.items() if shifted == domain
        }
        lines[domain] = ShiftLines(conditions, wording.describe_shift(recommendation.start, conditions))
    return lines


def _shift_figure(shift: ShiftComparison, position: int) -> Picture:
    return draw_picture(
        draw_shift(shift.panels(), shift.conditions),
        f"shift{position}",
        "Image AUROC (dotted: chance), miss rate and false-alarm rate of each category, from the reference domain to "
        "each shifted one. Vertical lines are intervals.",
    )


def _pool_sentence(pool: PoolComparison) -> str:
    over = f"Over {len(pool.pairs)} categories," if len(pool.pairs) > 1 else "On the one category compared,"
    return wording.describe_difference(pool.difference, "the shared bank", "a bank per category", over=over)


def _experiment(results: StudyResults, name: str, folder: Path) -> ExperimentSection:
    cells = results.cells[name]
    bars = draw_picture(
        draw_bars(bars_of_rows(read_rows(folder / "experiments" / name / "results.csv"))),
        f"bars-{name}",
        "Image AUROC per category. Bars start at chance; black lines are intervals.",
    )
    panels = curve_panels(results, cells)
    curves = None
    if panels:
        caption = (
            "ROC curve and precision-recall curve of each category's test images. Dots: where the threshold decides. "
            "Dotted: chance."
        )
        curves = draw_picture(draw_curves(panels), f"curves-{name}", caption)
    return ExperimentSection(name, results.titles[name], results_table(results, cells), bars, curves)


def _score_figure(results: StudyResults, recommendation: Recommendation) -> Picture:
    panels = {cell.target.category: results.images(cell) for cell in recommendation.cells}
    caption = (
        "Score of every test image, by defect type. The line is the threshold: images at or right of it are called "
        "defective."
    )
    return draw_picture(draw_scores(panels), "scores", caption)


def _cases(results: StudyResults, cells: Sequence[Cell], sigma: float) -> list[CasesSection]:
    sections = []
    for cell in cells:
        pictures = CellPictures.read(results, cell, sigma)
        groups = {heading: pictures.show(rows) for heading, rows in select_cases(pictures.images).items()}
        threshold = pictures.images.threshold
        sections.append(CasesSection(cell.target.category, pictures.scale, threshold, groups, pictures.ignores))
    return sections


def _exhibits(results: StudyResults, shifts: Sequence[ShiftComparison], sigma: float) -> list[Exhibit]:
    """A typical good and a typical defective image of each category, under every condition of the first comparison."""
    exhibits = []
    for shift in shifts[:1]:
        for category, outcomes in list(shift.outcomes.items())[:EXHIBIT_CATEGORIES]:
            scales: dict[Bank, Scale] = {}  # a bank keeps the colours of the first domain it is shown in
            views = []
            for outcome in outcomes:
                pictures = CellPictures.read(results, outcome.cell, sigma, scales.get(outcome.cell.bank))
                scales.setdefault(outcome.cell.bank, pictures.scale)
                views.append((outcome, pictures))
            for label, noun in ((1, "defective"), (0, "good")):
                row = _typical(views[0][1].images, label)
                if row is not None:
                    shown = [(each.domain, each.condition, pictures.show([row])[0]) for each, pictures in views]
                    ignores = any(pictures.ignores for _, pictures in views)
                    exhibits.append(Exhibit(f"{category}: a {noun} image", shown, ignores))
    return exhibits


def _typical(images: Images, label: int) -> int | None:
    """The row of the image with the middle score among those of one label."""
    rows = np.flatnonzero((images.labels == label) & np.isfinite(images.scores))
    if not rows.size:
        return None
    return int(rows[np.argsort(images.scores[rows], kind="stable")[rows.size // 2]])


def _datasets(plan: StudyPlan, cells: Sequence[Cell]) -> list[DatasetSection]:
    """The cards of all datasets that the cells train on or score."""
    trained = dict.fromkeys(cell.bank.training for cell in cells)
    members = [pair for bank in trained for pair in plan.categories(f"{bank.dataset}/{bank.category}")]
    names = dict.fromkeys([*(cell.target.dataset for cell in cells), *(dataset for dataset, _ in members)])
    return [describe_dataset(read_card(Path(f"results/data_cards/{name}.json"))) for name in names]
