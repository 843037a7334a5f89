"""The printed report's results by experiment: the means of its setups, its figure, and errors.

Tested in tests/report/test_document.py.
"""

from collections.abc import Sequence
from dataclasses import replace

from patchshift.report import wording
from patchshift.report.analyses.published import read_published
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.analyses.summary_blocks import Block as SetupBlock
from patchshift.report.analyses.summary_blocks import read_blocks
from patchshift.report.analyses.summary_grids import Entry, Grid, mark_notes, metrics_grid
from patchshift.report.analyses.summary_texts import describe_block
from patchshift.report.conditions import (
    ADAPTED,
    NO_ADAPTATION,
    RECALIBRATED,
    condition_of,
    is_pool,
    setup_of,
)
from patchshift.report.document import (
    NEEDED,
    TELLING,
    Block,
    Bullets,
    Field,
    Figure,
    Heading,
    Paragraph,
    Reference,
    Row,
    Table,
    estimate,
    find_figure,
    refer,
    share,
)
from patchshift.report.document_results import count_hidden, cut_rows
from patchshift.report.grammar import agree, count
from patchshift.report.plots.registry import EXPERIMENT_PLOTS
from patchshift.report.recommendation import Recommendation
from patchshift.report.results import read_rows
from patchshift.report.sections.comparisons import describe_comparisons
from patchshift.report.sections.errors import describe_errors

FIRST_FIGURES = ("transfer", "severity_ladder", "sampling_curve", "reduction_curve", "policies", "backbone_panels")
"""Which figure of an experiment is printed: the first of these that it has, else that of every category."""
MOST_BARS = 4
"""Setups whose bars, with intervals, can be told from each other; of more a heatmap is printed."""
SHIFTED = {NO_ADAPTATION, RECALIBRATED, ADAPTED}


def describe_experiments(data: StudyData, recommendation: Recommendation | None) -> list[Block]:
    """Every experiment: those that compare setups by themselves, of the others the means in one table.

    Args:
        data: the study.
        recommendation: whose cells, shifts and pools are told elsewhere.
    """
    blocks: list[Block] = []
    alone: list[str] = []
    for name in data.results.cells:
        section = describe_comparisons(data, name)
        if section is None:
            alone.append(name)
            continue
        tables = _tabulate(data, [name], f"metrics-{name}")
        figure = _telling_figure(data, name, is_told=False)
        text = _refer_to(tables, [figure] if figure else [])
        blocks += [Heading(data.results.titles[name], 2), Paragraph([*text, " ".join(section.sentences)])]
        blocks += [*tables, *([figure] if figure else [])]
    if alone:
        tables = _tabulate(data, alone, "metrics")
        figures = [_telling_figure(data, name, is_told=_is_told(data, name, recommendation)) for name in alone]
        drawn = [figure for figure in figures if figure]
        heading = "Experiments that compare no detectors" if blocks else "Means over the categories"
        blocks += [Heading(heading, 2), Paragraph(_refer_to(tables, drawn)), *tables, *drawn]
    return blocks


def _refer_to(tables: Sequence[Table], figures: Sequence[Figure]) -> list[str | Reference]:
    seen = ["; see also ", *refer("Figure", *(figure.name for figure in figures))] if figures else []
    if not tables:
        return [*seen[1:], " shows it. " if len(figures) == 1 else " show it. "] if seen else []
    named = refer("Table", *(table.name for table in tables))
    verb = "has" if len(tables) == 1 else "have"
    return [*named, f" {verb} all metrics, as means over the categories", *seen, ". "]


def _is_told(data: StudyData, name: str, recommendation: Recommendation | None) -> bool:
    """Whether other sections tell all of an experiment's cells, category by category."""
    if recommendation is None:
        return False
    cells, domain = data.cells(name), recommendation.domain
    return all(cell in recommendation.cells or is_pool(cell) or condition_of(cell, domain) in SHIFTED for cell in cells)


def _telling_figure(data: StudyData, name: str, *, is_told: bool) -> Figure | None:
    """The figure of an experiment; none of every category where that is told elsewhere."""
    if len(data.cells(name)) == 1:
        return None
    few = len({setup_of(cell) for cell in data.cells(name)}) <= MOST_BARS
    for kind in (*FIRST_FIGURES, *([] if is_told else ["bars", "heatmap"] if few else ["heatmap", "bars"])):
        path = find_figure(data.folder, data.experiment_folder(name), kind)
        if path:
            caption = f"{data.results.titles[name]}. {EXPERIMENT_PLOTS[kind].caption}"
            return Figure(f"{name}-{kind}", path, caption)
    return None


