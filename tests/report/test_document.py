"""What the printed report says, block by block, of the made-up study and of variants of it."""

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from patchshift.report.background import flatten_settings
from patchshift.report.document import Bullets, Document, Figure, Heading, Number, Paragraph, Reference, Table, refer
from patchshift.report.document_settings import SHARED, list_ids
from patchshift.report.pdf import write_document
from patchshift.report.recommendation import recommend
from patchshift.report.wording import describe_choice


@pytest.fixture
def document(made: Any) -> Document:
    return write_document(made.data, made.provenance)


def strings(content: object) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict):
        for value in content.values():
            yield from strings(value)
    elif isinstance(content, list | tuple):
        for value in content:
            yield from strings(value)


def sections(document: Document) -> list[str]:
    return [block.text for block in document.blocks if isinstance(block, Heading) and block.level == 1]


def tables(document: Document) -> dict[str, Table]:
    return {block.name: block for block in document.blocks if isinstance(block, Table)}


def test_a_report_has_the_sections_of_a_written_one(document: Document) -> None:
    assert sections(document) == [
        "Context and definitions",
        "Data and splits",
        "Methods and settings",
        "Protocol",
        "Results",
        "Error analysis",
        "Limits and threats to validity",
        "Future work",
        "Where everything is",
    ]


def test_every_table_and_figure_has_a_name_of_its_own_and_is_referred_to_in_the_text(document: Document) -> None:
    shown = [block.name for block in document.blocks if isinstance(block, Table | Figure)]
    assert len(set(shown)) == len(shown)
    texts: list[Any] = []
    for block in document.blocks:
        texts += [block.text] if isinstance(block, Paragraph) else []
        texts += [block.opening, *block.items] if isinstance(block, Bullets) else []
    parts = [part for text in texts if not isinstance(text, str) for part in text]
    assert {name for part in parts if isinstance(part, Reference) for name in part.names} == set(shown)


def test_every_row_has_a_field_for_each_column(document: Document) -> None:
    for table in tables(document).values():
        assert {len(row.fields) for row in table.rows if not row.title} == {len(table.header)}, table.name


def test_the_summary_is_the_answer_of_the_page(made: Any, document: Document) -> None:
    recommendation = recommend(made.data.results, made.data.domains, made.data.spec)
    assert recommendation is not None
    assert document.choice.startswith("Use sharp on net; no threshold can be recommended")
    assert document.summary == describe_choice(recommendation)
    assert [heading for heading, _ in document.facts][1:] == [
        "Of 100 defective images, expect to miss",
        "Of 100 good images, expect to flag",
    ]


def test_the_answer_names_its_split_where_the_study_has_others(made: Any, monkeypatch: Any) -> None:
    found = recommend(made.data.results, made.data.domains, made.data.spec)
    assert found is not None
    monkeypatch.setattr("patchshift.report.pdf.recommend", lambda *_: replace(found, other_splits=["t"]))
    document = write_document(made.data, made.provenance)
    assert document.choice.startswith("On split s, use sharp on net; no threshold can be recommended")
    assert document.summary[0].startswith("This is of split s alone. On t the setups may rank otherwise")
    assert tables(document)["answer"].caption.endswith("in domain clean, on split s.")


