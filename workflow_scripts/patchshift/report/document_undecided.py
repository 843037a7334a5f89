"""The printed report's error analysis where no image is decided: what ranks worst.

Tested in tests/report/test_document.py.
"""

from patchshift.report.analyses.defects import DEFECT
from patchshift.report.analyses.failures import read_table, row_names
from patchshift.report.analyses.shown import select_shown
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.document import (
    NEEDED,
    TELLING,
    Block,
    Field,
    Figure,
    Heading,
    Paragraph,
    Row,
    Table,
    estimate,
    find_figure,
    refer,
)
from patchshift.report.keys import row_keys
from patchshift.report.labels import category_labels, group_labels
from patchshift.report.plots.registry import EXPERIMENT_PLOTS
from patchshift.report.results import Value, as_value
from patchshift.report.sections.errors import SHOWN

_AUROC = ("image_auroc", "image_auroc_low", "image_auroc_high")


def describe_hardest(data: StudyData) -> list[Block]:
    """Why there are no mistakes, and what the setup that is shown of the first experiment ranks worst."""
    name = next(iter(data.results.cells))
    keys = [row_keys(cell) for cell in select_shown(data, name)]
    types = _rank_types(data, name)
    path = find_figure(data.folder, data.experiment_folder(name), "failure_gallery", "png")
    seen = [*([refer("Table", "errors")] if types else []), *([refer("Figure", "errors-gallery")] if path else [])]
    blocks: list[Block] = [
        Heading("Error analysis"),
        Paragraph(
            "No threshold decides any test image, so none is missed and none is a false alarm. What can be told is how "
            "high defective images rank among good ones."
        ),
    ]
    if seen:
        joined = [part for number, parts in enumerate(seen) for part in ([" and "] if number else []) + parts]
        verb = "show" if len(seen) > 1 else "shows"
        where = f"of {group_labels(keys)[0]} in experiment “{data.results.titles[name]}”"
        blocks.append(Paragraph([*joined, f" {verb} what ranks worst, {where}."]))
    if types:
        rows = [Row([Field(category), Field(defect), estimate(auroc)]) for category, defect, auroc in types[:SHOWN]]
        hidden = len(types) - len(rows)
        file = (data.experiment_folder(name) / "defects.csv").relative_to(data.folder).as_posix()
        table = Table(
            "errors",
            "Defect types, those ranked lowest first.",
            ["category", "defect", "image AUROC against good images"],
            rows,
            words=(0, 1),
            notes=[f"{hidden} more types, ranked at least as high, are in {file}."] if hidden else [],
            source=file,
            weight=NEEDED,
        )
        blocks.append(table)
    if path:
        plot = EXPERIMENT_PLOTS["failure_gallery"]
        blocks.append(Figure("errors-gallery", path, f"{plot.title}. {plot.caption}", TELLING))
    return blocks


def _rank_types(data: StudyData, experiment: str) -> list[tuple[str, str, Value]]:
    """Category, defect type and its image AUROC, the lowest first; those without one are left out."""
    cells = select_shown(data, experiment)
    table = read_table(data, experiment, "defects.csv")
    types = [
        (category, row["value"], as_value(row, *_AUROC))
        for cell, category in zip(cells, category_labels([row_keys(cell) for cell in cells]), strict=True)
        for row in table[row_names(cell)]
        if row["by"] == DEFECT and row["image_auroc"]
    ]
    return sorted(types, key=lambda each: each[2].value or 0.0)
