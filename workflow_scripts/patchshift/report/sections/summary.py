"""The report's summary of an experiment: all setups over the categories together, read back from `summary.csv`.

Plain text: the template escapes it.
Tested in tests/report/test_summary.py.
"""

from dataclasses import dataclass

from patchshift.report.analyses.published import read_published
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.analyses.summary_blocks import Block, read_blocks
from patchshift.report.analyses.summary_grids import Grid, mark_notes, metrics_grid
from patchshift.report.analyses.summary_texts import describe_block
from patchshift.report.results import read_rows


@dataclass(frozen=True)
class SummaryPart:
    """Setups that are compared with each other.

    Attributes:
        heading: under what circumstance.
        description: what was tested, and what the intervals are; empty where the part before it has the same.
        grid: a setup a row; below them published figures.
        notes: what the marks and the column of gains mean.
    """

    heading: str
    description: str
    grid: Grid
    notes: list[str]


@dataclass(frozen=True)
class SummarySection:
    """An experiment's summary.

    Attributes:
        parts: one per circumstance; none where nothing was measured.
        files: the same as files, addresses relative to the report.
    """

    parts: list[SummaryPart]
    files: list[str]


def describe_summary(data: StudyData, experiment: str) -> SummarySection:
    """The summary of an experiment whose `summary.csv` is written."""
    rows = read_rows(data.experiment_folder(experiment) / "summary.csv")
    parts: list[SummaryPart] = []
    described = ""
    for block in read_blocks(data, rows, read_published()):
        description = describe_block(block, data.spec.confidence).replace("In brackets:", "Small:")
        notes = [*mark_notes(block), *_describe_gain(block)]
        parts.append(
            SummaryPart(block.heading, "" if description == described else description, metrics_grid(block), notes)
        )
        described = description
    return SummarySection(parts, [f"experiments/{experiment}/summary.{kind}" for kind in ("csv", "md", "tex")])


def _describe_gain(block: Block) -> list[str]:
    if not block.baseline:
        return []
    return [f"Gain: image AUROC minus that of {block.baseline}, on the same images and resamples."]
