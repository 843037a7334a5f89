"""The printed report as a file: what it says can be read from it, and names are never markup."""

import io
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader

from patchshift.errors import UserError
from patchshift.report.document import Block, Bullets, Document, Field, Figure, Heading, Paragraph, Row, Table, refer
from patchshift.report.pdf import FONTS, typeset, write_document
from patchshift.runtime.files import digest_bytes

NAMES = [
    "#panic(1)",
    "$x^2$",
    "_under_ *bold* `raw`",
    "@reference <label>",
    "\\#escaped \\u{41}",
    "\"quoted\" 'single'",
    "[content] = heading",
    "// comment /* block */",
    '#include "/etc/passwd" #read("../secret")',
    "naïve Größe ≈ −0.1",
]


def make_document(*blocks: Block, name: str = "study") -> Document:
    return Document(name, name, "0", name, [(name, Field(name, name))], [name], blocks)


def read_text(pdf: bytes) -> str:
    """All text, without the breaks that the layout has put in."""
    text = "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages)
    return squeeze(text)


def squeeze(text: str) -> str:
    return re.sub(r"[\s\u200b\u00ad\u00a0]+", "", text)


@pytest.fixture(scope="module")
def drawn(made_once: tuple[Path, Any]) -> bytes:
    """The made-up study's, with a figure."""
    folder, study = made_once
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return typeset(write_document(study.data, study.provenance), study.folder)


def test_it_holds_the_figures_of_the_document_and_its_question(made: Any, drawn: bytes) -> None:
    text = read_text(drawn)
    document = write_document(made.data, made.provenance)
    assert squeeze(made.provenance["question"]) in text
    shown = [
        field for block in document.blocks if isinstance(block, Table) for row in block.rows for field in row.fields
    ]
    assert len(shown) > 100
    assert [field for field in shown if squeeze(field.text) not in text or squeeze(field.below) not in text] == []


def test_the_made_up_study_has_a_few_pages_each_with_its_number(drawn: bytes) -> None:
    pages = PdfReader(io.BytesIO(drawn)).pages
    assert 4 <= len(pages) <= 8
    for number, page in enumerate(pages, start=1):
        assert f"{number}/{len(pages)}" in squeeze(page.extract_text())
        assert "made" in page.extract_text()


