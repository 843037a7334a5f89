from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.lines import Line2D

from patchshift.plan.experiments import StudyPlan
from patchshift.plan.specs import AnalysisSpec, EvaluationSpec
from patchshift.report.analyses.ranks import ranks_table
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.figures import WIDTH
from patchshift.report.keys import cell_keys
from patchshift.report.plots.critical_difference import draw_critical_difference
from patchshift.report.plots.drawn import Drawn
from patchshift.report.style import MUTED, PRINT_DPI, colour

LONG = "patchcore_dual_calibrated_with_synthetic_defects_of_all_kinds"


def draw(
    folder: Path,
    detectors: Sequence[str],
    *,
    backbones: Sequence[str] = ("net",),
    categories: int = 12,
    noise: float = 0.1,
    experiment: str = "tried",
) -> tuple[Drawn | None, StudyData]:
    """The figure of a study whose detectors are ever worse, with noise."""
    chosen = {"splits": ["s"], "backbones": backbones, "detectors": detectors, "thresholds": ["f1_max"]}
    plan = StudyPlan.model_validate(
        {
            "study": "made",
            "select": chosen,
            "order": [experiment],
            "experiments": {experiment: {"title": "Tried", "train": ["d"]}},
            "datasets": {"d": [f"c{number}" for number in range(categories)]},
            "pools": {},
            "weights": {"net": "net.pth", "other": "random", "third": "none"},
        }
    )
    random = np.random.default_rng(0)
    rows: list[dict[str, Any]] = [
        {
            **cell_keys(cell, ranking=True),
            "metric": "image_auroc",
            "value": 1 - 0.05 * detectors.index(cell.bank.detector) + random.normal(0, noise),
            "undefined": "",
        }
        for cell in plan.cells()[experiment]
    ]
    keys = [key for key in rows[0] if key not in ("metric", "value", "undefined")]
    columns = [*keys, "metric", "value", "low", "high", "undefined"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "metrics.csv", index=False)
    pd.DataFrame(columns=keys).to_csv(folder / "predictions.csv", index=False)
    data = StudyData(plan, EvaluationSpec(), AnalysisSpec(), {}, {}, {}, folder)
    return draw_critical_difference(data, experiment), data


def names_of(count: int) -> list[str]:
    return [LONG, *(f"detector_{number}" for number in range(1, count - 1)), 70 * "w"]


def leaders(axes: Axes) -> list[Line2D]:
    return [line for line in axes.lines if len(line.get_xdata()) == 3 and line.get_color() == MUTED]


def bars(axes: Axes) -> list[tuple[float, float, float]]:
    found = [line for line in axes.lines if line.get_color() == colour(0)]
    return [(line.get_xdata()[0], line.get_xdata()[1], line.get_ydata()[0]) for line in found]


def test_the_data_are_the_ranks(tmp_path: Path) -> None:
    drawn, data = draw(tmp_path, names_of(5))
    assert drawn is not None
    pd.testing.assert_frame_equal(drawn.data, ranks_table(data, "tried"))


@pytest.mark.parametrize("change", [{"detectors": names_of(2)}, {"detectors": names_of(5), "categories": 1}])
def test_there_is_no_figure_of_too_little(tmp_path: Path, change: dict[str, Any]) -> None:
    assert draw(tmp_path, **change)[0] is None


def test_detectors_and_backbones_have_a_panel_each(tmp_path: Path) -> None:
    drawn, _ = draw(tmp_path, names_of(3), backbones=["net", "other", "third"])
    assert drawn is not None
    first, second = ([text.get_text() for text in axes.texts] for axes in drawn.figure.axes)
    assert first[0] == "Detectors: average rank by image AUROC over 12 categories"
    assert second[0] == "Backbones: average rank by image AUROC over 12 categories"
    assert "other (random weights)" in second


