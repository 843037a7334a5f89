from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from patchshift.report.results import Value
from patchshift.report.shift_gallery import Picture, draw_gallery, draw_severity_ladder, draw_transform_gallery
from patchshift.report.style import save_figure, to_svg


def picture(marked: bool = True, size: tuple[int, int] = (40, 60), mask_size: tuple[int, int] = (40, 60)) -> Picture:
    mask = np.zeros(mask_size, bool)
    if marked:
        mask[mask_size[0] // 4 : mask_size[0] // 2, : mask_size[1] // 4] = True
    return Picture(np.full((*size, 3), 90, np.uint8), mask)


def gallery() -> Figure:
    return draw_gallery({"crack/000": [picture(), picture(False)], "good/000": [picture(False)] * 2}, ["clean", "dark"])


def transforms() -> Figure:
    return draw_transform_gallery({f"transform {n}": [picture()] * 4 for n in range(3)})


STEPS = [(0, Value(0.95, 0.9, 0.99)), (1, Value(0.9, 0.8, 0.95)), (2, Value(None, undefined="none")), (3, Value(0.4))]


def ladder() -> Figure:
    return draw_severity_ladder({"blur": {"tile": STEPS, "nut": STEPS[:2]}, "noise": {"nut": STEPS}})


FIGURES = {"gallery": gallery, "transforms": transforms, "ladder": ladder}


@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_well_formed_and_byte_identical_when_redrawn(name: str) -> None:
    svg = to_svg(FIGURES[name](), name)
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert svg == to_svg(FIGURES[name](), name)


def test_a_gallery_names_its_rows_and_columns() -> None:
    assert [text.get_text() for text in gallery().texts] == ["clean", "dark", "crack/000", "good/000"]


def test_long_names_are_broken_between_words_and_stay_whole() -> None:
    name = "MT_Crack/Imgs/exp1_num_249594.jpg"
    columns = [f"gaussian_noise_severe_{n}" for n in range(8)]
    texts = [text.get_text() for text in draw_gallery({name: [picture()] * 8}, columns).texts]
    assert [text.replace("\n", "") for text in texts] == [*columns, name]
    assert all("\n" in text for text in texts)


def test_only_defects_are_outlined() -> None:
    outlined = [bool(axes.collections) for axes in gallery().axes]
    assert outlined == [True, False, False, False]


def test_an_outline_goes_around_the_defect_whatever_the_sizes(tmp_path) -> None:
    """A thumbnail's mask is of the original's size: the line runs where the defect is shown."""
    for sizes in ({}, {"size": (20, 30), "mask_size": (80, 120)}):
        axes = draw_gallery({"one": [picture(**sizes)]}, ["clean"]).axes[0]
        height, width = sizes.get("size", (40, 60))
        points = np.concatenate([path.vertices for path in axes.collections[0].get_paths()]) / [width, height]
        assert points[:, 1].min() == pytest.approx(0.25, abs=0.06)
        assert points[:, 1].max() == pytest.approx(0.5, abs=0.06)
        assert points[:, 0].max() == pytest.approx(0.25, abs=0.04)
        assert points[:, 0].min() < 0  # the defect touches the border, and its line closes beyond


def test_pictures_lie_beside_each_other_and_inside_the_figure() -> None:
    for figure in (gallery(), transforms()):
        boxes = [axes.get_position() for axes in figure.axes]
        assert all(0 <= box.x0 < box.x1 <= 1 and 0 <= box.y0 < box.y1 <= 1 for box in boxes)
        assert not any(one.overlaps(other) for number, one in enumerate(boxes) for other in boxes[number + 1 :])


def test_pictures_of_tall_images_are_tall() -> None:
    sizes = {"wide": (30, 60), "tall": (60, 30)}
    figure = draw_gallery({name: [picture(size=size, mask_size=size)] for name, size in sizes.items()}, ["clean"])
    width, height = figure.get_size_inches()
    boxes = [axes.get_position() for axes in figure.axes]
    shapes = [box.height * height / (box.width * width) for box in boxes]
    assert shapes == [pytest.approx(0.5, abs=0.02), pytest.approx(2, abs=0.05)]


def test_a_ladder_has_a_panel_per_shift_and_a_line_per_category() -> None:
    figure = ladder()
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["blur", "noise"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["tile", "nut"]
    lines = [line for line in figure.axes[0].lines if line.get_marker() not in (None, "None", "")]
    assert len(lines) == 2
    assert list(lines[0].get_ydata()) == [0.95, 0.9, 0.4]  # what is undefined is left out
    np.testing.assert_allclose(lines[0].get_xdata(), [0, 1, 3], atol=0.1)


def test_a_ladder_shows_what_is_worse_than_chance() -> None:
    low, _ = ladder().axes[0].get_ylim()
    assert low < 0.4


def test_a_gallery_is_saved_whole(tmp_path) -> None:
    save_figure(transforms(), tmp_path / "gallery.png")
    width, height = Image.open(tmp_path / "gallery.png").size
    assert width > 1000
    assert height > 200