def test_equal_inputs_give_equal_bytes_and_name_no_time(
    made: Any, drawn: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1234567890")
    again = typeset(write_document(made.data, made.provenance), made.folder)
    assert digest_bytes(again) == digest_bytes(drawn)
    assert "/CreationDate" not in (PdfReader(io.BytesIO(drawn)).metadata or {})
    assert str(Path.cwd()).encode() not in drawn


@pytest.mark.parametrize("name", NAMES)
def test_a_name_reaches_the_page_as_it_is_wherever_it_stands(name: str, tmp_path: Path) -> None:
    blocks = [
        Heading(name),
        Paragraph([name, name], lead=name),
        Bullets(name, [name]),
        Table("one", name, [name, name], [Row([Field(name, name, mark=name)] * 2), Row(title=name)], (0,), [name]),
        Table("two", name, [name, name], [Row([Field(name)] * 2)], (0, 1), is_code=True),
    ]
    text = read_text(typeset(make_document(*blocks, name=name), tmp_path))
    # title, choice, fact twice, summary, heading, paragraph twice and lead, bullets twice, tables; and page heads
    assert text.count(squeeze(name)) >= 22


def test_a_caption_is_no_markup_where_pictures_are(tmp_path: Path) -> None:
    (tmp_path / "x.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="90" height="40" viewBox="0 0 90 40"/>'
    )
    text = read_text(typeset(make_document(Figure("x", "x.svg", NAMES[0])), tmp_path))
    assert f"Figure1.{NAMES[0]}" in text


def test_no_file_outside_the_study_can_be_shown(tmp_path: Path) -> None:
    (tmp_path / "secret.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    (tmp_path / "study").mkdir()
    with pytest.raises(UserError, match="cannot typeset the report"):
        typeset(make_document(Figure("x", "../secret.svg", "secret")), tmp_path / "study")


def test_long_names_and_many_columns_stay_on_the_page(tmp_path: Path) -> None:
    name = "a_very_long_detector_name-with/parts_of_every_kind" * 3
    fields = [Field("0.912", "0.861–0.955")] * 9
    rows = [Row([Field(f"{name}_{number}"), *fields]) for number in range(60)]
    pdf = typeset(make_document(Table("wide", name, [name, *["specificity"] * 9], rows, (0,))), tmp_path)
    pages = PdfReader(io.BytesIO(pdf)).pages
    assert len(pages) > 1
    right = float(pages[0].mediabox.width)

    def check(text: str, matrix: list[float], *_: Any) -> None:
        assert not text.strip() or 0 < matrix[4] < right - 40

    for page in pages:
        page.extract_text(visitor_text=check)
    assert "specificity" in pages[-1].extract_text()  # the header again


def find_rows(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"row(\d+)start", text)]


def test_a_table_that_goes_on_says_so_with_its_header_and_no_row_breaks_in_two(tmp_path: Path) -> None:
    words = [f"row{number}start " + "word " * 150 + f"row{number}end" for number in range(20)]
    rows = [Row([Field(str(number)), Field(text)]) for number, text in enumerate(words)]
    table = Table("one", "A long table.", ["heading-a", "heading-b"], rows, words=(0, 1), is_whole=True)
    other = Table("two", "Another one.", ["a"], [Row([Field("x")])])
    reader = PdfReader(io.BytesIO(typeset(make_document(table, other), tmp_path)))
    pages = [squeeze(page.extract_text()) for page in reader.pages]
    assert len(pages) > 2
    assert [number for page in pages for number in find_rows(page)] == list(range(20))
    for number, page in enumerate(pages):
        assert all(f"row{row}end" in page for row in find_rows(page))
        assert ("Table1.(continued)" in page) == (number > 0 and bool(find_rows(page)))
        assert ("heading-b" in page) == bool(find_rows(page))
    assert "Table2.Anotherone." in pages[-1]
    assert "Table2.(continued)" not in "".join(pages)


def test_a_study_of_many_experiments_has_eight_pages_and_names_what_it_does_not_print(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    (tmp_path / "figures").mkdir()
    blocks: list[Block] = [Heading("Results")]
    for number in range(30):
        path = f"figures/bars_{number}.svg"
        (tmp_path / path).write_text(
            '<svg xmlns="http://www.w3.org/2000/svg" width="620" height="300" viewBox="0 0 620 300"/>'
        )
        rows = [Row([Field(f"setup {row}"), Field("0.9", "0.8–1.0")]) for row in range(20)]
        blocks += [
            Heading(f"Experiment {number}", 2),
            Paragraph([*refer("Table", f"t{number}"), " and ", *refer("Figure", f"f{number}"), " show it."]),
            Table(f"t{number}", "Means.", ["setup", "image AUROC"], rows, source=f"experiments/{number}/summary.csv"),
            Figure(f"f{number}", path, "Bars."),
        ]
    reader = PdfReader(io.BytesIO(typeset(make_document(*blocks), tmp_path)))
    assert 6 <= len(reader.pages) <= 8
    text = squeeze("".join(page.extract_text() for page in reader.pages))
    assert "Table1andFigure1showit." in text
    assert "experiments/29/summary.csvandfigures/bars_29.svgshowit." in text
    assert "report.pdf names, but does not print: " in caplog.text
    assert "figures/bars_29.svg" in caplog.text


def test_figures_and_tables_stay_in_their_section_and_after_the_title(tmp_path: Path) -> None:
    (tmp_path / "x.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="90" height="400"/>')
    rows = [Row([Field("x")])] * 10
    blocks: list[Block] = []
    for number in range(4):
        figure = Figure(f"f{number}", "x.svg", f"caption-{number}.")
        blocks += [Heading(f"Section-{number}"), Table(f"t{number}", f"table-{number}.", ["a"], rows), figure]
    text = read_text(typeset(make_document(*blocks, name="the-title"), tmp_path))
    parts = re.split(r"\d?Section-(?=\d)", text)
    assert len(parts) == 5
    assert "caption-" not in parts[0]
    for number, part in enumerate(parts[1:]):
        assert part.startswith(f"{number}")
        assert set(re.findall(r"(?:table|caption)-\d", part)) == {f"table-{number}", f"caption-{number}"}


def test_the_font_that_draws_a_box_for_every_letter_is_not_used(tmp_path: Path) -> None:
    assert list(FONTS.glob("LastResort*"))  # or there is none to leave out any more
    pdf = typeset(make_document(Paragraph("你好 naïve ж →")), tmp_path)
    fonts = [font for page in PdfReader(io.BytesIO(pdf)).pages for font in page["/Resources"]["/Font"].values()]  # type: ignore[index]
    names = {str(font.get_object()["/BaseFont"]) for font in fonts}
    assert any("Libertinus" in name for name in names)
    assert not [name for name in names if "LastResort" in name]


def test_where_typst_is_missing_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "typst", None)
    with pytest.raises(UserError, match=r"report\.pdf needs typst.*pip install typst.*does without it"):
        typeset(make_document(), tmp_path)


def test_a_study_without_masks_or_thresholds_is_still_a_document(make_study: Callable[..., Any]) -> None:
    study = make_study(validation=False, clean={"title": "In domain", "train": ["d"]})
    study.analyse()
    text = read_text(typeset(write_document(study.data, study.provenance), study.folder))
    assert "undefined" in text
    assert "nothresholdcanberecommended" in text


def test_what_is_referred_to_must_be_there(tmp_path: Path) -> None:
    document = make_document()
    with pytest.raises(UserError, match="label"):
        typeset(replace(document, blocks=[Paragraph(refer("Table", "none"))]), tmp_path)


def test_what_the_fonts_do_not_have_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    typeset(make_document(Paragraph("naïve Größe ≈ −0.1 Ωж→")), tmp_path)
    assert not caplog.messages
    typeset(make_document(Paragraph("你好, 你好")), tmp_path)
    assert caplog.messages == ["report.pdf shows boxes for what its fonts do not have: 你好. report.html shows it."]
