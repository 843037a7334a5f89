from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchshift.data.index import ImageRow, add_digests
from patchshift.data.packs import write_pack
from patchshift.report.examples import choose_examples, read_pictures, show_examples

DEFECTS = ("", "", "crack", "crack", "dent", "hole", "scratch")


def write(folder: Path, domain: str, *, shade: int, shift: int = 0, defects: tuple[str, ...] = DEFECTS) -> Path:
    """A pack of grey images in one domain; defects are squares, moved to the right by the shift."""
    images = folder / domain
    images.mkdir()
    rows = []
    for number, defect in enumerate(defects):
        Image.fromarray(np.full((20, 30, 3), shade + number, np.uint8)).save(images / f"{number}.png")
        mask = np.zeros((20, 30), np.uint8)
        mask[5:10, 5 + shift : 10 + shift] = 255
        Image.fromarray(mask).save(images / f"{number}.mask.png")
        rows.append(ImageRow(f"{number}.png", f"{number}.mask.png" if defect else "", "", int(bool(defect)), defect))
    path = folder / f"{domain}.h5"
    write_pack(path, add_digests(rows, images), images, {})
    return path


def test_examples_are_a_good_image_and_one_of_each_of_three_defects(tmp_path: Path) -> None:
    pack = write(tmp_path, "clean", shade=90)
    chosen = choose_examples(pack)
    assert [DEFECTS[int(name.removesuffix(".png"))] for name in chosen] == ["", "crack", "dent", "hole"]
    assert chosen == choose_examples(pack)


def test_a_category_without_good_images_shows_its_defects(tmp_path: Path) -> None:
    pack = write(tmp_path, "clean", shade=90, defects=("dent", "dent"))
    assert list(show_examples([pack], choose_examples(pack))) == ["dent"]


def test_each_example_is_shown_as_every_domain_has_it(tmp_path: Path) -> None:
    packs = [write(tmp_path, "clean", shade=90), write(tmp_path, "moved", shade=150, shift=12)]
    chosen = choose_examples(packs[0])
    shown = show_examples(packs, chosen)
    assert list(shown) == ["good", "crack", "dent", "hole"]
    for name, (clean, moved) in zip(chosen, shown.values(), strict=True):
        number = int(name.removesuffix(".png"))
        assert clean.image.mean() == pytest.approx(90 + number, abs=2)
        assert moved.image.mean() == pytest.approx(150 + number, abs=2)
    clean, moved = shown["crack"]
    np.testing.assert_array_equal(np.roll(clean.mask, 12, axis=1), moved.mask)
    assert not shown["good"][0].mask.any()


def test_script_draws_a_row_for_each_example(tmp_path: Path) -> None:
    import plot_shifts

    packs = [write(tmp_path, "clean", shade=90), write(tmp_path, "moved", shade=150)]
    gallery = tmp_path / "gallery.png"
    plot_shifts.main(["--packs", *map(str, packs), "--domains", "clean", "moved", "--gallery", str(gallery)])
    width, height = Image.open(gallery).size
    assert height > width  # four rows of two pictures


def test_pictures_are_named_by_type_and_file(tmp_path: Path) -> None:
    long = f"{'camera_' * 5}0042.png"
    Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(tmp_path / long)
    (tmp_path / "test").mkdir()
    (tmp_path / "test/1.png").write_bytes((tmp_path / long).read_bytes())
    rows = [ImageRow(long, "", "", 0, ""), ImageRow("test/1.png", "", "", 1, "dent")]
    write_pack(tmp_path / "pack.h5", add_digests(rows, tmp_path), tmp_path, {})
    assert [name for name, _ in read_pictures(tmp_path / "pack.h5", [long, "test/1.png"])] == [
        "good\n\N{HORIZONTAL ELLIPSIS}era_camera_0042.png",
        "dent\n1.png",
    ]
