import numpy as np

from patchshift.data.shifts.geometric import GEOMETRIC
from patchshift.data.shifts.photometric import PHOTOMETRIC
from patchshift.plan.domain_specs import COMPOSITIONS
from patchshift.report.shift_gallery import Picture
from patchshift.report.transform_gallery import CLOSE_UPS, choose_window, show_transforms


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
