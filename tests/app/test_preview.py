import argparse
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchshift.app import preview
from patchshift.errors import UserError
from patchshift.report import transform_gallery
from patchshift.report.shift_gallery import Picture


def run(*arguments: str | Path) -> None:
    parser = argparse.ArgumentParser()
    preview.add_arguments(parser)
    preview.run(parser.parse_args(list(map(str, arguments))))


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Picture]:
    """The images that were given to be shifted; only one shift is drawn."""
    given = []

    def show(picture: Picture, *, seed: int) -> dict[str, list[Picture]]:
        given.append(picture)
        return {"blur": [picture] * 4}

    monkeypatch.setattr(transform_gallery, "show_transforms", show)
    return given


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with an image and its mask."""
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 80, 3), np.uint8)).save(tmp_path / "image.png")
    mask = np.zeros((50, 80), np.uint8)
    mask[40:48, 70:78] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return tmp_path


def test_without_an_image_a_defective_casting_is_shown_under_every_shift(tmp_path: Path) -> None:
    run("--output", tmp_path / "shifts.jpg")
    drawn = Image.open(tmp_path / "shifts.jpg")
    assert (drawn.format, drawn.width) == ("JPEG", 1600)
    assert drawn.height > 1000


def test_your_own_image_is_shown_with_its_mask(own: Path, shown: list[Picture]) -> None:
    run(own / "image.png", "--mask", own / "mask.png", "--output", own / "gallery.png")
    (picture,) = shown
    np.testing.assert_array_equal(picture.image, np.asarray(Image.open(own / "image.png")))
    assert picture.mask.sum() == 64
    assert Image.open(own / "gallery.png").format == "PNG"


def test_an_image_without_mask_has_no_defect(own: Path, shown: list[Picture]) -> None:
    run(own / "image.png", "--output", own / "gallery.jpeg")
    assert not shown[0].mask.any()
    assert Image.open(own / "gallery.jpeg").format == "JPEG"


def test_equal_requests_give_equal_bytes(own: Path, shown: list[Picture]) -> None:
    for suffix in ("png", "jpg"):
        for name in ("one", "two"):
            run(own / "image.png", "--output", own / f"{name}.{suffix}")
        assert (own / f"one.{suffix}").read_bytes() == (own / f"two.{suffix}").read_bytes()
    assert len(shown) == 4


def test_what_does_not_fit_is_said_before_anything_is_drawn(own: Path, shown: list[Picture]) -> None:
    Image.fromarray(np.zeros((5, 8), np.uint8)).save(own / "small.png")
    with pytest.raises(UserError, match=r"small\.png is \(5, 8\), its image .*image\.png is \(50, 80\)"):
        run(own / "image.png", "--mask", own / "small.png", "--output", own / "gallery.png")
    with pytest.raises(UserError, match="comes without its image"):
        run("--mask", own / "mask.png", "--output", own / "gallery.png")
    with pytest.raises(UserError, match=r"gallery\.gif is neither PNG nor JPEG: end its name with \.png or \.jpg"):
        run(own / "image.png", "--output", own / "gallery.gif")
    assert not shown
    assert not list(own.glob("gallery*"))
