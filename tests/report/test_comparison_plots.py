"""Image AUROC against pixel AUROC, and all setups at a glance."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.cm import ScalarMappable
from matplotlib.colors import to_rgb

from patchshift.report.analyses.digits import show_value
from patchshift.report.plots.heatmap import COLOURS, choose_ink, draw_auroc_heatmap
from patchshift.report.plots.scatter import draw_auroc_scatter
from patchshift.report.results import as_value


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
    rows = [as_value(row, "image_auroc") for row in _by_group(drawn.data)]
    assert texts == [show_value(row.value, row.low, row.high) for row in rows]


def test_the_highest_of_each_category_is_bold(made):
    drawn = draw_auroc_heatmap(made.data, "clean")
    bold = [text.get_fontweight() == "bold" for text in drawn.figure.axes[0].texts]
    assert bold == [row["highest"] == 1 for row in _by_group(drawn.data)]
    for _, column in drawn.data.groupby("category"):
        highest = column[column["image_auroc"] == column["image_auroc"].max()]
        assert (highest["highest"] == 1).all()
        assert set(highest["group"]) != set(column["group"])


def test_setups_are_compared_within_a_domain_and_domains_are_no_setups(make_study):
    shifted = {"title": "Shifted", "train": ["d"], "target_domains": ["clean", "dark"]}
    study = make_study(shifted=shifted)
    table = draw_auroc_heatmap(study.data, "shifted").data
    assert list(dict.fromkeys(table["group"])) == ["clean, blunt", "clean, sharp", "dark, blunt", "dark, sharp"]
    assert set(zip(table["fitted_on"], table["scored_on"], strict=True)) == {("clean", "clean"), ("clean", "dark")}
    for _, field in table.groupby(["scored_on", "category"]):
        assert field.loc[field["image_auroc"].idxmax(), "highest"] == 1
    assert draw_auroc_heatmap(make_study(detectors=("sharp",), shifted=shifted).data, "shifted") is None


def test_the_bank_of_a_pool_is_another_setup_than_banks_of_each_category(make_study):
    both = {"title": "Both", "train": ["d", "pools/all"]}
    table = draw_auroc_heatmap(make_study(detectors=("sharp",), both=both).data, "both").data
    assert set(table["group"]) == {"own category", "pool all"}
    crossed = {"title": "Crossed", "train": ["d"], "targets": ["d"]}  # the transfer matrix shows it
    assert draw_auroc_heatmap(make_study(detectors=("sharp",), crossed=crossed).data, "crossed") is None


def test_text_stands_out_from_every_colour():
    image = ScalarMappable(cmap=COLOURS)
    image.set_clim(0, 1)
    for share in np.linspace(0, 1, 101):
        colours = mpl.colormaps[COLOURS](share), to_rgb(choose_ink(image, share))
        light, dark = sorted(map(_luminance, colours), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5


def _luminance(colour):
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_names_of_categories_stand_beside_the_axes_apart_from_each_other(made):
    axes = draw_auroc_scatter(made.data, "clean").figure.axes[0]
    assert {text.get_text() for text in axes.texts} == {"a", "b"}
    places = [text.get_position() for text in axes.texts]
    assert all(x > 1 and 0 < y <= 1 for x, y in places)
    assert abs(places[0][1] - places[1][1]) >= 0.035 - 1e-9


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
    rows = data.sort_values("group", key=lambda groups: groups.map(order), kind="stable")
    return [dict(row) for row in rows.to_dict("records")]
