"""An experiment's summary as Markdown and as LaTeX, to be pasted into a page or a paper.

Tested in tests/report/test_summary.py.
"""

import csv
import io
import re
from collections.abc import Sequence

from patchshift.evaluation.seeds import FEWEST_SEEDS
from patchshift.report.analyses.published import read_published
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.analyses.summary import summary_table
from patchshift.report.analyses.summary_blocks import Block, Row, read_blocks
from patchshift.report.analyses.summary_grids import (
    PUBLISHED_OPENING,
    Entry,
    Grid,
    category_grids,
    mark_notes,
    metrics_grid,
    published_grid,
    split_published,
)


def summary_markdown(data: StudyData, experiment: str) -> str:
    """The experiment's `summary.md`."""
    parts = [f"# {_one_line(data.results.titles[experiment])}"]
    for block in read_blocks(data, summary_rows(data, experiment), read_published()):
        parts += [f"## {block.heading}", describe_block(block, data.spec.confidence)]
        grids = category_grids(block)
        if grids:
            parts += ["### Image AUROC by category", *map(_markdown_grid, grids)]
        by_category = published_grid(block)
        if by_category is not None:
            parts += [PUBLISHED_OPENING, _markdown_grid(by_category), *_markdown_list(by_category.notes)]
        whole = metrics_grid(block)
        parts += ["### Main metrics", _markdown_grid(whole), *mark_notes(block)]
        if whole.published:
            parts += [PUBLISHED_OPENING, *_markdown_list(whole.notes)]
    return "\n\n".join(parts) + "\n"


def summary_latex(data: StudyData, experiment: str) -> str:
    """The experiment's `summary.tex`: floats for a document that loads the package booktabs."""
    title = _one_line(data.results.titles[experiment])
    parts = [
        "% Needs \\usepackage{booktabs}. The floats span both columns of a two-column page: no table is wider than\n"
        "% 516 pt, the text of IEEEtran. All other metrics: summary.csv."
    ]
    for number, block in enumerate(read_blocks(data, summary_rows(data, experiment), read_published()), start=1):
        described = describe_block(block, data.spec.confidence)
        label = f"tab:{data.plan.study}-{experiment}-{number}"
        marks = " ".join(mark_notes(block))
        grids = category_grids(block)
        by_category = published_grid(block)
        if grids:
            caption = " ".join(filter(None, (f"{title}. {block.heading}: image AUROC by category. {described}", marks)))
            shown = [*grids, *(split_published(by_category) if by_category else [])]
            parts.append(_latex_float(shown, caption, f"{label}-categories"))
        caption = " ".join(filter(None, (f"{title}. {block.heading}: main metrics. {described}", marks)))
        parts.append(_latex_float([metrics_grid(block, printed=True)], caption, f"{label}-metrics"))
    return "\n\n".join(parts) + "\n"


def summary_rows(data: StudyData, experiment: str) -> list[Row]:
    """The rows of `summary.csv` as they are written."""
    return list(csv.DictReader(io.StringIO(summary_table(data, experiment).to_csv(index=False))))


def describe_block(block: Block, confidence: float) -> str:
    """What was tested, under which protocol, and what the intervals are: one paragraph."""
    normal, anomalous = block.images
    pairs = block.categories  # "bank of X on Y", where a bank is away from home
    names = list(dict.fromkeys(pair.rpartition(" on ")[2] for pair in pairs))
    of = f"{len(names)} categories" if len(names) > 1 else f"category {names[0].rpartition('/')[2]}"
    if len(pairs) > len(names):
        of += f", {len(pairs)} pairs of bank and category"
    seeds = f"; mean of {block.seeds} seeds" if block.seeds > 1 else ""
    covers = "test images" if block.seeds == 1 else "test images and seeds"
    if 1 < block.seeds < FEWEST_SEEDS:
        covers = "test images, those of image AUROC also for that of seeds"
    return (
        f"{', '.join(block.datasets)}: {normal} good and {anomalous} defective test images of {of}; {block.shared}"
        f"{seeds}. In brackets: {100 * confidence:g} % intervals for the choice of {covers}."
    )


def _markdown_grid(grid: Grid) -> str:
    lines = [_markdown_row([_escape_markdown(text) for text in grid.header])]
    lines.append(_markdown_row(["---", *(["---:"] * (len(grid.header) - 1))]))
    for section in grid.sections:
        lines += [_markdown_row([_markdown_entry(entry) for entry in row]) for row in section]
    for name, *fields in grid.published:
        first = f"*published: {_markdown_entry(name)}*" if grid.sections else _markdown_entry(name)
        lines.append(_markdown_row([first, *(f"*{entry.text}*" if entry.text else "" for entry in fields)]))
    return "\n".join(lines)


