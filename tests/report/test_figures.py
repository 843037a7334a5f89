import re
from collections.abc import Callable
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from patchshift.evaluation.image_metrics import image_auroc, image_average_precision
from patchshift.report.figures import Bar, draw_bars, draw_curves, draw_scores, ranking_points, wrap_title
from patchshift.report.results import Images, Value
from patchshift.report.style import colour, dashes, hatch, marker, save_figure, to_svg

UNDEFINED = Value(None, undefined="no anomalous image")


def images(seed=0, threshold=0.5):
    generator = np.random.default_rng(seed)
    labels = np.repeat([0, 1], 15)
    scores = np.round(generator.normal(labels, 1), 1)  # with ties
    decisions = None if threshold is None else (scores >= threshold).astype(np.int64)
    return Images(
        names=[str(n) for n in range(30)],
        labels=labels,
        relabelled=np.zeros(30, np.bool_),
        defects=["x" if label else "" for label in labels],
        scores=scores,
        decisions=decisions,
        threshold=threshold,
    )


FIGURES: dict[str, Callable[[], Figure]] = {
    "bars": lambda: draw_bars([Bar("a", "one", Value(0.4, 0.3, 0.5)), Bar("a", "two", UNDEFINED)], "Title"),
    "curves": lambda: draw_curves({f"category {n}": {"one": images(n), "two": images(n, None)} for n in range(3)}),
    "scores": lambda: draw_scores({"a": images(), "b": images(1, None)}),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_well_formed_and_byte_identical_when_redrawn(name):
    svg = to_svg(FIGURES[name](), name)
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert svg == to_svg(FIGURES[name](), name)


def test_ids_of_two_figures_on_a_page_differ():
    first, second = (to_svg(FIGURES["bars"](), name) for name in ("one", "two"))
    ids = [set(re.findall(r' id="([^"]+)"', svg)) for svg in (first, second)]
    assert ids[0]
    assert not ids[0] & ids[1]
    for svg, known in zip((first, second), ids, strict=True):
        assert set(re.findall(r'(?:url\(#|href="#)([^")]+)', svg)) <= known


def test_names_stay_names_in_figures():
    svg = to_svg(draw_bars([Bar("<script>$x$", "g & h", Value(0.9)), Bar("<script>$x$", "i", Value(0.8))]), "bars")
    assert "&lt;script&gt;$x$" in svg
    assert "g &amp; h" in svg
    assert "<script" not in svg


def test_long_labels_are_not_cut(tmp_path):
    bars = [
        Bar(f"a_very_long_category_name_of_many_letters_{n}", f"group {m}", Value(0.8, 0.7, 0.9))
        for n in range(3)
        for m in range(9)
    ]
    save_figure(
        draw_bars(bars, "A title that is too long for one line of this figure, so that it has to be broken " * 2),
        tmp_path / "bars.png",
    )
    page = np.asarray(Image.open(tmp_path / "bars.png").convert("L"))
    for edge in (page[0], page[-1], page[:, 0], page[:, -1]):
        assert edge.min() == 255


UNTRAINED = ["bank on net (random weights)", *(f"{n}, net (random weights)" for n in ("one", "two"))]


def test_what_has_no_legend_is_named_above():
    (axes,) = draw_bars([Bar("a", UNTRAINED[0], Value(0.9))], "Title").axes
    assert axes.get_title(loc="left") == UNTRAINED[0]
    (legend,) = draw_curves({"a": {UNTRAINED[0]: images()}}).legends
    assert [text.get_text() for text in legend.get_texts()] == [UNTRAINED[0]]


def test_what_all_groups_share_stands_once_and_not_in_the_legend():
    bars = draw_bars([Bar("a", group, Value(0.9)) for group in UNTRAINED[1:]])
    assert bars.axes[0].get_title(loc="left") == "net (random weights)"
    curves = draw_curves({"a": {group: images() for group in UNTRAINED[1:]}})
    assert curves.get_suptitle() == "net (random weights)"
    for figure in (bars, curves):
        assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one", "two"]


@pytest.mark.parametrize("letters", [4, 16, 24, 30, 40, 60])
def test_a_legend_is_no_wider_than_its_figure(letters):
    figure = draw_bars([Bar("a", f"{n}{'w_random' * 8}"[:letters], Value(0.9)) for n in range(6)])
    figure.draw_without_rendering()
    assert figure.legends[0].get_window_extent().x1 <= figure.bbox.x1


def test_a_title_is_not_broken_inside_parentheses():
    assert wrap_title("Patches in the plane: d/c, net (random weights)", 40) == [
        "Patches in the plane: d/c, net",
        "(random weights)",
    ]


def test_groups_stay_distinct_when_colours_repeat():
    assert len({(colour(n), hatch(n)) for n in range(20)}) == 20
    assert len({(colour(n), dashes(n)) for n in range(20)}) == 20
    assert len({(colour(n), marker(n)) for n in range(20)}) == 20


def test_curves_enclose_the_metrics_they_illustrate():
    shown = images()
    false_alarms, recall, precision = ranking_points(shown)
    assert np.trapezoid(recall, false_alarms) == pytest.approx(image_auroc(shown.labels, shown.scores))
    assert (np.diff(recall) * precision).sum() == pytest.approx(image_average_precision(shown.labels, shown.scores))
