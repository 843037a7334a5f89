import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import render_heatmaps
from PIL import Image

from patchshift.errors import UserError
from patchshift.evaluation.calibration import PixelThreshold
from patchshift.plan.cells import Cell
from patchshift.report.cases import CellPictures
from patchshift.report.cell_maps import CellMaps
from patchshift.report.heatmaps import CONTOUR_COLOUR, render_cell
from patchshift.report.pictures import IGNORED_GREY, MASK_COLOUR
from patchshift.report.results import StudyResults


def read_maps(cell: Cell, *, is_fitted: bool = True) -> CellMaps:
    paths = map(Path, (cell.scores, cell.pack, cell.split, cell.threshold_file))
    return CellMaps.read(*paths, is_fitted=is_fitted)


def find_cell(made: Any, detector: str, experiment: str = "clean") -> Cell:
    return next(cell for cell in made.plan.cells()[experiment] if cell.bank.detector == detector)


def read_picture(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def marked(picture: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((picture == colour).all(axis=-1).any())


def test_every_test_image_has_a_heatmap_and_an_overlay(made: Any, tmp_path: Path) -> None:
    cell = find_cell(made, "sharp")
    render_cell(tmp_path, read_maps(cell), Path(cell.pack), 1.0)
    table = list(csv.DictReader((tmp_path / "images.csv").open()))
    assert len(table) == 12
    for kind in ("heatmap", "overlay"):
        assert sorted(path.name for path in (tmp_path / kind).iterdir()) == sorted(
            f"{row['image']}.png" for row in table
        )
    for row in table:
        overlay = read_picture(tmp_path / "overlay" / f"{row['image']}.png")
        heatmap = read_picture(tmp_path / "heatmap" / f"{row['image']}.png")
        assert overlay.shape == heatmap.shape == (24, 24, 3)
        assert marked(overlay, MASK_COLOUR) == (row["label"] == "1")
        assert not marked(heatmap, MASK_COLOUR)
        assert not marked(heatmap, CONTOUR_COLOUR)


def test_what_is_outlined_is_what_the_threshold_calls_defective(made: Any, tmp_path: Path) -> None:
    cell = find_cell(made, "blunt")
    maps = read_maps(cell)
    render_cell(tmp_path, maps, Path(cell.pack), 0.0)
    scale = json.loads((tmp_path / "scale.json").read_text())
    assert scale["outlined"] == "the patches at or above the image threshold"
    called = {
        row["image"]: float(row["score"]) >= scale["threshold"]
        for row in csv.DictReader((tmp_path / "images.csv").open())
    }
    assert len(set(called.values())) == 2
    for name, is_defective in called.items():
        assert marked(read_picture(tmp_path / "overlay" / f"{name}.png"), CONTOUR_COLOUR) == is_defective


def test_a_threshold_of_pixels_is_outlined_where_the_map_reaches_it(made: Any, tmp_path: Path) -> None:
    cell = find_cell(made, "sharp")
    maps = read_maps(cell)
    for threshold, is_marked in ((float(maps.scored.maps.max()) + 1, False), (0.0, True)):
        pixels = PixelThreshold("max_normal", threshold, None, normal=9, anomalous=0)
        folder = tmp_path / str(threshold)
        folder.mkdir()
        changed = replace(maps, calibration=replace(maps.calibration, pixels=pixels))
        render_cell(folder, changed, Path(cell.pack), 0.0)
        overlays = [read_picture(path) for path in (folder / "overlay").iterdir()]
        assert any(marked(overlay, CONTOUR_COLOUR) for overlay in overlays) == is_marked


def test_images_of_a_cell_share_the_scale_of_the_report(made: Any, results: StudyResults, tmp_path: Path) -> None:
    cell = find_cell(made, "sharp")
    maps = read_maps(cell)
    assert maps.scale == CellPictures.read(results, cell, 1.0).scale
    render_cell(tmp_path, maps, Path(cell.pack), 1.0)
    scale = json.loads((tmp_path / "scale.json").read_text())
    assert maps.scale is not None
    assert (scale["low"], scale["high"]) == (maps.scale.low, maps.scale.high)
    bright = {path.name: read_picture(path).astype(int).sum() for path in (tmp_path / "heatmap").iterdir()}
    normal = [value for name, value in bright.items() if "-test-0-" in name]
    anomalous = [value for name, value in bright.items() if "-test-1-" in name]
    assert np.mean(normal) < np.mean(anomalous)


def test_an_image_score_of_another_method_is_no_threshold_of_its_maps(made: Any, tmp_path: Path) -> None:
    cell = find_cell(made, "sharp")
    render_cell(tmp_path, read_maps(cell, is_fitted=False), Path(cell.pack), 1.0)
    scale = json.loads((tmp_path / "scale.json").read_text())
    assert scale["threshold"] is scale["outlined"] is None
    assert not any(marked(read_picture(path), CONTOUR_COLOUR) for path in (tmp_path / "overlay").iterdir())


def test_a_method_without_maps_has_a_table_and_no_picture(
    made: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cell = find_cell(made, "sharp")
    maps = read_maps(cell)
    scored = replace(maps.scored, maps=np.zeros((12, 0, 0), np.float32))
    render_cell(tmp_path, replace(maps, scored=scored, scale=None), Path(cell.pack), 1.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images.csv", "scale.json"]
    assert "no anomaly maps" in caplog.text


@pytest.mark.parametrize("name", ["../outside.png", "/outside.png", "a/../../outside.png"])
def test_a_name_that_leads_out_of_the_folder_is_refused(made: Any, tmp_path: Path, name: str) -> None:
    cell = find_cell(made, "sharp")
    maps = read_maps(cell)
    scored = replace(maps.scored, images=[name, *maps.scored.images[1:]])
    with pytest.raises(UserError, match=f"image '{name}' of .*: its name leads out of the folder"):
        render_cell(tmp_path, replace(maps, scored=scored), Path(cell.pack), 1.0)
    assert list(tmp_path.iterdir()) == []


def test_ignored_regions_are_hatched_in_both_pictures(make_study: Any, tmp_path: Path) -> None:
    made = make_study(ignore=True)
    cell = find_cell(made, "sharp")
    folder = tmp_path / "pictures"
    folder.mkdir()
    render_cell(folder, read_maps(cell), Path(cell.pack), 1.0)
    for path in [*(folder / "heatmap").iterdir(), *(folder / "overlay").iterdir()]:
        corner = read_picture(path)[17:, 17:].astype(int)
        assert np.ptp(corner, axis=2).max() == 0
        assert (corner == IGNORED_GREY).any()


def test_the_script_writes_the_same_bytes_twice(made: Any, tmp_path: Path) -> None:
    cell = find_cell(made, "sharp")
    files = []
    for name in ("first", "second"):
        folder = tmp_path / name
        arguments = ["--scores", cell.scores, "--pack", cell.pack, "--split", cell.split]
        arguments += ["--threshold", cell.threshold_file, "--spec", '{"smoothing_sigma": 1.0}']
        render_heatmaps.main([*arguments, "--heatmaps", str(folder)])
        files.append({path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")})
    assert files[0] == files[1]
    assert len(files[0]) == 26
