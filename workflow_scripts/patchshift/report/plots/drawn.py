"""A figure with the data that it shows: written as PNG, SVG and CSV under one name.

Tested in tests/report/test_plots.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from patchshift.report.analyses.study_data import StudyData
from patchshift.report.style import save_figure
from patchshift.runtime.files import write_text


@dataclass(frozen=True)
class Drawn:
    """A figure and the numbers in it.

    Attributes:
        figure: drawn under `style.figure_style`.
        data: one row per mark, in the order of the figure; numbers as they are, not as they are shown.
    """

    figure: Figure
    data: pd.DataFrame

    def save(self, folder: Path, name: str) -> None:
        """Write `{name}.png`, `{name}.svg` and `{name}.csv`; equal figures give equal bytes."""
        save_figure(self.figure, folder / f"{name}.png", folder / f"{name}.svg")
        write_text(folder / f"{name}.csv", self.data.to_csv(index=False))


@dataclass(frozen=True)
class ExperimentPlot:
    """A kind of figure that an experiment may have.

    Attributes:
        title: what it is, in a few words.
        caption: what it shows, and how it is to be read.
        draw: draws it; None where the experiment has nothing that it could show.
        on_page: whether the report shows it itself, and not but its files: photographs would make it heavy, and times
            would make it another page in every run.
    """

    title: str
    caption: str
    draw: Callable[[StudyData, str], Drawn | None]
    on_page: bool = True


@dataclass(frozen=True)
class StudyPlot:
    """A kind of figure that a study may have.

    Attributes:
        title: what it is, in a few words.
        caption: what it shows, and how it is to be read.
        draw: draws it; None where the study has nothing that it could show.
    """

    title: str
    caption: str
    draw: Callable[[StudyData], Drawn | None]
