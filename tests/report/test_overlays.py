from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from patchshift.features.attention_store import AttentionMaps
from patchshift.report.overlays import draw_attention, draw_energies
from patchshift.report.shift_gallery import Picture
from patchshift.report.style import save_figure, to_svg


def picture(height: int = 40, width: int = 60) -> Picture:
    mask = np.zeros((2 * height, 2 * width), bool)
    mask[20:40, 20:60] = True
    return Picture(np.full((height, width, 3), 128, np.uint8), mask)


PICTURES = [("good", picture()), ("<b>$x$", picture(90, 30))]


def energies(hot: float = 3.0) -> dict[str, np.ndarray]:
    maps = np.ones((2, 4, 6), np.float32)
    maps[1, 0, 0] = hot
    return {"layer2": maps, "layer3": np.full((2, 2, 3), 0.5, np.float32)}


def attention(heads: int = 6, undefined: str = "") -> AttentionMaps:
    if undefined:
        return AttentionMaps([], "block3", np.zeros((0, 0, 0, 0), np.float32), np.zeros((0, 0), np.float32), undefined)
    maps = np.random.default_rng(0).random((2, heads, 4, 4)).astype(np.float32)
    others = np.full((2, heads), 0.25, np.float32)
    return AttentionMaps(["a", "b"], "block3", maps * 0.75 / maps.sum(axis=(2, 3), keepdims=True), others)


FIGURES: dict[str, Callable[[], Figure]] = {
    "energies": lambda: draw_energies(PICTURES, energies(), "d/c, net"),
    "attention": lambda: draw_attention(PICTURES, attention(), "d/c, net"),
    "no images": lambda: draw_energies([], {"layer2": np.zeros((0, 4, 6), np.float32)}, "d/c, net"),
    "no attention": lambda: draw_attention([], attention(undefined="the model has no class token"), "d/c, net"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_well_formed_and_byte_identical_when_redrawn(name: str) -> None:
    svg = to_svg(FIGURES[name](), "figure")
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert svg == to_svg(FIGURES[name](), "figure")
    assert "d/c, net" in svg
    assert "<b>" not in svg


def test_each_image_stands_beside_one_overlay_per_layer_that_says_its_grid() -> None:
    figure = FIGURES["energies"]()
    svg = to_svg(figure, "figure")
    for said in ("layer2, 4 x 6", "layer3, 2 x 3", "good", "&lt;b&gt;$x$", "no sign of a defect"):
        assert said in svg, said
    assert len(figure.axes) == 2 * 3 + 2  # pictures, and a scale for each layer


def test_the_hottest_place_is_the_brightest_and_the_coldest_the_darkest() -> None:
    figure = FIGURES["energies"]()
    cold, hot = (figure.axes[row * 3 + 1].images[0].get_array().sum(axis=2) for row in (0, 1))
    assert cold.max() == cold.min()
    assert np.unravel_index(hot.argmax(), hot.shape)[0] < 90 / 4  # in the upper left patch
    assert np.unravel_index(hot.argmax(), hot.shape)[1] < 30 / 6
    assert hot[-1, -1] == cold[0, 0]  # one scale for all images


def test_defects_are_outlined_on_image_and_overlays() -> None:
    figure = FIGURES["energies"]()
    assert [len(axes.collections) for axes in figure.axes[:3]] == [2, 2, 2]  # a line and its halo
    clean = draw_energies([("good", Picture(picture().image, np.zeros((4, 4), bool)))] * 2, energies(), "d/c")
    assert [len(axes.collections) for axes in clean.axes[:3]] == [0, 0, 0]


def test_tall_images_do_not_take_all_the_page() -> None:
    figure = FIGURES["energies"]()
    wide, tall = (figure.axes[row * 3].get_position() for row in (0, 1))
    page = figure.get_size_inches()
    assert tall.height * page[1] / (tall.width * page[0]) == pytest.approx(3, rel=1e-6)  # true to its shape
    assert tall.height * page[1] < 1.4 * wide.width * page[0]


@pytest.mark.parametrize(("heads", "groups"), [(2, 2), (6, 3), (12, 4)])
def test_attention_has_a_column_per_group_of_heads(heads: int, groups: int) -> None:
    figure = draw_attention(PICTURES, attention(heads), "d/c")
    assert len(figure.axes) == 2 * (1 + groups) + groups
    said = " ".join(text.get_text() for text in figure.texts)
    for head in range(heads):
        assert f"{head}" in said
    assert "25 % of the attention goes to the class token itself" in said.replace("\n", " ")
    assert "block3" in said


def test_attention_is_told_in_multiples_of_an_even_one() -> None:
    even = attention(2)
    even.maps[:] = 0.75 / 16
    even.maps[:, :, 0, 0] = 3 * 0.75 / 16
    scale = draw_attention(PICTURES, even, "d/c").axes[-1]
    low, *_, high = (float(label.get_text()) for label in scale.get_xticklabels())
    assert low == pytest.approx(0.75)
    assert high == pytest.approx(3 * 0.75, rel=0.05)


def test_the_ends_of_a_scale_are_told_from_an_even_attention() -> None:
    level = attention(2)
    level.maps[:] = 1 / 16
    level.maps[:, :, 0, 0] = 0.94 / 16
    level.maps[:, :, 1, 1] = 1.003 / 16
    labels = [label.get_text() for label in draw_attention(PICTURES, level, "d/c").axes[-1].get_xticklabels()]
    assert labels == ["0.94", "1.003"]


def test_only_heads_that_share_a_column_are_called_a_group() -> None:
    for heads, grouped in ((3, False), (6, True)):
        said = " ".join(text.get_text() for text in draw_attention(PICTURES, attention(heads), "d/c").texts)
        assert ("are one group" in said.replace("\n", " ")) == grouped


def test_the_second_line_of_a_name_stays_a_line() -> None:
    figure = draw_energies([("good\n003.png", picture())] * 2, energies(), "d/c")
    assert "good\n003.png" in [text.get_text() for text in figure.texts]


def test_a_model_without_attention_to_show_says_why() -> None:
    assert "There is nothing to show: the model has no class token." in to_svg(FIGURES["no attention"](), "figure")


def test_a_split_without_test_images_is_said_to_have_none() -> None:
    none = AttentionMaps([], "block3", np.zeros((0, 6, 4, 4), np.float32), np.zeros((0, 6), np.float32))
    for figure in (FIGURES["no images"](), draw_attention([], none, "d/c, net")):
        assert "the split has no test image" in to_svg(figure, "figure")


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off(name: str, tmp_path: Path) -> None:
    save_figure(FIGURES[name](), tmp_path / "figure.png")
    page = np.asarray(Image.open(tmp_path / "figure.png").convert("L"))
    for edge in (page[0], page[-1], page[:, 0], page[:, -1]):
        assert edge.min() == 255
