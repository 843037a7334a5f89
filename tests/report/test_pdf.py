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
from patchshift.report.document import Block, Bullets, Document, Field, Figure, Heading, Paragraph, Row, Table
from patchshift.report.pdf import typeset, write_document
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
    from patchshift.report.document import refer

    document = make_document()
    with pytest.raises(UserError, match="label"):
        typeset(replace(document, blocks=[Paragraph(refer("Table", "none"))]), tmp_path)


def test_what_the_fonts_do_not_have_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    typeset(make_document(Paragraph("naïve Größe ≈ −0.1 Ωж→")), tmp_path)
    assert not caplog.messages
    typeset(make_document(Paragraph("你好, 你好")), tmp_path)
    assert caplog.messages == ["report.pdf shows boxes for what its fonts do not have: 你好. report.html shows it."]
