from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure

from patchshift.report.conditions import ADAPTED, IN_DOMAIN, NO_ADAPTATION
from patchshift.report.results import Value
from patchshift.report.shift_figure import draw_shift
from patchshift.report.style import to_svg

UNDEFINED = Value(None, undefined="no anomalous image")
START = {"image_auroc": Value(0.9, 0.8, 1.0), "miss_rate": Value(0.1, 0.0, 0.2), "false_alarm_rate": UNDEFINED}
WORSE = {**START, "image_auroc": Value(0.4, 0.3, 0.5)}
SHOWN = [IN_DOMAIN, NO_ADAPTATION, ADAPTED]


def figure(domains: int = 2) -> Figure:
    conditions = {IN_DOMAIN: START, NO_ADAPTATION: WORSE, ADAPTED: START}
    return draw_shift({"a": {f"dark_{n}": conditions for n in range(domains)}, "b": {"dark_0": conditions}}, SHOWN)


def test_figure_is_well_formed_and_byte_identical_when_redrawn() -> None:
    svg = to_svg(figure(), "shift")
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert svg == to_svg(figure(), "shift")


def test_each_domain_has_its_own_line_and_room_for_it() -> None:
    small, large = figure(2), figure(9)
    assert [tick.get_text() for tick in large.axes[0].get_yticklabels()] == [f"dark_{n}" for n in range(9)]
    assert large.get_figheight() > small.get_figheight() + 2
    marks = [line for line in small.axes[0].lines if line.get_marker() == "o"]
    assert [line.get_xdata()[0] for line in marks] == [0.4, 0.4]
    heights = [line.get_ydata()[0] for line in marks]
    assert heights == [pytest.approx(heights[0]), pytest.approx(heights[0] + 1)]


def test_worse_than_chance_stays_in_the_frame() -> None:
    low, high = figure().axes[0].get_xlim()
    assert low < 0.3
    assert high > 1


def test_a_metric_without_values_says_so() -> None:
    texts = [[text.get_text() for text in axes.texts] for axes in figure().axes]
    assert texts == [[], [], ["undefined"]] * 2


def test_a_condition_looks_the_same_whichever_others_are_shown() -> None:
    colours = []
    for shown in ([IN_DOMAIN, ADAPTED], SHOWN):
        values = dict.fromkeys(shown, START)
        (axes, *_) = draw_shift({"a": {"dark": values}}, shown).axes
        colours += [line.get_color() for line in axes.lines if line.get_marker() == "D"]
    assert len(colours) == 2
    assert len(set(colours)) == 1
