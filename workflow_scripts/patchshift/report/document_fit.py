"""Which tables and figures a printed report has room for, in as many pages as it may have.

Those that it needs are always printed. Of the others those needed least go first, among them figures of a kind that was
shown before, then the last; the text names the file in place of the number. Tables are cut before what is needed more
goes.
Tested in tests/report/test_document_fit.py.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from patchshift.report.document import (
    EXTRA,
    NEEDED,
    TELLING,
    TIGHTEST,
    USUAL,
    Block,
    Bullets,
    Document,
    Figure,
    Heading,
    Paragraph,
    Row,
    Table,
)

MOST_PAGES = 8
MOST_ROWS = 24
"""Rows of a table, where there is room for all tables."""
FEWER_ROWS = {EXTRA: MOST_ROWS, USUAL: 16, TELLING: 10, NEEDED: 10}
"""Rows of a table once tables and figures of a weight have to go; those needed are cut last."""
KEPT_PARTS = 3
"""Parts of sections that are always printed: the answer, and what shifts and shared banks cost."""
LARGE_GAP = 0.12
"""Share of a page below which what a table or figure leaves empty above it is no matter."""


@dataclass(frozen=True)
class Layout:
    """Where the blocks of a typeset report are.

    Attributes:
        pages: how many there are.
        starts: block -> the page that it starts on, from 1, and how far down, as a share of what pages hold.
        ends: the same of its end.
    """

    pages: int
    starts: Sequence[tuple[int, float]]
    ends: Sequence[tuple[int, float]]

    def gap(self, block: int) -> float:
        """The share of a page that is empty because a block does not fit there."""
        (page, place), (start, _) = self.ends[block - 1], self.starts[block]
        return 1 - place if block and start > page else 0.0

    def waste(self) -> tuple[int, float]:
        """What a report should have little of: pages first, then such empty parts of them."""
        return self.pages, sum(map(self.gap, range(len(self.starts))))


Measure = Callable[[Document], Layout]


def fit_document(document: Document, measure: Measure) -> Document:
    """The report with all that `MOST_PAGES` have room for, as loose as takes the fewest pages.

    Args:
        document: with all its tables and figures.
        measure: what a document is like when it is typeset.

    Returns:
        The document; longer than that where even what it needs is.
    """
    steps = list_steps(document)

    @functools.cache
    def arrange(step: int, tightness: int) -> tuple[Document, Layout]:
        return fill_gaps(replace(steps[step], tightness=tightness), measure)

    low, middle, high = 0, 0, len(steps) - 1  # most reports fit whole
    while low < high:
        if measure(replace(steps[middle], tightness=TIGHTEST)).pages <= MOST_PAGES:
            high = middle
        else:
            low = middle + 1
        middle = (low + high) // 2
    while low and arrange(low - 1, TIGHTEST)[1].pages <= MOST_PAGES:  # what was filled may have room for more
        low -= 1
    pages = arrange(low, TIGHTEST)[1].pages
    for tightness in range(TIGHTEST):
        arranged, layout = arrange(low, tightness)
        if layout.pages <= pages and layout.waste()[1] < LARGE_GAP:
            return arranged
    found = [arrange(low, tightness) for tightness in range(TIGHTEST + 1)]
    pages, least = min(layout.waste() for _, layout in found)
    return next(each for each, layout in found if layout.pages == pages and layout.waste()[1] < least + LARGE_GAP)


def fill_gaps(document: Document, measure: Measure) -> tuple[Document, Layout]:
    """What follows in the same section goes before a table or figure that would leave much of a page empty.

    Returns:
        The document and what it is like.
    """
    layout, block = measure(document), 1
    while block < len(document.blocks):
        if isinstance(document.blocks[block], Table | Figure) and layout.gap(block) > LARGE_GAP:
            pages, empty = layout.waste()
            for blocks in _reorder(document.blocks, block):
                other = replace(document, blocks=blocks)
                found = measure(other)
                if found.waste() < (pages, empty - 0.02):
                    document, layout = other, found
                    break
        block += 1
    return document, layout


def _reorder(blocks: Sequence[Block], late: int) -> Iterator[list[Block]]:
    """Orders that may fill the gap before a block: the text that follows first, the next block, the last one after."""
    candidates = [_find_text(blocks, late)]
    if late + 1 < len(blocks) and isinstance(blocks[late + 1], Table | Figure):
        candidates.append(range(late + 1, late + 2))
    for moved in filter(None, candidates):
        after = [*blocks[late : moved.start], *blocks[moved.stop :]]
        yield [*blocks[:late], *blocks[moved.start : moved.stop], *after]
    if isinstance(blocks[late - 1], Table | Figure):
        yield [*blocks[: late - 1], blocks[late], blocks[late - 1], *blocks[late + 1 :]]


def _find_text(blocks: Sequence[Block], start: int) -> range:
    """The first text after a block, with its heading, in the same section of level 1; empty where there is none."""
    for place in range(start + 1, len(blocks)):
        block = blocks[place]
        if isinstance(block, Heading):
            if block.level == 1 or place + 1 == len(blocks) or isinstance(blocks[place + 1], Table | Figure | Heading):
                return range(0)
            return range(place, place + 2)
        if isinstance(block, Paragraph | Bullets):
            return range(place, place + 1)
    return range(0)


def list_steps(document: Document) -> list[Document]:
    """The report whole, and then shorter step by step: fewer tables and figures, then fewer parts of sections."""
    optional = [block for block in document.blocks if isinstance(block, Table | Figure) and block.weight < NEEDED]
    kinds = [Path(block.path).stem if isinstance(block, Figure) else block.name for block in optional]
    again = [kind in kinds[:number] for number, kind in enumerate(kinds)]
    order = sorted(range(len(optional)), key=lambda number: (optional[number].weight, not again[number], -number))
    ordered = [optional[number] for number in order]
    steps = [_shorten(document, [], MOST_ROWS)]
    for number, block in enumerate(ordered):
        rows = FEWER_ROWS[block.weight]
        if rows < FEWER_ROWS[ordered[number - 1].weight if number else EXTRA]:
            steps.append(_shorten(document, ordered[:number], rows))
        steps.append(_shorten(document, ordered[: number + 1], rows))
    steps.append(_shorten(document, ordered, FEWER_ROWS[NEEDED], is_last=True))
    parts = sum(isinstance(block, Heading) and block.level > 1 for block in document.blocks)
    return [*steps, *(_drop_parts(steps[-1], count) for count in range(1, parts - KEPT_PARTS + 1))]


def _shorten(
    document: Document, left_out: Sequence[Table | Figure], most_rows: int, *, is_last: bool = False
) -> Document:
    elsewhere = {block.name: block.source for block in left_out}
    blocks = [
        cut_table(block, MOST_ROWS if block.weight == NEEDED and not is_last else most_rows)
        if isinstance(block, Table)
        else block
        for block in document.blocks
        if not isinstance(block, Table | Figure) or block.name not in elsewhere
    ]
    return replace(document, blocks=blocks, elsewhere=elsewhere)


def _drop_parts(document: Document, count: int) -> Document:
    """A report whose last parts of sections, so many of them, are but named."""
    starts = [number for number, block in enumerate(document.blocks) if isinstance(block, Heading)]
    ends = [*starts[1:], len(document.blocks)]
    parts = [
        (start, end)
        for start, end in zip(starts, ends, strict=True)
        if isinstance(heading := document.blocks[start], Heading) and heading.level > 1
    ][-count:]
    dropped = {number for start, end in parts for number in range(start, end)}
    titles = [heading.text for start, _ in parts if isinstance(heading := document.blocks[start], Heading)]
    blocks = [block for number, block in enumerate(document.blocks) if number not in dropped]
    note = Paragraph(f"In report.html alone: {'; '.join(titles)}.")
    blocks.insert(max(dropped) + 1 - len(dropped), note)
    gone = [document.blocks[number] for number in dropped]
    elsewhere = {block.name: block.source for block in gone if isinstance(block, Table | Figure)}
    return replace(document, blocks=blocks, elsewhere={**document.elsewhere, **elsewhere})


def cut_table(table: Table, most: int) -> Table:
    """A table with at most `most` rows, and a note that says how many there are besides.

    The last rows go; of settings the last ones of the kind of which there are most.
    """
    hidden = sum(not row.title for row in table.rows) - most
    if hidden <= 0 or table.is_whole:
        return table
    kept = _cut_longest(table.rows, hidden) if table.is_code else _cut_last(table.rows, hidden)
    said = f"{hidden} more {'row is' if hidden == 1 else 'rows are'} in {table.source}."
    return replace(table, rows=kept, notes=[*table.notes, said])


def _cut_last(rows: Sequence[Row], hidden: int) -> list[Row]:
    kept = list(rows)
    while hidden or kept[-1].title:  # a title of no rows says nothing
        hidden -= not kept.pop().title
    return kept


def _cut_longest(rows: Sequence[Row], hidden: int) -> list[Row]:
    sections: list[list[Row]] = [[]]
    for row in rows:
        if row.title:
            sections.append([])
        sections[-1].append(row)
    for _ in range(hidden):
        max(sections, key=lambda section: sum(not row.title for row in section)).pop()
    return [row for section in sections if any(not row.title for row in section) for row in section]