def _tabulate(data: StudyData, names: Sequence[str], label_of: str) -> list[Table]:
    """The means of some experiments' setups; those with the same columns stand in one table."""
    grouped: dict[tuple[str, ...], list[tuple[str, SetupBlock, Grid]]] = {}
    published = read_published()
    for name in names:
        rows = read_rows(data.experiment_folder(name) / "summary.csv")
        for block in read_blocks(data, rows, published):
            grid = metrics_grid(block, printed=True)
            grouped.setdefault(tuple(grid.header), []).append((name, block, grid))
    tables = []
    for number, (header, found) in enumerate(grouped.items()):
        shown: list[Row] = []
        previous = ""
        for name, block, grid in found:
            own = _rows_of(grid)
            title = data.results.titles[name] if len(names) > 1 else block.heading
            if len(names) > 1 and len(grid.sections[0]) == 1:  # what tells it from the next is where it was scored
                label, *others = own[0].fields
                own = [replace(own[0], fields=[Field(block.heading, label.text), *others]), *own[1:]]
            elif len(names) > 1:
                title = f"{title} ({block.heading})"
            if len(found) > 1 and title != previous:
                shown.append(Row(title=title, opens=True))
            previous = title
            shown += own
        title = f"{data.results.titles[names[0]]}: main metrics." if len(names) == 1 else "Main metrics."
        blocks = [(block, grid) for _, block, grid in found]
        tables.append(Table(f"{label_of}-{number}", title, header, shown, notes=_note(blocks, data.spec.confidence)))
    return tables


def _note(blocks: Sequence[tuple[SetupBlock, Grid]], confidence: float) -> list[str]:
    """What was tested in each block of a table, what its intervals are, what marks mean, and sources."""
    tested: dict[str, list[str]] = {}
    others: list[str] = []
    for block, grid in blocks:
        described, _, intervals = describe_block(block, confidence).partition(" In brackets: ")
        tested.setdefault(described, []).append(block.heading)
        published = [*count_hidden(len(grid.published)), *grid.notes] if grid.published else []
        others += [f"Small: {intervals}", *mark_notes(block), *count_hidden(len(grid.sections[0])), *published]
    several = len(tested) > 1
    first = [f"{wording.join_words(names)}: {said}" if several else said for said, names in tested.items()]
    return [*first, *dict.fromkeys(others)]


def _rows_of(grid: Grid) -> list[Row]:
    shown = cut_rows([Row([_field(entry) for entry in entries]) for entries in grid.sections[0]])
    published = [Row([_field(entry) for entry in entries], is_pale=True) for entries in grid.published]
    return [*shown, Row(title=PUBLISHED, opens=True), *cut_rows(published)] if published else shown


PUBLISHED = "Published by others, under their own protocols; not measured here"


def _field(entry: Entry) -> Field:
    ends = entry.ends.replace(", ", " to " if set("+−") & set(entry.ends) else "–")
    return Field(entry.text, ends, is_bold=entry.mark == "best", mark="≈" if entry.mark == "level" else "")


def describe_mistakes(data: StudyData) -> list[Block]:
    """The errors of the setup that the study recommends, in the first experiment that has it and decides images.

    Where none has it, those of the first experiment that decides images, and of which setup and why.
    """
    found = [(name, section) for name in data.results.cells if (section := describe_errors(data, name))]
    if not found:
        return []
    name, section = next(((name, section) for name, section in found if section.is_recommended), found[0])
    folder = data.experiment_folder(name)
    blocks: list[Block] = [Heading("Error analysis")]
    figures = []
    for kind, suffix in (("defect_sizes", "svg"), ("failure_gallery", "png")):
        path = find_figure(data.folder, folder, kind, suffix)
        if path:
            plot = EXPERIMENT_PLOTS[kind]
            figures.append(Figure(f"errors-{kind}", path, f"{plot.title}. {plot.caption}", TELLING))
    rows = [
        Row([Field(row.category), Field(row.defect), share(row.found), estimate(row.auroc)]) for row in section.rows
    ]
    seen = [*refer("Table", "errors")] if rows else []
    if figures:
        seen += [" and " if seen else "", *refer("Figure", *(figure.name for figure in figures))]
    opening = [f"In experiment “{data.results.titles[name]}”, errors of {section.shown}"]
    blocks.append(Bullets([*opening, *([" (", *seen, ")"] if seen else []), ":"], section.sentences))
    if rows:
        rest = f"{count(section.hidden, 'more type')}, found at least as often, {agree(section.hidden, 'is', 'are')}"
        blocks.append(
            Table(
                "errors",
                "Defect types, those found least often first.",
                ["category", "defect", "found", "image AUROC against good images"],
                rows,
                words=(0, 1),
                notes=[f"{rest} in defects.csv."] if section.hidden else [],
                source=section.tables["defects.csv"],
                weight=NEEDED,
            )
        )
    blocks += figures
    if len(found) > 1:
        blocks.append(Paragraph("Errors of the other experiments are in report.html and beside their tables."))
    return blocks
