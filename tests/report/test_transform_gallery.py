from pathlib import Path

import numpy as np
from PIL import Image

from patchshift.data.shifts.geometric import GEOMETRIC
from patchshift.data.shifts.photometric import PHOTOMETRIC
from patchshift.plan.domain_specs import COMPOSITIONS
from patchshift.report.shift_gallery import Picture
from patchshift.report.transform_gallery import CLOSE_UPS, choose_window, main, show_transforms


def picture() -> Picture:
    mask = np.zeros((50, 80), bool)
    mask[40:48, 70:78] = True
    return Picture(np.random.default_rng(0).integers(0, 256, (50, 80, 3), np.uint8), mask)


def test_every_transform_and_composition_is_shown_at_each_severity() -> None:
    shown = show_transforms(picture())
    names = [*GEOMETRIC, *PHOTOMETRIC, *COMPOSITIONS]
    assert list(shown) == [name.replace("_", " ") for name in names]
    assert {len(pictures) for pictures in shown.values()} == {4}
    for name, (clean, *others) in zip(names, shown.values(), strict=True):
        assert clean.image.shape == ((20, 32, 3) if name in CLOSE_UPS else (50, 80, 3))
        assert not np.array_equal(clean.image, others[-1].image)


def test_close_ups_show_the_defect_inside_the_frame() -> None:
    mask = picture().mask
    assert mask[choose_window(mask)].sum() == mask.sum()
    rows, columns = choose_window(np.zeros((50, 80), bool))
    assert (rows, columns) == (slice(15, 35), slice(24, 56))


def test_your_own_image_is_drawn(tmp_path: Path) -> None:
    own = picture()
    Image.fromarray(own.image).save(tmp_path / "image.png")
    Image.fromarray(own.mask).save(tmp_path / "mask.png")
    main([f"--image={tmp_path / 'image.png'}", f"--mask={tmp_path / 'mask.png'}", str(tmp_path / "gallery.png")])
    drawn = Image.open(tmp_path / "gallery.png")
    assert drawn.format == "PNG"
    assert drawn.width > 1500


def test_the_default_is_a_casting_of_the_built_in_dataset(tmp_path: Path) -> None:
    main([str(tmp_path / "gallery.jpg")])
    drawn = Image.open(tmp_path / "gallery.jpg")
    assert (drawn.format, drawn.width) == ("JPEG", 1600)
