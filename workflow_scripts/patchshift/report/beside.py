"""What lies beside the report: figures that were drawn before, and tables.

Tested in tests/report/test_page.py.
"""

from dataclasses import dataclass
from pathlib import Path

from patchshift.plan.analyses import EXPERIMENT_TABLES, STUDY_TABLES
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.conditions import is_pool
from patchshift.report.plots.drawn import ExperimentPlot, StudyPlot
from patchshift.report.templating import Picture, read_picture

STUDY_FILES = ("metrics.csv", "predictions.csv", "results.txt", "timings.csv", *STUDY_TABLES)


@dataclass(frozen=True)
class SavedFigure:
    """A figure that was drawn before.

    Attributes:
        title: what it is.
        drawn: the figure; None where it is but linked.
        caption: what it shows.
        files: its files, relative to the page: PNG, SVG, CSV.
    """

    title: str
    drawn: Picture | None
    caption: str
    files: list[str]


def list_tables(data: StudyData, experiment: str) -> list[str]:
    """The tables beside the page that an experiment has."""
    pooled = any(is_pool(cell) for cell in data.cells(experiment))
    names = ["results.csv", "costs.csv", *(["pools.csv"] if pooled else []), *EXPERIMENT_TABLES]
    return [f"experiments/{experiment}/{name}" for name in names]


def read_figure(folder: Path, name: str, plot: ExperimentPlot | StudyPlot, owner: str) -> SavedFigure | None:
    """A saved figure of an experiment or the study; None where there was nothing to draw."""
    path = folder / "figures" / f"{name}.svg"
    if not path.is_file():
        return None
    on_page = plot.on_page if isinstance(plot, ExperimentPlot) else True
    drawn = read_picture(path, f"{owner}-{name}", plot.caption) if on_page else None
    place = "" if owner == "study" else f"experiments/{owner}/"
    files = [f"{place}figures/{name}.{kind}" for kind in ("png", "svg", "csv")]
    return SavedFigure(plot.title, drawn, plot.caption, files)
