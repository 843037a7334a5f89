"""The blocks of a summary as tables of text fields, whatever they are written in.

Tested in tests/report/test_summary.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from patchshift.report.analyses.summary_blocks import (
    SHOWN,
    Block,
    Row,
    SetupLines,
    gain_of,
    show_deviation,
    show_grade,
    split_text,
)
from patchshift.report.results import read_estimate

MOST_COLUMNS = 4
"""Setups side by side; more would not fit a printed page."""
NOTHING = "-"
PUBLISHED_OPENING = "Published: by others, under their own protocols; not measured here."


@dataclass(frozen=True)
class Entry:
    """One field.

    Attributes:
        text: the number.
        ends: its interval, `0.86, 0.95`; empty where it has none.
        mark: `best`, `level` or neither.
    """

    text: str
    ends: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Grid:
    """One table.

    Attributes:
        header: heading of each column.
        sections: rows, set apart in sections; those of `published` follow in another.
        published: rows of figures that others published.
        notes: below the table.
    """

    header: list[str]
    sections: list[list[list[Entry]]]
    published: list[list[Entry]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def category_grids(block: Block) -> list[Grid]:
    """Image AUROC per category, setups side by side, few at a time; none where there is one category."""
    if len(block.categories) < 2:
        return []
    grids = []
    for setups in _batches(block.setups):
        rows = [[Entry(name), *(_auroc(setup.categories.get(name)) for setup in setups)] for name in block.categories]
        grids.append(Grid(["category", *(setup.label for setup in setups)], [rows, _ends(block, setups)]))
    return grids


def _batches(setups: Sequence[SetupLines]) -> list[Sequence[SetupLines]]:
    return [setups[start : start + MOST_COLUMNS] for start in range(0, len(setups), MOST_COLUMNS)]


def _ends(block: Block, setups: Sequence[SetupLines]) -> list[list[Entry]]:
    rows = [
        [Entry("macro-average"), *(_auroc(setup.whole) for setup in setups)],
        [
            Entry("sd over categories"),
            *(Entry(show_deviation(setup.spread, setup.whole, "image_auroc")) for setup in setups),
        ],
    ]
    if block.seeds > 1:
        rows.append([Entry(f"sd over {block.seeds} seeds"), *(Entry(_seed_deviation(setup.whole)) for setup in setups)])
    if block.is_ranked:
        rows.append([Entry("rank"), *(Entry(setup.whole["rank"] or NOTHING) for setup in setups)])
    if block.baseline:
        rows.append([Entry(f"gain over {block.baseline}"), *(_gain(setup.whole) for setup in setups)])
    return [*rows, [Entry("grade"), *(Entry(show_grade(setup.whole) or NOTHING) for setup in setups)]]


def metrics_grid(block: Block, *, printed: bool = False) -> Grid:
    """The main metrics over the categories together, a setup a row, and below it what others published.

    Args:
        block: the setups.
        printed: whether it must fit a printed page, so without what the table by category has, deviations and grades.
    """
    several = len(block.categories) > 1
    wholes = [setup.whole for setup in block.setups]
    metrics = [name for name in SHOWN if any(row[name] for row in wholes)]
    extra = ["sd over categories"] * several + ["sd over seeds"] * (block.seeds > 1) + ["rank"] * block.is_ranked
    extra += ["gain"] * bool(block.baseline) + ["grade"]
    if printed:
        extra = [name for name in extra if name in ("rank", "gain") and not several]
    header = ["setup", *(SHOWN[name] for name in metrics), *extra]
    rows = []
    for setup in block.setups:
        fields = {
            "sd over categories": Entry(show_deviation(setup.spread, setup.whole, "image_auroc")),
            "sd over seeds": Entry(_seed_deviation(setup.whole)),
            "rank": Entry(setup.whole["rank"] or NOTHING),
            "gain": _gain(setup.whole),
            "grade": Entry(show_grade(setup.whole) or NOTHING),
        }
        values = [_metric(setup.whole, name) for name in metrics]
        rows.append([Entry(setup.label), *values, *(fields[name] for name in extra)])
    sources: dict[str, int] = {}
    published = []
    for line in block.published:
        if (line.category and several) or not set(line.values) & set(metrics):
            continue
        number = sources.setdefault(line.source, len(sources) + 1)
        figures = [Entry(line.values.get(name, NOTHING)) for name in metrics]
        published.append([Entry(f"{line.label} [{number}]"), *figures, *(Entry("") for _ in extra)])
    return Grid(header, [rows], published, _source_notes(sources))


def published_grid(block: Block) -> Grid | None:
    """What others published of single categories, beside the table of image AUROC per category; None if nothing."""
    lines = [line for line in block.published if line.category and "image_auroc" in line.values]
    if len(block.categories) < 2 or not lines:
        return None
    sources: dict[str, int] = {}
    columns: dict[tuple[str, int], dict[str, str]] = {}
    for line in lines:
        key = (line.label, sources.setdefault(line.source, len(sources) + 1))
        columns.setdefault(key, {})[line.category] = line.values["image_auroc"]
    names = [name for name in block.categories if any(name.rpartition("/")[2] in found for found in columns.values())]
    rows = [
        [Entry(name), *(Entry(found.get(name.rpartition("/")[2], NOTHING)) for found in columns.values())]
        for name in names
    ]
    header = ["published image AUROC", *(f"{label} [{number}]" for label, number in columns)]
    return Grid(header, [], rows, _source_notes(sources))


def split_published(grid: Grid) -> list[Grid]:
    """The grid of published figures in parts that fit a printed page; the last one has the notes."""
    parts = []
    for start in range(1, len(grid.header), MOST_COLUMNS):
        chosen = slice(start, start + MOST_COLUMNS)
        rows = [[line[0], *line[chosen]] for line in grid.published]
        parts.append(Grid([grid.header[0], *grid.header[chosen]], [], rows))
    return [*parts[:-1], replace(parts[-1], notes=grid.notes)]


def mark_notes(block: Block) -> list[str]:
    """What the marks of a block mean, and of how many categories its means are where these differ."""
    total = len(block.categories)
    parts = ", ".join(f"{heading} of {count}" for heading, count in block.coverage.items())
    notes = [f"Not all {total} categories have every metric; means are: {parts}."] if parts else []
    if not block.is_ranked:
        return notes
    level = " ≈: level with it, the interval of the paired difference reaches 0." if block.has_level else ""
    return [f"Bold: the highest image AUROC.{level}", *notes]


def _source_notes(sources: dict[str, int]) -> list[str]:
    return [f"[{number}] {source}" for source, number in sources.items()]


def _auroc(row: Row | None) -> Entry:
    return Entry(NOTHING) if row is None else _metric(row, "image_auroc")


def _metric(row: Row, name: str) -> Entry:
    return Entry(*split_text(read_estimate(row, name)), row["standing"] if name == "image_auroc" else "")


def _gain(row: Row) -> Entry:
    gain = gain_of(row)
    return Entry(NOTHING) if gain is None else Entry(*split_text(gain, signed=True))


def _seed_deviation(row: Row) -> str:
    return show_deviation(row, row, "image_auroc", "_sd")