def test_the_answer_has_the_figures_of_metrics_csv(made: Any, document: Document) -> None:
    with (made.folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    answer = tables(document)["answer"]
    for row in answer.rows:
        category, auroc = row.fields[0].text, row.fields[1]
        (found,) = (
            found
            for found in rows
            if (found["train_category"], found["train_domain"], found["target_category"])
            == (category, "clean", category)
            and (found["target_domain"], found["detector"], found["metric"]) == ("clean", "sharp", "image_auroc")
            and found["train_dataset"] == "d"
        )
        assert float(auroc.text) == pytest.approx(float(found["value"]), abs=0.005)
        low, high = auroc.below.split("–")
        assert float(low) == pytest.approx(float(found["low"]), abs=0.005)
        assert float(high) == pytest.approx(float(found["high"]), abs=0.005)


def test_a_study_without_shifts_has_no_table_of_them_and_proposes_them(make_study: Callable[..., Any]) -> None:
    study = make_study(clean={"title": "In domain", "train": ["d"]})
    study.analyse()
    document = write_document(study.data, study.provenance)
    assert "shifts" not in tables(document)
    assert any("Shifted domains (target_domains)" in text for text in strings(document.content()))


def test_without_thresholds_rates_are_undefined_and_the_reason_is_said(make_study: Callable[..., Any]) -> None:
    study = make_study(validation=False)
    study.analyse()
    document = write_document(study.data, study.provenance)
    assert document.choice.startswith("Use sharp on net; no threshold can be recommended")
    assert {row.fields[3].text for row in tables(document)["answer"].rows} == {"undefined"}
    assert document.facts[1][1].text == "undefined"
    assert document.facts[1][1].below


def test_where_zones_decide_there_is_no_threshold_to_print_and_none_is_called_undefined(
    make_study: Callable[..., Any],
) -> None:
    study = make_study()
    study.analyse()
    study.decide_by_zones()
    answer = tables(write_document(study.data, study.provenance))["answer"]
    assert {row.fields[2].text for row in answer.rows} == {"by zones"}
    assert {row.fields[3].text for row in answer.rows} != {"undefined"}


def test_no_recommendation_is_one_sentence(make_study: Callable[..., Any]) -> None:
    study = make_study(pool={"title": "Pool", "train": ["pools/all"]})
    study.analyse()
    document = write_document(study.data, study.provenance)
    assert document.choice.startswith("No recommendation")
    assert not document.facts
    assert "answer" not in tables(document)


def test_published_figures_stand_apart_and_are_marked(make_study: Callable[..., Any], monkeypatch: Any) -> None:
    from patchshift.report import document_experiments
    from patchshift.report.analyses.published import Figure as Published

    figure = Published(
        "d", "mean of 2", "patchcore", "net", 0.02, "in domain", "image_auroc", 0.912, None, "Someone", "", 3
    )
    monkeypatch.setattr(document_experiments, "read_published", lambda: [figure])
    study = make_study()
    study.analyse()
    table = tables(write_document(study.data, study.provenance))["metrics-clean-0"]
    pale = [row for row in table.rows if row.is_pale]
    assert [row.fields[1].text for row in pale] == ["0.912"]
    assert table.rows[table.rows.index(pale[0]) - 1].title.startswith("Published by others")
    assert any("Someone" in note for note in table.notes)


def test_settings_say_once_what_most_have_and_every_setting_can_be_read_back() -> None:
    ids = {
        "one": {"method": "patchcore", "sampler": {"share": 0.1, "starts": 1}, "neighbours": 1},
        "two": {"method": "patchcore", "sampler": {"share": 0.2, "starts": 1}, "neighbours": 1},
        "three": {"method": "patchcore", "sampler": {"share": 0.1, "starts": 1}, "neighbours": 3},
        "other": {"method": "padim", "positions": "all"},
    }
    said = {row.fields[0].text: row.fields[1].text for row in list_ids("Detectors", ids) if row.fields}
    usual = dict(part.split(": ") for part in said[SHARED].split("; "))
    assert usual == {"method": "patchcore", "sampler.share": "0.1", "sampler.starts": "1", "neighbours": "1"}
    for name in ("one", "two", "three"):
        own = dict(re.findall(r"([\w.]+): ([^;]+)", said[name]))
        assert usual | own == flatten_settings(ids[name])
    assert said["other"] == "method: padim; positions: all"


def test_references_are_named_in_words_and_what_is_not_printed_by_its_file() -> None:
    (reference,) = refer("Table", "a", "b", "c")
    assert isinstance(reference, Reference)
    space = "\N{NO-BREAK SPACE}"
    assert reference.word({}) == [f"Tables{space}", Number("a"), ", ", Number("b"), " and ", Number("c")]
    assert reference.word({"a": "a.csv", "c": "c.csv"}) == [
        f"Table{space}",
        Number("b"),
        ", ",
        "a.csv",
        " and ",
        "c.csv",
    ]
    assert reference.word(dict.fromkeys("abc", "report.html")) == ["report.html"]


def test_the_template_gets_references_in_words_wherever_they_stand() -> None:
    text = ["See ", *refer("Figure", "a")]
    blocks = [Paragraph(text), Bullets(text, [text, "plain"])]
    content = Document("", "", "", "", [], [text], blocks).content()
    worded = ["See ", "Figure\N{NO-BREAK SPACE}", {"to": "a"}]
    assert content["summary"] == [worded]
    assert [content["blocks"][0]["text"], content["blocks"][1]["opening"]] == [worded, worded]
    assert content["blocks"][1]["items"] == [worded, ["plain"]]


def openings(document: Document) -> list[str]:
    return [
        "".join(part for part in block.opening if isinstance(part, str))
        for block in document.blocks
        if isinstance(block, Bullets) and not isinstance(block.opening, str)
    ]


def test_the_error_analysis_is_of_the_recommended_setup_though_it_is_no_baseline(made: Any, document: Document) -> None:
    assert made.data.baseline("clean") == "blunt"
    assert any(
        opening.startswith(
            "In experiment “In domain <b>bold</b>”, errors of sharp on net, the setup that the study recommends: "
            "fitted on clean, scored on clean"
        )
        for opening in openings(document)
    )


def test_the_error_analysis_is_of_the_experiment_that_has_the_recommended_setup(
    make_study: Callable[..., Any],
) -> None:
    chosen = {"title": "First", "train": ["d"], "detectors": ["blunt"]}
    study = make_study(first=chosen, second={"title": "Second", "train": ["d"]})
    study.analyse()
    document = write_document(study.data, study.provenance)
    assert any(opening.startswith("In experiment “Second”, errors of sharp on net") for opening in openings(document))


def test_without_decisions_the_error_analysis_tells_what_ranks_worst(make_study: Callable[..., Any]) -> None:
    study = make_study(validation=False)
    study.analyse()
    document = write_document(study.data, study.provenance)
    assert "Error analysis" in sections(document)
    assert any("none is a false alarm" in text for text in strings(document.content()))
    values = [float(row.fields[2].text) for row in tables(document)["errors"].rows]
    assert values
    assert values == sorted(values)


def test_a_study_with_hundreds_of_setups_has_tables_of_a_readable_length(document: Document) -> None:
    from patchshift.report.document_results import MOST_SETUPS, count_hidden, cut_rows

    rows = list(tables(document)["answer"].rows[:1]) * 100
    assert len(cut_rows(rows)) == MOST_SETUPS
    assert count_hidden(100) == ["76 more are in report.html."]
    assert count_hidden(MOST_SETUPS) == []