def _markdown_row(fields: Sequence[str]) -> str:
    return f"| {' | '.join(fields)} |"


def _markdown_entry(entry: Entry) -> str:
    text = _escape_markdown(entry.text)
    marked = {"best": f"**{text}**", "level": f"{text} ≈"}.get(entry.mark, text)
    return f"{marked} [{entry.ends}]" if entry.ends else marked


def _markdown_list(notes: Sequence[str]) -> list[str]:
    return ["\n".join(f"- {_escape_markdown(note)}" for note in notes)] if notes else []


def _escape_markdown(text: str) -> str:
    return re.sub(r"([\\`*_|<>])", r"\\\1", text)


def _latex_float(grids: Sequence[Grid], caption: str, label: str) -> str:
    lines = [r"\begin{table*}", r"\centering", rf"\caption{{{escape_latex(caption)}}}", rf"\label{{{label}}}"]
    notes: list[str] = []
    for grid in grids:
        gap = 3 if len(grid.header) <= 8 else 2
        lines += [r"\footnotesize", rf"\setlength{{\tabcolsep}}{{{gap}pt}}", *_latex_grid(grid), r"\par\medskip"]
        notes += [PUBLISHED_OPENING, *grid.notes] if grid.notes else []
    if notes:
        lines += [r"\parbox{\textwidth}{\scriptsize " + BREAK.join(escape_latex(note) for note in notes) + "}"]
    return "\n".join([*lines, r"\end{table*}"])


def _latex_grid(grid: Grid) -> list[str]:
    width = len(grid.header)
    lines = [rf"\begin{{tabular}}{{@{{}}p{{{FIRST_COLUMN}pt}}{'r' * (width - 1)}@{{}}}}", r"\toprule"]
    headings = [_latex_stack(stack_heading(text, width)) for text in grid.header]
    lines += [" & ".join(headings) + r" \\"]
    for section in grid.sections:
        lines += [r"\midrule", *(_latex_row(row) for row in section)]
    if grid.published:
        lines.append(r"\midrule")
        if grid.sections:
            lines.append(rf"\multicolumn{{{width}}}{{@{{}}l}}{{\emph{{published}}}} \\")
        for row in grid.published:
            fields = [rf"\emph{{{escape_latex(entry.text)}}}" if entry.text else "" for entry in row]
            lines.append(" & ".join([rf"\raggedright {fields[0]}", *fields[1:]]) + r" \\")
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _latex_row(row: Sequence[Entry]) -> str:
    name, *fields = row
    return " & ".join([rf"\raggedright {escape_latex(name.text)}", *map(_latex_entry, fields)]) + r" \\"


def _latex_entry(entry: Entry) -> str:
    text = escape_latex(entry.text)
    marked = {"best": rf"\textbf{{{text}}}", "level": rf"{text} $\approx$"}.get(entry.mark, text)
    if not entry.ends:
        return marked
    ends = rf"{{\scriptsize[{escape_latex(entry.ends)}]}}"
    return rf"\begin{{tabular}}[t]{{@{{}}r@{{}}}}{marked} \\ {ends}\end{{tabular}}"


def stack_heading(text: str, columns: int) -> list[str]:
    """A heading in lines that stand below each other: columns are as wide as numbers, not as names."""
    letters = min(20, max(9, 80 // columns))
    lines = [""]
    for word in re.split(r"(?<=[_ ])", text):
        if lines[-1] and len((lines[-1] + word).rstrip()) > letters:
            lines.append("")
        lines[-1] += word
    return [line.rstrip() for line in lines]


def _latex_stack(lines: Sequence[str]) -> str:
    if len(lines) == 1:
        return escape_latex(lines[0])
    return rf"\begin{{tabular}}[b]{{@{{}}r@{{}}}}{BREAK.join(map(escape_latex, lines))}\end{{tabular}}"


FIRST_COLUMN = 76
"""Points of the column of names, which break into lines."""
BREAK = r" \\{} "  # braces, since a bracket after a line break would be read as its height
SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "≈": r"$\approx$",
    "→": r"$\rightarrow$",
    "×": r"$\times$",
    "\N{MINUS SIGN}": "$-$",
    "_": r"\_\allowbreak{}",
    **{character: rf"\{character}" for character in "&%$#{}"},
}


def escape_latex(text: str) -> str:
    """Text as LaTeX prints it; long ids may break after an underscore."""
    return "".join(SPECIAL.get(character, character) for character in text)


def _one_line(title: str) -> str:
    return " ".join(title.split())
