"""Turned copies of training images: exact where they can be, without borders, and never of a test image."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchshift.data import workers
from patchshift.data.adapters import index_images
from patchshift.data.images import read_image
from patchshift.data.index import ImageRow, read_index
from patchshift.data.shifts.geometric import turn_about_centre, warp_image
from patchshift.data.splits import Split, split_images
from patchshift.data.turns import turn_images
from patchshift.errors import UserError
from patchshift.plan.data_specs import SplitSpec
from patchshift.plan.domain_specs import TurnSpec
from patchshift.runtime.files import digest_file

MakeTree = Callable[..., Path]

QUARTERS = TurnSpec(split="few", angles=[90, 180, 270])


def index(root: Path) -> list[ImageRow]:
    return index_images(root, "mvtec_ad", dataset="mine", masks="required", max_per_class=None)


def few(rows: list[ImageRow], **settings: object) -> Split:
    spec = {"protocol": "source_plan", "train_share": 0.8, "val_anomalous_share": 0.4, "seed": 0}
    return split_images(rows, SplitSpec.model_validate(spec | settings))


def turn(folder: Path, rows: list[ImageRow], split: Split, root: Path, spec: TurnSpec = QUARTERS) -> list[ImageRow]:
    turn_images(rows, split, root, spec, folder / "domain")
    return read_index(folder / "domain" / "index.csv")


@pytest.mark.parametrize("side", [1, 8, 33, 224, 1025])
def test_quarters_of_a_square_are_exact_and_counter_clockwise(side: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    for quarters in (1, 2, 3):
        turned = warp_image(image, turn_about_centre((side, side), 90 * quarters))
        np.testing.assert_array_equal(turned, np.rot90(image, quarters))


@pytest.mark.parametrize("size", [(7, 40), (64, 23)])
def test_half_a_turn_of_any_image_is_exact(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    np.testing.assert_array_equal(warp_image(image, turn_about_centre(size, 180)), np.rot90(image, 2))


@pytest.mark.parametrize("angle", [7.5, 45, 90, 135, 333])
@pytest.mark.parametrize("size", [(40, 40), (23, 63)])
def test_nothing_enters_that_the_image_does_not_show(size: tuple[int, int], angle: float) -> None:
    image = np.random.default_rng(0).integers(200, 230, (*size, 3), np.uint8)
    turned = warp_image(image, turn_about_centre(size, angle))
    assert turned.shape == image.shape
    assert image.min() <= turned.min() <= turned.max() <= image.max()


def test_every_training_image_is_turned_by_every_angle(tmp_path: Path, make_mvtec_ad: MakeTree) -> None:
    rows = index(root := make_mvtec_ad(size=(30, 30)))
    split = few(rows)
    made = turn(tmp_path, rows, split, root)
    assert [row.key for row in made] == [f"{key}#turn{angle}" for key in split.of("train") for angle in (90, 180, 270)]
    for row in made:
        assert replace(row, image="", source="", digest="") == ImageRow("", "", "train", 0, "")
        assert row.digest == digest_file(tmp_path / "domain" / row.image)
        origin, _, tag = row.key.rpartition("#")
        expected = np.rot90(read_image(root / origin), int(tag.removeprefix("turn")) // 90)
        np.testing.assert_array_equal(read_image(tmp_path / "domain" / row.image), expected)
    files = {path.relative_to(tmp_path / "domain").as_posix() for path in (tmp_path / "domain").rglob("*.png")}
    assert files == {row.image for row in made}


def test_no_other_image_is_turned_and_contaminants_are_as_the_good_ones(
    tmp_path: Path, make_mvtec_ad: MakeTree
) -> None:
    rows = index(root := make_mvtec_ad({"crack": 9}, train=9))
    split = few(rows, train_limit=4, train_contamination=0.25)
    made = turn(tmp_path, rows, split, root)
    origins = {row.source.rpartition("#")[0] for row in made}
    assert origins == set(split.of("train"))
    (contaminant,) = split.contaminants
    assert {(row.label, row.defect, row.mask) for row in made if row.source.startswith(contaminant)} == {(0, "", "")}
    for part in ("val", "test", "unused"):
        assert split.of(part)
        assert not origins & set(split.of(part))


def test_positives_are_not_turned(tmp_path: Path, make_mvtec_ad: MakeTree) -> None:
    rows = index(root := make_mvtec_ad())
    parts = {row.key: "train" if row.official_split == "train" or row.label else "test" for row in rows}
    made = turn(tmp_path, rows, Split(parts, frozenset(row.key for row in rows if row.label)), root)
    assert {row.source.rpartition("/")[0] for row in made} == {"train/good"}


def test_an_image_with_the_content_of_a_test_image_is_not_turned(
    tmp_path: Path, make_mvtec_ad: MakeTree, caplog: pytest.LogCaptureFixture
) -> None:
    root = make_mvtec_ad()
    (root / "train/good/001.png").write_bytes((root / "test/good/000.png").read_bytes())
    rows = index(root)
    split = few(rows, train_share=1.0)
    assert "train/good/001.png" in split.of("train")
    with caplog.at_level(logging.WARNING):
        made = turn(tmp_path, rows, split, root)
    assert len(made) == 3 * 4
    assert "train/good/001.png" not in {row.source.rpartition("#")[0] for row in made}
    assert caplog.messages == ["train/good/001.png is not turned: an image of test has the same content"]
    only = replace(split, parts={key: part if part != "train" else "unused" for key, part in split.parts.items()})
    only.parts["train/good/001.png"] = "train"
    with pytest.raises(UserError, match="'few' has no training image whose content is not also that of a test image"):
        turn(tmp_path, rows, only, root)


def test_the_number_of_workers_changes_nothing(
    tmp_path: Path, make_mvtec_ad: MakeTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "WORTH_SECONDS", 0)
    monkeypatch.setattr(workers, "CHUNK", 1)
    rows = index(root := make_mvtec_ad())
    spec = TurnSpec(split="few", angles=[0.5, 45])
    for count in (1, 2):
        turn_images(rows, few(rows), root, spec, tmp_path / str(count), workers=count)
    first, second = (
        {path.relative_to(tmp_path / count): path.read_bytes() for path in (tmp_path / count).rglob("*.*")}
        for count in ("1", "2")
    )
    assert first == second
    assert len(first) == 4 * 2 + 1
    assert Path(f"images/{few(rows).of('train')[0]}_turn0.5.png") in first


def test_grey_images_stay_grey(tmp_path: Path, make_mtd: MakeTree) -> None:
    root = make_mtd()
    rows = index_images(root, "mtd", dataset="mtd", masks="required", max_per_class=None)
    made = turn(tmp_path, rows, few(rows), root, TurnSpec(split="few", angles=[45]))
    assert {Image.open(tmp_path / "domain" / row.image).mode for row in made} == {"L"}


def test_images_that_cannot_be_read_are_named_at_once(tmp_path: Path, make_mvtec_ad: MakeTree) -> None:
    rows = index(root := make_mvtec_ad())
    split = few(rows)
    for key in split.of("train")[:2]:
        (root / key).write_bytes(b"not an image")
    with pytest.raises(UserError) as caught:
        turn(tmp_path, rows, split, root)
    head, *lines = str(caught.value).split("\n")
    assert head == "2 files cannot be used:"
    assert all("changed since it was indexed" in line for line in lines)


def test_a_split_that_lacks_images_of_the_index_is_outdated(tmp_path: Path, make_mvtec_ad: MakeTree) -> None:
    rows = index(root := make_mvtec_ad())
    with pytest.raises(UserError, match="is not in the split: the images changed since it was drawn"):
        turn(tmp_path, rows, few(rows[1:]), root)
