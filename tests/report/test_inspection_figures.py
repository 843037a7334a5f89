import math
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from patchshift.evaluation.inspection_store import PatchMap
from patchshift.evaluation.planar_maps import DIMENSIONS
from patchshift.evaluation.separability import ALL_LAYERS, Separation
from patchshift.report.inspection_figures import draw_patch_map, draw_separability
from patchshift.report.style import save_figure, to_svg

NAN = math.nan
SEPARATIONS = [
    Separation(layer, defect, 3 + number, 6, value, value - 0.1, value + 0.05, value)
    for layer in ("layer2", "layer3")
    for number, (defect, value) in enumerate({"dent": 0.9, "<b>$x$": 0.3}.items())
]


def patch_map(
    methods: tuple[str, ...] = ("tsne",), *, located: bool = True, kinds: tuple[str, ...] = ("", "dent", "<b>$x$")
) -> PatchMap:
    random = np.random.default_rng(0)
    defects = [kind for kind in kinds for _ in range(10)]
    points = {method: random.normal(size=(len(defects), 2)).astype(np.float32) for method in methods}
    return PatchMap([f"{n}.png" for n in range(len(defects))], defects, points, located, 0.567)


FIGURES: dict[str, Callable[[], Figure]] = {
    "one map": lambda: draw_patch_map(patch_map(), "d/c, net"),
    "two maps": lambda: draw_patch_map(patch_map(("tsne", "umap")), "d/c, net"),
    "no map": lambda: draw_patch_map(patch_map(()), "d/c, net"),
    "separability": lambda: draw_separability(SEPARATIONS, "d/c, net"),
    "no defects": lambda: draw_separability([], "d/c, net"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_well_formed_and_byte_identical_when_redrawn(name: str) -> None:
    svg = to_svg(FIGURES[name](), "figure")
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert svg == to_svg(FIGURES[name](), "figure")
    assert "d/c, net" in svg
    assert "<b>" not in svg


def test_a_map_names_methods_and_counts_the_patches_of_each_type() -> None:
    svg = to_svg(FIGURES["two maps"](), "map")
    for said in ("t-SNE", "UMAP", "good (10)", "dent (10)", "&lt;b&gt;$x$ (10)", "57 %", "Coloured: defective"):
        assert said in svg, said


def test_points_of_each_type_have_the_colour_and_marker_of_the_legend() -> None:
    kinds = ("", *(f"type {number:02d}" for number in range(16)))
    figure = draw_patch_map(patch_map(kinds=kinds), "d/c")
    drawn = [
        (tuple(points.get_facecolor()[0].round(3)), points.get_paths()[0].vertices.round(3).tobytes())
        for points in figure.axes[0].collections
    ]
    assert len(drawn) == len(set(drawn)) == len(kinds)
    handles = figure.legends[0].legend_handles
    for (colour, _), handle in zip(drawn, handles, strict=True):
        red, green, blue = (int(handle.get_color()[start : start + 2], 16) / 255 for start in (1, 3, 5))
        assert colour[:3] == pytest.approx((red, green, blue), abs=0.01)


def test_without_masks_the_map_does_not_call_patches_defective() -> None:
    svg = to_svg(draw_patch_map(patch_map(located=False), "d/c"), "map")
    assert "any patches of defective images" in svg
    assert "Coloured: defective patches" not in svg


def test_too_few_patches_are_said_and_not_drawn() -> None:
    assert "nothing to map" in to_svg(FIGURES["no map"](), "map")


def test_every_value_is_drawn_where_it_lies() -> None:
    images, patches = draw_separability(SEPARATIONS, "d/c").axes
    for axes, shown in ((images, "image_auroc"), (patches, "patch_auroc")):
        dots = [line for line in axes.lines if line.get_marker() not in ("None", None) and len(line.get_xdata()) == 1]
        assert sorted(float(line.get_xdata()[0]) for line in dots) == sorted(
            getattr(each, shown) for each in SEPARATIONS
        )
    ends = [tuple(line.get_xdata()) for line in images.lines if len(line.get_xdata()) == 2]
    assert {(each.low, each.high) for each in SEPARATIONS} <= set(ends)
    for axes in (images, patches):  # the same for every backbone
        assert axes.get_xlim() == (-0.01, 1.01)
    assert images.get_ylim()[0] > images.get_ylim()[1]  # the first type on top
    assert [label.get_text() for label in images.get_yticklabels()] == ["dent\n3 images", "<b>$x$\n4 images"]


def test_all_layers_together_look_alike_however_many_there_are() -> None:
    looks = set()
    for layers in (["layer2"], ["layer2", "layer3", "layer4"]):
        rows = [Separation(layer, "dent", 1, 9, 0.8, 0.7, 0.9, 0.8) for layer in [*layers, ALL_LAYERS]]
        figure = draw_separability(rows, "d/c")
        handle = figure.legends[0].legend_handles[-1]
        looks.add((handle.get_marker(), handle.get_color()))
        assert (figure.axes[0].lines[-1].get_marker(), figure.axes[0].lines[-1].get_color()) in looks
    assert len(looks) == 1


def test_a_map_says_how_many_components_it_is_of_and_keeps_weights_in_one_line() -> None:
    texts = [text.get_text() for text in draw_patch_map(patch_map(), "dataset/category, net (random weights)").texts]
    assert f"{DIMENSIONS} at most" in " ".join(texts).replace("\n", " ")
    assert "(random weights)" in texts[0]


def test_what_is_undefined_is_said_in_its_place() -> None:
    rows = [Separation("layer2", "dent", 1, 0, NAN, NAN, NAN, NAN)]
    svg = to_svg(draw_separability(rows, "d/c"), "separability")
    assert svg.count("undefined") == 2
    assert "1 image<" in svg


def test_nothing_is_cut_off(tmp_path: Path) -> None:
    kinds = ("", *(f"a defect type with a rather long name {number}" for number in range(9)))
    save_figure(draw_patch_map(patch_map(kinds=kinds), "dataset/category " * 9), tmp_path / "map.png")
    rows = [Separation(f"block{layer}", kind, 9, 9, 1.0, 1.0, 1.0, 0.0) for layer in range(12) for kind in kinds[1:4]]
    save_figure(draw_separability(rows, "dataset/category " * 9), tmp_path / "separability.png")
    for name in ("map", "separability"):
        page = np.asarray(Image.open(tmp_path / f"{name}.png").convert("L"))
        for edge in (page[0], page[-1], page[:, 0], page[:, -1]):
            assert edge.min() == 255, name
