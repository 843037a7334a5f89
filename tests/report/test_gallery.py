import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchshift.data.packs import Pack
from patchshift.data.regions import read_ignored_patches
from patchshift.evaluation.calibrated import LogOdds
from patchshift.evaluation.image_metrics import count_decisions
from patchshift.plan.cells import Cell
from patchshift.report import gallery
from patchshift.report.cases import CellPictures
from patchshift.report.gallery import TargetImages, build_gallery, choose_most, choose_pictured, find_levels
from patchshift.report.page import render_report
from patchshift.report.pictures import MASK_COLOUR, outline_png, shrink_jpeg
from patchshift.report.templating import read_script
from tests.report.conftest import NASTY, MadeStudy


@pytest.fixture
def content(made: MadeStudy) -> dict:
    return build_gallery(made.data, None).content


def cell_content(content: dict, made: MadeStudy, cell: Cell) -> dict:
    return content["cells"][made.data.results.all_views().index(cell)]


def test_scores_labels_and_thresholds_give_the_decisions_of_the_tables(content, made):
    results = made.data.results
    for cell in results.all_views():
        told, images = cell_content(content, made, cell), results.images(cell)
        target, ranking = content["targets"][told["target"]], content["rankings"][told["ranking"]]
        rows = ranking["images"] or list(range(len(target["names"])))
        assert [target["names"][row] for row in rows] == images.names
        assert [target["types"][target["defects"][row]] for row in rows] == images.defects
        labels = np.array([target["labels"][row] for row in rows])
        called = np.array([score >= told["threshold"] for score in ranking["scores"]])
        assert count_decisions(labels, called) == results.confusion(cell)
        assert called.tolist() == images.decisions.tolist()


def test_every_test_image_has_its_picture_and_defects_their_outline(content, made):
    for path in {cell.target.path for cell in made.cells()}:
        number = [cell.target.path for cell in made.data.results.all_views()].index(path)
        target = content["targets"][content["cells"][number]["target"]]
        assert target["pictured"] == list(range(12))
        with Pack(Path(f"results/packs/{path}.h5")) as pack:
            for name, label, picture, edge, size in zip(
                *(target[key] for key in ("names", "labels", "pictures", "outlines", "sizes")), strict=True
            ):
                row = pack.rows([name])[0]
                assert base64.b64decode(picture) == shrink_jpeg(pack.thumbnail(row), gallery.SIDE)[0]
                assert size == (24, 24)
                assert bool(edge) == bool(label)
                if label:
                    assert base64.b64decode(edge) == outline_png(pack.mask(row), (24, 24))


def test_maps_are_one_byte_a_patch_on_the_scale_of_the_heatmaps(content, made):
    cell = made.data.cells("clean")[0]
    maps = content["rankings"][cell_content(content, made, cell)["ranking"]]["maps"]
    pictures = CellPictures.read(made.data.results, cell, 1.0)
    levels = np.frombuffer(base64.b64decode(maps["levels"]), np.uint8).reshape(12, 4, 4)
    assert (maps["rows"], maps["columns"], maps["low"]) == (4, 4, pictures.scale.low)
    assert maps["unit"] == "patch distance"
    shares = (levels.astype(float) - 1) / 254
    np.testing.assert_allclose(shares, pictures.scale.apply(pictures.scored.maps), atol=0.5 / 254 + 1e-9)


def test_ignored_patches_have_a_level_of_their_own(make_study):
    study = make_study(ignore=True, detectors=("sharp",), clean={"title": "Clean", "train": ["d/a"]})
    (cell,) = study.cells()
    pictures = CellPictures.read(study.data.results, cell, 1.0)
    ignored = read_ignored_patches(pictures.pack, pictures.scored.images, pictures.scored.grid)
    assert ignored is not None
    assert ignored.any()
    levels = find_levels(pictures, [0, 5])
    np.testing.assert_array_equal(levels == gallery.IGNORED, ignored[[0, 5]])


def test_thresholds_and_experiments_share_scores_and_maps(content, made):
    assert len(content["rankings"]) == len({cell.scores for cell in made.cells()})
    assert len(content["targets"]) == 4  # two categories, two domains


def test_a_calibrated_dual_bank_has_the_scores_of_its_decisions(make_study, calibrate_cell):
    study = make_study(detectors=("sharp",), clean={"title": "Clean", "train": ["d/a"]})
    (cell,) = study.cells()
    calibrate_cell(cell, LogOdds(0.5, 2.0, -1.0))
    (ranking,) = build_gallery(study.data, cell).content["rankings"]
    assert ranking["maps"]["unit"] == "log-odds of a defect"


def test_an_undefined_threshold_has_its_reason_and_decides_nothing(make_study):
    study = make_study(validation=False, detectors=("sharp",), clean={"title": "Clean", "train": ["d/a"]})
    (told,) = build_gallery(study.data, None).content["cells"]
    assert (told["threshold"], told["called"], told["deviation"]) == (None, None, None)
    assert told["reason"] == "no validation image"


def test_decisions_of_zones_are_kept_as_they_are(make_study):
    study = make_study(detectors=("sharp",), clean={"title": "Clean", "train": ["d/a"]})
    (cell,) = study.cells()
    study.decide_by_zones()
    (told,) = build_gallery(study.data, None).content["cells"]
    assert told["threshold"] is None
    assert told["called"] == study.data.results.images(cell).decisions.tolist()