@pytest.mark.parametrize("count", [3, 4, 9, 16, 33])
def test_leader_lines_and_words_do_not_meet(tmp_path: Path, count: int) -> None:
    drawn, _ = draw(tmp_path, names_of(count), noise=0.2)
    assert drawn is not None
    (axes,) = drawn.figure.axes
    lines = leaders(axes)
    assert len(lines) == count
    for one, other in combinations(lines, 2):
        assert abs(one.get_ydata()[2] - other.get_ydata()[2]) > 0.1 or (
            # on opposite sides
            (one.get_xdata()[2] < WIDTH / 2) != (other.get_xdata()[2] < WIDTH / 2)
        )
        for level, upright in ((one, other), (other, one)):
            left, right = sorted(level.get_xdata()[1:])
            x, depth = upright.get_xdata()[0], upright.get_ydata()[1]
            assert not (left + 1e-9 < x < right - 1e-9 and level.get_ydata()[2] < depth - 1e-9)
    drawn.figure.set_dpi(PRINT_DPI)
    canvas = FigureCanvasAgg(drawn.figure)
    canvas.draw()
    boxes = [text.get_window_extent() for text in axes.texts]
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other)
    page = drawn.figure.bbox
    assert all(box.x0 >= page.x0 and box.x1 <= page.x1 and box.y0 >= page.y0 for box in boxes)


def test_bars_join_the_groups_and_keep_apart(tmp_path: Path) -> None:
    drawn, _ = draw(tmp_path, names_of(9))
    assert drawn is not None
    groups = [str(row).split() for row in drawn.data["groups"]]
    joined = [number for number in {n for row in groups for n in row} if sum(number in row for row in groups) > 1]
    (axes,) = drawn.figure.axes
    assert len(bars(axes)) == len(joined) > 1
    for one, other in combinations(bars(axes), 2):
        assert one[2] != other[2] or one[1] < other[0] or other[1] < one[0]
    deepest_bar = max(y for *_, y in bars(axes))
    assert all(line.get_ydata()[2] > deepest_bar for line in leaders(axes))


def test_the_best_is_on_the_left_at_its_rank(tmp_path: Path) -> None:
    drawn, _ = draw(tmp_path, names_of(4), noise=0.0)
    assert drawn is not None
    (axes,) = drawn.figure.axes
    starts = [line.get_xdata()[0] for line in leaders(axes)]
    assert starts == sorted(starts)
    assert np.diff(starts) == pytest.approx([np.diff(starts)[0]] * 3)  # ranks 1, 2, 3, 4
    words = {text.get_text(): text.get_position()[0] for text in axes.texts}
    assert words["best"] < starts[0] < starts[-1] < words["worst"]


def test_the_critical_difference_is_to_scale_or_said_alone(tmp_path: Path) -> None:
    drawn, _ = draw(tmp_path, names_of(4), noise=0.0)
    assert drawn is not None
    (axes,) = drawn.figure.axes
    (bar,) = [
        line for line in axes.lines if line.get_color() == colour(1) and line.get_ydata()[0] == line.get_ydata()[1]
    ]
    starts = [line.get_xdata()[0] for line in leaders(axes)]
    expected = drawn.data["critical_difference"][0] / 3 * (starts[-1] - starts[0])
    assert np.diff(bar.get_xdata())[0] == pytest.approx(expected)
    short, _ = draw(tmp_path, names_of(3), categories=2)
    assert short is not None
    assert any("longer than the axis" in text.get_text() for text in short.figure.axes[0].texts)
    assert not [line for line in short.figure.axes[0].lines if line.get_color() == colour(1)]


def test_the_figure_says_when_ranks_are_not_told_apart(tmp_path: Path) -> None:
    drawn, _ = draw(tmp_path, names_of(4), noise=5.0, categories=4)
    assert drawn is not None
    (axes,) = drawn.figure.axes
    assert any("the ranks are not told apart" in text.get_text() for text in axes.texts)
    assert len(bars(axes)) == 1


def test_equal_figures_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        drawn, _ = draw(tmp_path, names_of(4))
        assert drawn is not None
        drawn.save(tmp_path / name, "critical_difference")
    for ending in ("png", "svg", "csv"):
        files = [tmp_path / name / f"critical_difference.{ending}" for name in ("one", "two")]
        assert files[0].read_bytes() == files[1].read_bytes()
