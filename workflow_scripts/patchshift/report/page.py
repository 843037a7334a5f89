"""The report of a study: one HTML page that opens from disk, without network or times.

Its scripts are its own: they sort tables, show the gallery and open for print what is folded; all else can be read
without them. Equal inputs give equal bytes.
Tested in tests/report/test_page.py, and in a browser in tests/report/test_report_browser.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patchshift.plan.cells import Cell
from patchshift.plan.specs import EvaluationSpec
from patchshift.report import wording
from patchshift.report.analyses.feature_drifts import DRIFTS
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.background import describe_making, list_settings
from patchshift.report.beside import STUDY_FILES, SavedFigure, list_tables, read_figure
from patchshift.report.cases import Case, CellPictures, select_cases
from patchshift.report.conditions import CONDITIONS, IN_DOMAIN
from patchshift.report.data_card import describe_dataset
from patchshift.report.data_wording import describe_inputs
from patchshift.report.definitions import define_metrics
from patchshift.report.distances import draw_distances
from patchshift.report.experiments import METRICS, ResultsTable, results_table
from patchshift.report.figures import draw_scores
from patchshift.report.gallery import build_gallery
from patchshift.report.inside import arrange_looks
from patchshift.report.keys import row_keys
from patchshift.report.labels import category_labels
from patchshift.report.ladder import average_ladders
from patchshift.report.pictures import Scale, show_colours
from patchshift.report.plots import recovery
from patchshift.report.plots.registry import EXPERIMENT_PLOTS, STUDY_PLOTS
from patchshift.report.pools import compare_pools
from patchshift.report.recommendation import Recommendation, explain_lack, recommend
from patchshift.report.results import StudyResults, read_rows
from patchshift.report.sections.comparisons import ComparisonsSection, describe_comparisons
from patchshift.report.sections.errors import ErrorsSection, describe_errors
from patchshift.report.sections.limits import describe_limits
from patchshift.report.sections.robustness import describe_robustness
from patchshift.report.sections.summary import SummarySection, describe_summary
from patchshift.report.shift import Outcome, ShiftComparison, compare_shifts, list_outcomes
from patchshift.report.shift_exhibits import choose_exhibits
from patchshift.report.shift_figure import draw_shift
from patchshift.report.study_cards import read_cards
from patchshift.report.templating import Picture, draw_picture, read_script, render

SCRIPTS = ("tables.js", "gallery.js", "print.js")
SHOWN_ELSEWHERE = ("severity_ladder",)  # under shift


@dataclass(frozen=True)
class ExperimentSection:
    """One experiment on the page; its tables are paths from the page."""

    name: str
    title: str
    table: ResultsTable
    summary: SummarySection
    comparisons: ComparisonsSection | None
    errors: ErrorsSection | None
    figures: list[SavedFigure]
    tables: list[str]


@dataclass(frozen=True)
class CasesSection:
    """One category's single images."""

    category: str
    scale: Scale | None
    unit: str
    threshold: float | None
    groups: dict[str, list[Case]]
    ignores: bool

    @property
    def threshold_position(self) -> float | None:
        """Where the threshold lies among the heatmap's colours, in %; None if it does not."""
        if self.threshold is None or self.scale is None or not self.scale.low < self.threshold < self.scale.high:
            return None
        return 100 * (self.threshold - self.scale.low) / (self.scale.high - self.scale.low)


@dataclass(frozen=True)
class LadderSection:
    """One experiment's severity ladders."""

    title: str
    figure: SavedFigure
    sentences: list[str]


def render_report(
    data: StudyData,
    provenance: Mapping[str, Any],
    looks: Sequence[Path] = (),
    distances: Sequence[Path] = (),
) -> str:
    """The page as text.

    Args:
        data: the study, with its tables and figures; artifacts are read from where the plan's cells say.
        provenance: the question, the protocol and the settings of all ids (`plan.provenance`).
        looks: figures of looks inside features, in that folder.
        distances: tables of distances between domains: the study's, if there is one.
    """
    plan, results, spec, folder = data.plan, data.results, data.spec, data.folder
    recommendation = recommend(results, data.domains, spec)
    shifts = compare_shifts(results, recommendation.domain, spec) if recommendation else []
    told = (recommendation.shift_setup, len(recommendation.cells)) if recommendation else (None, 0)
    context = {
        "study": plan.study,
        "datasets": [describe_dataset(card) for card in read_cards(data)],
        "inputs": describe_inputs(provenance["backbones"]),
        "question": provenance["question"],
        "recommendation": recommendation,
        "lack": "" if recommendation else explain_lack(results, data.domains),
        "choice": wording.describe_choice(recommendation) if recommendation else [],
        "exports": wording.list_exports(recommendation) if recommendation else [],
        "rows": _per_category(results, recommendation, spec) if recommendation else [],
        "shifts": [(shift, _shift_figure(data, shift, position)) for position, shift in enumerate(shifts)],
        "ladders": _ladders(data),
        "robustness": describe_robustness(data, *told),
        "study_figures": _study_figures(
            data, but=["recovery"] if any(recovery.is_drawn_of(shift.setup, data) for shift in shifts) else []
        ),
        "exhibits": choose_exhibits(results, shifts[0], spec.smoothing_sigma) if shifts else [],
        "conditions": CONDITIONS,
        "pools": [
            (pool, wording.describe_sharing(pool.difference, pool.losses, len(pool.pairs)))
            for pool in compare_pools(results, plan, spec)
        ],
        "experiments": [_experiment(data, name) for name in results.cells],
        "tables": [*STUDY_FILES, *(name for table in distances for name in (table.name, DRIFTS))],
        "metrics": METRICS,
        "scores": _score_figure(results, recommendation) if recommendation else None,
        "cases": _cases(data, recommendation.cells) if recommendation else [],
        "gallery": build_gallery(data, recommendation.cells[0] if recommendation else None),
        "scripts": [read_script(name) for name in SCRIPTS],
        "looks": arrange_looks(looks, folder, plan.weights),
        "distances": [_draw_distances(table) for table in distances],
        "colours": show_colours(),
        "making": describe_making(results.all_cells()),
        "settings": list_settings({**_describe_plan(data), **provenance}),
        "definitions": define_metrics(spec),
        "limits": describe_limits(data, provenance),
        "protocol": spec,
        "wording": wording,
    }
    return render("report.html", context)


