"""What a printed report leaves out where pages are few, and in which order what it shows stands."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import pairwise

import pytest

from patchshift.report.document import (
    EXTRA,
    NEEDED,
    TELLING,
    TIGHTEST,
    USUAL,
    Block,
    Document,
    Field,
    Figure,
    Heading,
    Paragraph,
    Row,
    Table,
    refer,
)
from patchshift.report.document_fit import (
    MOST_PAGES,
    MOST_ROWS,
    Layout,
    Measure,
    cut_table,
    fill_gaps,
    fit_document,
    list_steps,
)


def make_document(*blocks: Block) -> Document:
    return Document("study", "title", "0", "choice", [], [], blocks)


def make_table(name: str, rows: int = 1, weight: int = USUAL) -> Table:
    return Table(name, name, ["a"], [Row([Field(str(number))]) for number in range(rows)], weight=weight)


def make_figure(name: str, weight: int = USUAL, kind: str = "") -> Figure:
    return Figure(name, f"figures/{kind or name}.svg", name, weight)


def exhibits(document: Document) -> list[str]:
    return [block.name for block in document.blocks if isinstance(block, Table | Figure)]


def lay_out(heights: dict[str, float]) -> Measure:
    """A typesetter: blocks stand one below the other, each whole; those without a height take a tenth of a page."""

    def measure(document: Document) -> Layout:
        page, place = 1, 0.0
        starts, ends = [], []
        for block in document.blocks:
            height = heights.get(block.name, 0.1) if isinstance(block, Table | Figure) else 0.1
            height *= 1 - 0.1 * document.tightness
            if place + height > 1 + 1e-9:
                page, place = page + 1, 0.0
            starts.append((page, place))
            place += height
            ends.append((page, place))
        return Layout(page, starts, ends)

    return measure


def test_what_has_room_is_printed_whole_and_loosely() -> None:
    document = make_document(Heading("one"), make_table("a"), make_figure("b"))
    assert fit_document(document, lay_out({})).content() == document.content()


def test_a_report_has_at_most_so_many_pages_and_all_that_it_needs() -> None:
    blocks = [make_figure(f"usual-{number}") for number in range(20)]
    needed = [make_figure(f"needed-{number}", NEEDED) for number in range(4)]
    heights = dict.fromkeys([each.name for each in [*blocks, *needed]], 1.0)
    found = fit_document(make_document(*blocks[:10], *needed, *blocks[10:]), lay_out(heights))
    assert lay_out(heights)(found).pages == MOST_PAGES
    assert exhibits(found) == ["usual-0", "usual-1", "usual-2", "usual-3", *(each.name for each in needed)]
    assert found.elsewhere["usual-19"] == "figures/usual-19.svg"
    assert len(found.elsewhere) == 16


def test_extras_go_first_then_kinds_shown_before_then_the_last() -> None:
    document = make_document(
        make_figure("first", TELLING),
        make_figure("bars-1", kind="bars"),
        make_figure("bars-2", kind="bars"),
        make_figure("extra", EXTRA),
        make_table("last"),
    )
    gone = [set(step.elsewhere) for step in list_steps(document)]
    order = [name for one, next_one in pairwise(gone) for name in next_one - one]
    assert order == ["extra", "bars-2", "last", "bars-1", "first"]


def test_a_report_that_is_nearly_too_long_is_set_tighter_before_anything_goes() -> None:
    figures = [make_figure(f"{number}", kind="bars") for number in range(17)]
    measure = lay_out({figure.name: 0.51 for figure in figures})
    found = fit_document(make_document(*figures[:9]), measure)
    assert found.tightness == 1
    assert len(exhibits(found)) == 9
    assert measure(found).pages <= MOST_PAGES < measure(replace(found, tightness=0)).pages


def test_what_is_needed_is_printed_even_if_it_is_too_long() -> None:
    figures = [make_figure(f"{number}", NEEDED) for number in range(12)]
    found = fit_document(make_document(*figures), lay_out({figure.name: 1.0 for figure in figures}))
    assert len(exhibits(found)) == 12


def test_as_a_last_resort_the_last_parts_are_but_named() -> None:
    parts = [[Heading(f"part {number}", 2), Paragraph(""), *[Paragraph("")] * 20] for number in range(6)]
    document = make_document(Heading("Results"), *(block for part in parts for block in part), Heading("End"))
    found = fit_document(document, lay_out({}))
    titles = [block.text for block in found.blocks if isinstance(block, Heading)]
    assert titles[:4] == ["Results", "part 0", "part 1", "part 2"]
    assert titles[-1] == "End"
    assert lay_out({})(found).pages <= MOST_PAGES
    named = [title for title in (f"part {number}" for number in range(6)) if title not in titles]
    assert named
    assert found.blocks[-2] == Paragraph(f"In report.html alone: {'; '.join(named)}.")


def names(blocks: Sequence[Block]) -> list[str]:
    """The names of tables and figures, the texts of all else."""
    return [str(block.name if isinstance(block, Table | Figure) else asdict(block)["text"]) for block in blocks]


def test_text_of_the_section_fills_the_page_that_a_figure_does_not_fit_on() -> None:
    document = make_document(
        Heading("one"), Paragraph("before"), make_figure("large"), Paragraph("after"), Heading("two"), Paragraph("next")
    )
    found, layout = fill_gaps(document, lay_out({"large": 0.85}))
    assert names(found.blocks) == ["one", "before", "after", "large", "two", "next"]
    assert layout == lay_out({"large": 0.85})(found)


def test_no_figure_leaves_its_section() -> None:
    document = make_document(
        Heading("one"), Paragraph("before"), make_figure("large"), Heading("two"), Paragraph("next")
    )
    found, _ = fill_gaps(document, lay_out({"large": 0.85}))
    assert found == document


def test_a_heading_goes_with_its_text() -> None:
    document = make_document(
        Heading("one"), Paragraph("a"), make_figure("large"), Heading("part", 2), Paragraph("b"), Paragraph("c")
    )
    found, _ = fill_gaps(document, lay_out({"large": 0.85}))
    assert names(found.blocks) == ["one", "a", "part", "b", "c", "large"]


def test_text_that_fills_nothing_stays_where_it_is() -> None:
    document = make_document(Heading("one"), make_figure("a"), make_figure("large"), Paragraph("after"))
    assert fill_gaps(document, lay_out({"a": 0.8, "large": 1.0}))[0] == document


def test_a_smaller_figure_goes_before_a_larger_one_that_does_not_fit() -> None:
    document = make_document(Heading("one"), Paragraph("text"), make_figure("large"), make_figure("small"))
    found, _ = fill_gaps(document, lay_out({"large": 0.9, "small": 0.5}))
    assert names(found.blocks) == ["one", "text", "small", "large"]


def test_a_table_says_how_many_rows_it_does_not_show_and_where_they_are() -> None:
    table = replace(make_table("a", rows=30), source="metrics.csv", notes=["note"])
    cut = cut_table(table, MOST_ROWS)
    assert cut.rows == table.rows[:MOST_ROWS]
    assert cut.notes == ["note", "6 more rows are in metrics.csv."]
    assert cut_table(table, 29).notes[-1] == "1 more row is in metrics.csv."
    assert cut_table(table, 30) == table
    assert cut_table(replace(table, is_whole=True), 5).rows == table.rows


def test_a_cut_table_does_not_end_with_a_title() -> None:
    rows = [Row(title="one"), Row([Field("a")]), Row([Field("b")]), Row(title="two"), Row([Field("c")])]
    assert cut_table(replace(make_table("a"), rows=rows), 2).rows == rows[:3]


def test_settings_are_cut_where_there_are_most() -> None:
    few = [Row(title="Splits"), Row([Field("split")])]
    many = [Row(title="Detectors"), *(Row([Field(f"{number}")]) for number in range(9))]
    last = [Row(title="Domains"), Row([Field("clean")])]
    table = replace(make_table("settings"), rows=[*few, *many, *last], is_code=True)
    assert cut_table(table, 5).rows == [*few, *many[:4], *last]


@pytest.mark.parametrize("weight", [USUAL, NEEDED])
def test_needed_tables_keep_their_rows_while_others_can_go(weight: int) -> None:
    figures = [make_figure(f"{number}") for number in range(3)]
    document = make_document(make_table("long", 20, weight), make_table("other", 1, TELLING), *figures)
    rows = {
        block.name: len(block.rows)
        for block in list_steps(document)[3].blocks  # with one figure less
        if isinstance(block, Table)
    }
    assert rows["long"] == (20 if weight == NEEDED else 16)


def test_what_is_left_out_is_named_in_the_text_by_its_file() -> None:
    figures = [make_figure(f"{number}") for number in range(10)]
    texts = [Paragraph([*refer("Figure", figure.name), " shows it."]) for figure in figures]
    document = make_document(*(block for pair in zip(texts, figures, strict=True) for block in pair))
    found = fit_document(document, lay_out({figure.name: 0.9 for figure in figures}))
    content = found.content()["blocks"]
    said = [block["text"] for block in content if block["kind"] == "paragraph"]
    assert said[0] == ["Figure\N{NO-BREAK SPACE}", {"to": "0"}, " shows it."]
    assert said[-1] == ["figures/9.svg", " shows it."]
    assert found.tightness <= TIGHTEST
