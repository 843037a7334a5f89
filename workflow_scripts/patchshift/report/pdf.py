"""Typeset the printed report of a study by typst, which comes as one wheel with its fonts.

Equal inputs give equal bytes: fonts are those of typst and, for figures, of matplotlib, never the system's, and the
file names no time. Nothing is fetched.
Tested in tests/report/test_pdf.py.
"""

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib as mpl
from matplotlib.ft2font import FT2Font

from patchshift.errors import UserError
from patchshift.report import wording
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.document import Block, Document, Field, Heading, Paragraph
from patchshift.report.document_experiments import describe_experiments, describe_mistakes
from patchshift.report.document_fit import Layout, fit_document
from patchshift.report.document_next import discuss_limits, propose_work
from patchshift.report.document_results import describe_answer, describe_pools, describe_shifts
from patchshift.report.document_setup import describe_context, describe_data, describe_methods, describe_protocol
from patchshift.report.document_undecided import describe_hardest
from patchshift.report.pairing import Share, hundredths
from patchshift.report.recommendation import Recommendation, explain_lack, recommend
from patchshift.report.sections.robustness import describe_robustness
from patchshift.report.templating import show_figure, show_range

FONTS = Path(mpl.get_data_path(), "fonts", "ttf")
MOST_NAMED = 20  # characters without a glyph that a warning names

log = logging.getLogger(__name__)

_REST = "The rest of the study does without it: `snakemake --keep-going` and the tables need no typst"


def write_document(data: StudyData, provenance: Mapping[str, Any]) -> Document:
    """The report of a study whose tables and figures are made.

    Args:
        data: the study.
        provenance: the question, the protocol and the settings of all ids (`plan.provenance`).
    """
    results, spec = data.results, data.spec
    recommendation = recommend(results, data.domains, spec)
    told = recommendation.shift_setup if recommendation else None
    robustness = describe_robustness(data, told, len(recommendation.cells) if recommendation else 0)
    blocks: list[Block] = [
        *describe_context(data, provenance, recommendation.domain if recommendation else None),
        *describe_data(data, provenance.get("backbones", {})),
        *describe_methods(data, provenance),
        *describe_protocol(results, spec),
        Heading("Results"),
        *describe_answer(data, recommendation),
        *describe_shifts(data, robustness, told, wording.tell_shift_setup(recommendation) if recommendation else ""),
        *describe_pools(data),
        *describe_experiments(data, recommendation),
        *(describe_mistakes(data) or describe_hardest(data)),
        *discuss_limits(data, provenance),
        *propose_work(data, provenance, recommendation),
        Heading("Where everything is"),
        Paragraph(
            f"This document is made from the tables beside it, in {data.folder.as_posix()}: metrics.csv has every "
            "figure, predictions.csv every test image's score and decision, timings.csv times and memory; report.html "
            "shows single images, all tables and the digests of what they come from. Equal inputs give an equal file."
        ),
    ]
    return Document(
        data.plan.study,
        provenance["question"],
        version("patchshift"),
        wording.recommend_setup(recommendation, "" if recommendation else explain_lack(results, data.domains)),
        _list_facts(recommendation) if recommendation else [],
        wording.describe_choice(recommendation) if recommendation else [],
        blocks,
    )


def _list_facts(recommendation: Recommendation) -> list[tuple[str, Field]]:
    """The three figures of the answer."""
    summary, several = recommendation.summary, len(recommendation.cells) > 1
    auroc = f"Image AUROC, mean of {len(recommendation.cells)} categories" if several else "Image AUROC"
    facts = [(auroc, Field(show_figure(summary.auroc), show_range(summary.auroc)))]
    for heading, share in (
        ("Of 100 defective images, expect to miss", summary.misses),
        ("Of 100 good images, expect to flag", summary.false_alarms),
    ):
        facts.append((heading, _hundred(share) if share else Field("undefined", summary.reason)))
    return facts


def _hundred(share: Share) -> Field:
    return Field(hundredths(share.value), share.plain)


def typeset(document: Document, folder: Path) -> bytes:
    """A document as PDF, of as many pages as `document_fit` allows.

    Args:
        document: what it says.
        folder: the study's, which the paths of figures start from; no file outside it can be read.

    Raises:
        UserError: if typst is missing or cannot do it.
    """
    try:
        import typst
    except ImportError as error:
        raise UserError(
            f"report.pdf needs typst, which cannot be loaded here ({error}): pip install typst. {_REST}."
        ) from error
    template = files("patchshift.report").joinpath("templates", "report.typ").read_bytes()
    if boxes := _find_without_glyph(json.dumps(document.content(), ensure_ascii=False)):
        log.warning("report.pdf shows boxes for what its fonts do not have: %s. report.html shows it.", boxes)
    with _choose_fonts() as font_folder:
        fonts = typst.Fonts(include_system_fonts=False, font_paths=[font_folder])

        def compiler(shown: Document) -> Any:
            content = json.dumps(shown.content(), ensure_ascii=False)
            return typst.Compiler(
                template,
                root=folder.resolve(),
                font_paths=fonts,
                ignore_system_fonts=True,
                sys_inputs={"document": content},
            )

        def measure(shown: Document) -> Layout:
            return Layout(**json.loads(compiler(shown).query("<layout>", field="value", one=True)))

        try:
            fitted = fit_document(document, measure)
            compiled = compiler(fitted).compile(format="pdf")
        except RuntimeError as error:
            raise UserError(f"typst {version('typst')} cannot typeset the report: {error}. {_REST}.") from error
    assert isinstance(compiled, bytes)
    if fitted.elsewhere:
        log.info("report.pdf names, but does not print: %s", ", ".join(dict.fromkeys(fitted.elsewhere.values())))
    return compiled


@contextmanager
def _choose_fonts() -> Iterator[str]:
    """A folder of the fonts that figures are drawn in alone: one of matplotlib's has a box for every letter."""
    with TemporaryDirectory() as folder:
        for font in sorted(FONTS.glob("DejaVuSans*.ttf")):
            shutil.copy(font, folder)
        yield folder


def _find_without_glyph(text: str) -> str:
    """The first characters of a text, each once, that the widest font at hand has no glyph for."""
    known = FT2Font(str(FONTS / "DejaVuSans.ttf")).get_charmap()
    lacking = dict.fromkeys(letter for letter in text if letter.isprintable() and ord(letter) not in known)
    return "".join(list(lacking)[:MOST_NAMED])
