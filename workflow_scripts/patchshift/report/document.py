"""A printed report as data: its blocks, in order, which `templates/report.typ` lays out.

No text is ever markup: names reach the page as they are, whatever characters they have.
Tested in tests/report/test_document.py.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from patchshift.report.pairing import Share
from patchshift.report.results import Value
from patchshift.report.templating import show_figure, show_range

EXTRA, USUAL, TELLING, NEEDED = range(4)
"""How much a report needs a table or figure, where there is no room for all: those needed are always printed."""
TIGHTEST = 3


@dataclass(frozen=True)
class Number:
    """The number of a printed table or figure, which the template knows."""

    to: str


@dataclass(frozen=True)
class Reference:
    """Stands in a text for some tables or figures: `Table 1`, `Figures 2 and 3`; the file of one that is not printed.

    Attributes:
        kind: `Table` or `Figure`.
        names: of the tables or figures.
    """

    kind: str
    names: Sequence[str]

    def word(self, elsewhere: Mapping[str, str]) -> list[str | Number]:
        """What the text says: parts of it, numbers among them.

        Args:
            elsewhere: name of a table or figure that is not printed -> the file that has it.
        """
        numbers: list[str | Number] = [Number(name) for name in self.names if name not in elsewhere]
        files = dict.fromkeys(elsewhere[name] for name in self.names if name in elsewhere)
        named = [*numbers, *files]
        parts: list[str | Number] = (
            [f"{self.kind}{'s' if len(numbers) > 1 else ''}\N{NO-BREAK SPACE}"] if numbers else []
        )
        for place, each in enumerate(named):
            parts += [" and " if place == len(named) - 1 else ", ", each] if place else [each]
        return parts


Text = str | Sequence[str | Reference]
"""Plain text, with references in it."""


@dataclass(frozen=True)
class Heading:
    """The title of a section: level 1, or of a part of it: level 2."""

    text: str
    level: int = 1


@dataclass(frozen=True)
class Paragraph:
    """Text; `lead` are its first words, in bold; a note is in small type."""

    text: Text
    lead: str = ""
    is_note: bool = False


@dataclass(frozen=True)
class Bullets:
    """Texts as a list, under the words that open it."""

    opening: Text
    items: Sequence[Text]


@dataclass(frozen=True)
class Field:
    """One field of a table.

    Attributes:
        text: what stands there.
        below: in small type beneath it, such as an interval.
        is_bold: whether it stands out.
        mark: beside it, pale.
    """

    text: str
    below: str = ""
    is_bold: bool = False
    mark: str = ""


@dataclass(frozen=True)
class Row:
    """One row: fields, one for each column; or a title over all columns.

    Attributes:
        fields: none of a title.
        title: of the rows that follow.
        opens: whether a line sets it apart from the row before.
        is_pale: whether it is beside the point, such as a published figure.
    """

    fields: Sequence[Field] = ()
    title: str = ""
    opens: bool = False
    is_pale: bool = False


@dataclass(frozen=True)
class Table:
    """A table under its caption.

    Attributes:
        name: what references call it.
        caption: what it shows.
        header: heading of each column.
        rows: in order.
        words: columns of words, which stand at the left and may break; all others hold numbers.
        notes: below it.
        is_code: whether it shows settings, in type of fixed width.
        source: the file that has it whole, from the study's folder.
        weight: how much the report needs it.
        is_whole: whether it always has all its rows.
    """

    name: str
    caption: str
    header: Sequence[str]
    rows: Sequence[Row]
    words: Sequence[int] = (0,)
    notes: Sequence[str] = ()
    is_code: bool = False
    source: str = "report.html"
    weight: int = USUAL
    is_whole: bool = False


@dataclass(frozen=True)
class Figure:
    """A picture over its caption.

    Attributes:
        name: what references call it.
        path: the file, from the study's folder.
        caption: what it shows.
        weight: how much the report needs it.
    """

    name: str
    path: str
    caption: str
    weight: int = USUAL

    @property
    def source(self) -> str:
        """The file that has it."""
        return self.path


Block = Heading | Paragraph | Bullets | Table | Figure


@dataclass(frozen=True)
class Document:
    """A report.

    Attributes:
        study: its name, at the head of every page.
        title: the question.
        version: of this program.
        choice: the answer in one sentence.
        facts: heading -> figure and what stands below it.
        summary: what must be known of the answer.
        blocks: all else.
        elsewhere: name of a table or figure that is not printed -> the file that has it.
        tightness: 0 to `TIGHTEST`: how much pictures and gaps are smaller than they should be.
    """

    study: str
    title: str
    version: str
    choice: str
    facts: Sequence[tuple[str, Field]]
    summary: Sequence[Text]
    blocks: Sequence[Block] = ()
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    tightness: int = 0

    def content(self) -> dict[str, Any]:
        """What the template reads: plain types, each block with its `kind`, references in words."""
        blocks = [{**asdict(block), **self._word(block), "kind": type(block).__name__.lower()} for block in self.blocks]
        return {**asdict(self), "summary": list(map(self._text, self.summary)), "blocks": blocks}

    def _word(self, block: Block) -> dict[str, Any]:
        if isinstance(block, Paragraph):
            return {"text": self._text(block.text)}
        if isinstance(block, Bullets):
            return {"opening": self._text(block.opening), "items": list(map(self._text, block.items))}
        return {}

    def _text(self, text: Text) -> list[Any]:
        parts: list[Any] = []
        for part in [text] if isinstance(text, str) else text:
            parts += [part] if isinstance(part, str) else part.word(self.elsewhere)
        return [asdict(part) if isinstance(part, Number) else part for part in parts]


def refer(kind: str, *names: str) -> list[str | Reference]:
    """What stands in a text for some tables (`Table`) or figures (`Figure`)."""
    return [Reference(kind, names)]


def estimate(value: Value, *, signed: bool = False, is_bold: bool = False) -> Field:
    """A value over its interval, with the digits that this supports."""
    return Field(show_figure(value, signed=signed), show_range(value, signed=signed), is_bold)


def share(mistakes: Share | None) -> Field:
    """`7 of 20` over its interval."""
    if mistakes is None:
        return Field("undefined")
    return Field(f"{mistakes.count} of {mistakes.total}", show_range(mistakes))


def fields(texts: Iterable[object]) -> list[Field]:
    """Fields of text alone."""
    return [Field(str(text)) for text in texts]


def find_figure(root: Path, folder: Path, name: str, suffix: str = "svg") -> str | None:
    """The path of a drawn figure from the study's folder; None where there was nothing to draw.

    Args:
        root: the study's folder.
        folder: that whose `figures/` it is in: the study's, or that of one of its experiments.
        name: of the figure.
        suffix: its kind; figures with photographs are smaller as PNG.
    """
    path = folder / "figures" / f"{name}.{suffix}"
    return path.relative_to(root).as_posix() if path.is_file() else None
