"""Image AUROC against pixel AUROC, and all setups at a glance."""

import numpy as np
import pytest

from patchshift.report.plots.heatmap import draw_auroc_heatmap
from patchshift.report.plots.scatter import draw_auroc_scatter


def test_scatter_has_a_mark_for_each_category_and_setup(made):
    drawn = draw_auroc_scatter(made.data, "clean")
    assert drawn.data[["category", "group"]].values.tolist() == [
        ["a", "blunt"], ["a", "sharp"], ["b", "blunt"], ["b", "sharp"],
    ]  # fmt: skip
    for mark in drawn.data.to_dict("records"):
        assert 0 <= mark["pixel_auroc_low"] <= mark["pixel_auroc"] <= mark["pixel_auroc_high"] <= 1


def test_two_marks_are_no_scatter(make_study):
    assert draw_auroc_scatter(make_study(detectors=("sharp",)).data, "clean") is None


def test_heatmap_has_a_field_for_each_setup_and_category(made):
    drawn = draw_auroc_heatmap(made.data, "clean")
    texts = [text.get_text() for text in drawn.figure.axes[0].texts]
    assert texts == [f"{value:.3f}" for value in _by_group(drawn.data)]


def test_the_highest_of_each_category_is_bold(made):
    drawn = draw_auroc_heatmap(made.data, "clean")
    bold = np.array([text.get_fontweight() == "bold" for text in drawn.figure.axes[0].texts]).reshape(2, 2)
    values = np.array(_by_group(drawn.data)).reshape(2, 2).round(3)
    assert (bold == (values == values.max(axis=0))).all()


def test_one_setup_is_no_heatmap(make_study):
    assert draw_auroc_heatmap(make_study(detectors=("sharp",)).data, "clean") is None


@pytest.mark.parametrize("count", [2, 7])
def test_undefined_fields_are_dashes(make_study, count):
    study = make_study(detectors=tuple(f"detector_{number}" for number in range(count)))
    path = study.folder / "experiments" / "clean" / "results.csv"
    lines = path.read_text().split("\n")
    column = lines[0].split(",").index("image_auroc")
    fields = lines[1].split(",")
    fields[column : column + 3] = ["", "", ""]
    path.write_text("\n".join([lines[0], ",".join(fields), *lines[2:]]))
    texts = [text.get_text() for text in draw_auroc_heatmap(study.data, "clean").figure.axes[0].texts]
    assert texts.count("\N{EN DASH}") == 1


def _by_group(data):
    order = {group: number for number, group in enumerate(dict.fromkeys(data["group"]))}
    return data.sort_values("group", key=lambda groups: groups.map(order), kind="stable")["image_auroc"].tolist()