def _describe_plan(data: StudyData) -> dict[str, object]:
    """What the config asks for beside ids: experiments, and the protocol of evaluation and analyses."""
    experiments = {
        name: data.plan.experiments[name].model_dump(mode="json", exclude_none=True) for name in data.plan.order
    }
    protocol = {"evaluation": data.spec.model_dump(mode="json"), "analysis": data.analysis.model_dump(mode="json")}
    select = {"select": data.plan.select.model_dump(mode="json")}
    return {"experiments": {**select, **experiments}, "protocol": protocol}


def _per_category(results: StudyResults, recommendation: Recommendation, spec: EvaluationSpec) -> list[Outcome]:
    return list_outcomes(results, [(cell, IN_DOMAIN) for cell in recommendation.cells], spec)


def _shift_figure(data: StudyData, shift: ShiftComparison, position: int) -> SavedFigure:
    """What a setup keeps under shift: the figure that was drawn before, with the mean, or else one of the same kind."""
    saved = read_figure(data.folder, "recovery", STUDY_PLOTS["recovery"], "study")
    if saved and recovery.is_drawn_of(shift.setup, data):
        return saved
    caption = (
        "Image AUROC (dotted: chance), miss rate and false-alarm rate of each category in every shifted domain, with "
        "intervals. Upright: in the reference domain; grey is its interval."
    )
    drawn = draw_picture(draw_shift(shift.panels(), shift.conditions), f"shift{position}", caption)
    return SavedFigure(STUDY_PLOTS["recovery"].title, drawn, caption, [])


def _ladders(data: StudyData) -> list[LadderSection]:
    sections = []
    for name, cells in data.results.cells.items():
        drawn = read_figure(data.experiment_folder(name), "severity_ladder", EXPERIMENT_PLOTS["severity_ladder"], name)
        if drawn and drawn.drawn:
            averaged = average_ladders(data.results, cells, data.domains, data.spec)
            sentences = [wording.describe_ladder(shift, steps) for shift, steps in averaged.items()]
            sections.append(LadderSection(data.results.titles[name], drawn, sentences))
    return sections


def _experiment(data: StudyData, name: str) -> ExperimentSection:
    folder = data.experiment_folder(name)
    figures = (
        read_figure(folder, figure, plot, name)
        for figure, plot in EXPERIMENT_PLOTS.items()
        if figure not in SHOWN_ELSEWHERE
    )
    return ExperimentSection(
        name,
        data.results.titles[name],
        results_table(data.results, data.cells(name)),
        describe_summary(data, name),
        describe_comparisons(data, name),
        describe_errors(data, name),
        [figure for figure in figures if figure],
        list_tables(data, name),
    )


def _study_figures(data: StudyData, but: Sequence[str]) -> list[SavedFigure]:
    figures = (read_figure(data.folder, name, plot, "study") for name, plot in STUDY_PLOTS.items() if name not in but)
    return [figure for figure in figures if figure]


def _score_figure(results: StudyResults, recommendation: Recommendation) -> Picture:
    labels = category_labels([row_keys(cell) for cell in recommendation.cells])
    panels = {label: results.images(cell) for label, cell in zip(labels, recommendation.cells, strict=True)}
    caption = (
        "Score of every test image, by defect type. The line is the threshold: images at or right of it are called "
        "defective."
    )
    return draw_picture(draw_scores(panels), "scores", caption)


def _draw_distances(table: Path) -> Picture:
    caption = "How far features move: five distances with their intervals. On grey, nothing has shifted."
    return draw_picture(draw_distances(read_rows(table)), "distances", caption)


def _cases(data: StudyData, cells: Sequence[Cell]) -> list[CasesSection]:
    sections = []
    for category, cell in zip(category_labels([row_keys(cell) for cell in cells]), cells, strict=True):
        pictures = CellPictures.read(data.results, cell, data.spec.smoothing_sigma)
        chosen = select_cases(pictures.images, data.analysis.cases)
        groups = {heading: pictures.show(rows) for heading, rows in chosen.items()}
        # among the colours of maps, where image scores are of the same unit
        threshold = pictures.images.threshold if cell.bank.is_fitted else None
        unit = "log-odds of a defect" if pictures.weights else "patch distance"
        sections.append(CasesSection(category, pictures.scale, unit, threshold, groups, pictures.ignores))
    return sections