def test_setups_are_named_by_what_tells_them_apart_in_their_experiment(content):
    named = [(setup["experiment"], setup["name"], len(setup["cells"])) for setup in content["setups"]]
    titles = ("In domain <b>bold</b>", "Shifted", "Adapted", "Pool")
    assert named == [(title, f"{detector} on net", 2) for title in titles for detector in ("blunt", "sharp")]


def test_setups_of_several_banks_and_thresholds_on_one_image(make_study):
    domains = ["clean", "dark"]
    study = make_study(
        detectors=("sharp",),
        cross={"title": "Cross", "train": ["d"], "targets": ["d/a", "d/b"]},
        shifted={"title": "Shifted", "train": ["d/a"], "target_domains": ["clean", "dark"], "calibrate_on": "target"},
        both={"title": "Both", "train": ["d/a"], "train_domains": domains, "target_domains": domains},
    )  # fmt: skip
    named = {}
    for setup in build_gallery(study.data, None).content["setups"]:
        named.setdefault(setup["experiment"], []).append((setup["name"], len(setup["cells"])))
    assert named == {
        "Cross": [("sharp on net, bank of d/a", 2), ("sharp on net, bank of d/b", 2)],
        "Shifted": [("sharp on net", 2)],
        "Both": [
            ("sharp on net, fitted on clean", 2),
            ("sharp on net, fitted on dark", 2),
        ],
    }


def test_an_alias_is_called_as_in_the_config(make_study):
    study = make_study(
        camera=True, detectors=("sharp",), other={"title": "Other", "train": ["d/a"], "target_domains": ["camera_b"]}
    )
    (told,) = build_gallery(study.data, None).content["cells"]
    assert (told["category"], told["domain"]) == ("a", "camera_b")


def test_the_setup_recommended_is_shown_first(made):
    cell = next(cell for cell in made.data.cells("adapted") if cell.bank.detector == "sharp")
    content = build_gallery(made.data, cell).content
    setup = content["setups"][content["start"]]
    assert (setup["experiment"], setup["name"]) == ("Adapted", "sharp on net")


def target_of(count: int, *, wrong: int = 0, patches: int = 0) -> TargetImages:
    names = [f"{number:03}" for number in range(count)]
    labels = dict.fromkeys(names, 0)
    return TargetImages(Path("pack.h5"), labels, dict.fromkeys(names, ""), set(names[count - wrong :]), patches)


def test_all_images_have_a_picture_where_the_page_has_room(monkeypatch):
    targets = [target_of(50, patches=784), target_of(10)]
    assert choose_most(targets) == 50
    assert choose_pictured(targets[0], 50) == list(targets[0].labels)
    monkeypatch.setattr(gallery, "LARGEST", 10 * targets[0].cost + 10 * targets[1].cost)
    assert choose_most(targets) == 10
    monkeypatch.setattr(gallery, "LARGEST", 1)
    assert choose_most(targets) == 1


def test_without_room_wrong_images_come_first_and_others_are_spread():
    assert choose_pictured(target_of(12, wrong=2), 5) == ["000", "003", "006", "010", "011"]
    assert choose_pictured(target_of(12, wrong=6), 3) == ["006", "008", "010"]


def test_a_page_without_room_says_how_many_pictures_it_has_and_counts_all(made, monkeypatch):
    monkeypatch.setattr(gallery, "LARGEST", 4 * 3 * (gallery.PICTURE_BYTES + 6 * 16 * 4 / 3))
    built = build_gallery(made.data, None)
    assert built.images == 48
    assert built.pictured == 4 * built.most < 48
    target, ranking = built.content["targets"][0], built.content["rankings"][0]
    assert len(target["names"]) == len(ranking["scores"]) == 12
    assert len(target["pictured"]) == len(target["pictures"]) == built.most
    assert len(base64.b64decode(ranking["maps"]["levels"])) == 16 * built.most
    text = " ".join(render_report(made.data, made.provenance).split())
    assert f"{built.pictured} of 48 images have a picture, at most {built.most} of each category and domain" in text


def test_what_data_say_never_ends_the_script_that_holds_them(made_page):
    start = made_page.index('id="gallery-data">') + len('id="gallery-data">')
    text = made_page[start : made_page.index("</script>", start)]
    assert not set("<>&'") & set(text)
    data = json.loads(text)
    assert NASTY in data["targets"][0]["types"]
    assert data["setups"][0]["experiment"] == "In domain <b>bold</b>"


def test_the_page_allows_its_own_scripts_alone(made_page):
    for name in ("tables.js", "gallery.js", "print.js"):
        script = read_script(name)
        assert f"'sha256-{script.digest}'" in made_page
        assert f"<script>{script.text}</script>" in made_page
        assert "</script" not in script.text
    assert made_page.count("<script>") == 3
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline';" in made_page


def test_outlines_are_of_the_masks_colour_on_nothing():
    mask = np.zeros((40, 40), bool)
    mask[10:20, 10:20] = True
    picture = Image.open(io.BytesIO(outline_png(mask, (20, 20)))).convert("RGBA")
    pixels = np.asarray(picture)
    assert pixels[4, 5].tolist() == [*MASK_COLOUR, 255]
    assert pixels[7, 7, 3] == pixels[0, 0, 3] == 0
