"""Figures come as PNG, SVG and CSV, all of them or none, and are the same bytes when they are drawn again."""

from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from patchshift.report.plots.bars import draw_auroc_bars
from patchshift.report.plots.curves import draw_ranking_curves
from patchshift.report.plots.drawn import Drawn
from patchshift.report.plots.registry import EXPERIMENT_PLOTS, STUDY_PLOTS, save_plots
from patchshift.report.style import figure_style, scale_axis, show_size
from patchshift.report.templating import read_picture


def test_every_figure_of_an_experiment_is_the_same_bytes_when_it_is_drawn_again(made, tmp_path):
    import plot_experiment

    for name in ("one", "two"):
        plot_experiment.main([*made.options(), "--experiment", "clean", "--figures", str(tmp_path / name)])
    first, second = (sorted((tmp_path / name).iterdir()) for name in ("one", "two"))
    assert {path.suffix for path in first} == {".png", ".svg", ".csv"}
    assert {"bars.png", "bars.svg", "bars.csv"} <= {path.name for path in first}
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_figures_of_a_study_are_the_same_bytes_when_they_are_drawn_again(made, tmp_path):
    import plot_study

    for name in ("one", "two"):
        plot_study.main([*made.options(), "--figures", str(tmp_path / name)])
    first, second = (sorted((tmp_path / name).iterdir()) for name in ("one", "two"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_every_kind_of_figure_says_what_it_shows():
    for plot in (*EXPERIMENT_PLOTS.values(), *STUDY_PLOTS.values()):
        assert plot.caption.endswith(".")


def test_what_there_is_nothing_to_show_of_is_left_out(tmp_path):
    drawn = Drawn(Figure(), pd.DataFrame({"x": [1]}))
    save_plots({"some": drawn, "none": None}, tmp_path / "figures")
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"some"}
    save_plots({"none": None}, tmp_path / "figures")  # what stood there goes
    assert list((tmp_path / "figures").iterdir()) == []


def test_saved_figures_stand_on_a_page_as_they_were_drawn(made, tmp_path):
    draw_auroc_bars(made.data, "clean").save(tmp_path, "bars")
    one, two = (read_picture(tmp_path / "bars.svg", name, "Words.") for name in ("one", "two"))
    assert one.svg.startswith("<svg")
    assert ElementTree.fromstring(str(one.svg)).tag.endswith("svg")
    assert "In domain &lt;b&gt;bold&lt;/b&gt;" in one.svg
    assert one.svg.replace("one-", "two-") == two.svg


def test_data_of_bars_is_what_they_show(made, tmp_path):
    drawn = draw_auroc_bars(made.data, "clean")
    drawn.save(tmp_path, "bars")
    assert (
        pd.read_csv(tmp_path / "bars.csv")["image_auroc"].round(3).tolist()
        == drawn.data["image_auroc"].round(3).tolist()
    )
    assert drawn.data[["category", "group"]].drop_duplicates().shape == (4, 2)
    assert Image.open(tmp_path / "bars.png").width > 1000


def test_curves_begin_at_zero_and_end_at_one(made):
    drawn = draw_ranking_curves(made.data, "clean")
    for _, points in drawn.data.groupby(["category", "group"]):
        assert points.iloc[0][["false_alarm_rate", "recall"]].tolist() == [0, 0]
        assert points.iloc[-1][["false_alarm_rate", "recall"]].tolist() == [1, 1]


def test_without_a_normal_image_there_are_no_curves(made, monkeypatch):
    monkeypatch.setattr("patchshift.report.plots.curves.curve_panels", lambda *_: {})
    assert draw_ranking_curves(made.data, "clean") is None


@pytest.mark.parametrize(
    ("value", "shown"), [(0.02, "0.02"), (450, "450"), (12345, "12.3k"), (3.4e6, "3.4M"), (1.2e9, "1.2G"), (999, "999")]
)
def test_sizes_are_written_in_three_digits(value, shown):
    assert show_size(value) == shown


def test_axes_are_logarithmic_where_sizes_span_a_factor_of_five():
    assert mpl.rcParams["text.parse_math"]  # the house's figures do not parse it, so no label may need it
    for values, scale in (([1, 4], "linear"), ([1, 6], "log"), ([], "linear"), ([0, 0], "linear")):
        with figure_style():
            axes = Figure().add_subplot()
            axes.plot(values, values)
            scale_axis(axes.xaxis, values)
        assert axes.get_xscale() == scale
        assert not any("$" in label.get_text() for label in axes.get_xticklabels())


def test_names_of_files_are_those_of_the_figures(made, tmp_path):
    draw_auroc_bars(made.data, "clean").save(tmp_path, "bars")
    assert {path.name for path in Path(tmp_path).iterdir()} == {"bars.png", "bars.svg", "bars.csv"}
