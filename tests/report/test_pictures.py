import base64
import io

import numpy as np
from PIL import Image

from patchshift.plan.score_specs import AnomalyMapSpec
from patchshift.report.pictures import Scale, outline, show_heatmap, show_mask, shrink_ignored, shrink_mask


def grey_jpeg(size=(32, 32)):
    buffer = io.BytesIO()
    Image.fromarray(np.full((*size, 3), 128, np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def pixels(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))).astype(int)


def test_defect_of_one_pixel_survives_shrinking():
    mask = np.zeros((1000, 1000), bool)
    mask[500, 500] = True
    assert shrink_mask(mask, (32, 32)).sum() == 1


def test_outline_surrounds_a_mask_without_covering_it():
    mask = np.zeros((5, 5), bool)
    mask[2, 2] = True
    assert outline(mask).sum() == 8
    assert not outline(mask)[2, 2]


def test_brightest_where_the_map_is_highest():
    patch_map = np.zeros((4, 4), np.float32)
    patch_map[0, 3] = 9
    none = np.zeros((32, 32), bool)
    shown = pixels(show_heatmap(grey_jpeg(), patch_map, none, scale=Scale(0, 9), input_size=(32, 32), sigma=0)).sum(
        axis=2
    )
    assert np.unravel_index(shown.argmax(), shown.shape) >= (0, 20)
    assert shown[:8, -4:].mean() > shown[-8:, :8].mean()


def test_a_heatmap_shows_maps_as_the_detector_brings_them_to_pixels():
    patch_map = np.zeros((4, 4), np.float32)
    patch_map[0, 3] = 9
    none = np.zeros((32, 32), bool)
    arguments = {"scale": Scale(0, 9), "input_size": (32, 32), "sigma": 0}
    smooth, blocky = (
        pixels(show_heatmap(grey_jpeg(), patch_map, none, **arguments, anomaly_map=AnomalyMapSpec(upsampling=way)))
        for way in ("bilinear", "nearest")
    )
    assert np.ptp(blocky[1:7, 25:31], axis=(0, 1)).max() < 12
    assert np.ptp(smooth[1:7, 25:31], axis=(0, 1)).max() > 60
    assert np.abs(pixels(show_heatmap(grey_jpeg(), patch_map, none, **arguments)) - smooth).max() == 0


def test_hot_spot_in_an_ignored_region_is_grey():
    patch_map = np.zeros((4, 4), np.float32)
    patch_map[:2] = 9
    ignore = np.zeros((64, 64), bool)  # larger than the thumbnail
    ignore[:, 32:] = True
    none = np.zeros((64, 64), bool)
    arguments = {"scale": Scale(0, 9), "input_size": (32, 32), "sigma": 0}
    whole = pixels(show_heatmap(grey_jpeg(), patch_map, none, **arguments))
    shown = pixels(show_heatmap(grey_jpeg(), patch_map, none, **arguments, ignore=ignore))
    colourful = np.ptp(whole, axis=2) > 40
    assert colourful[2:12, 20:].all()
    assert np.ptp(shown[:, 18:], axis=2).max() < 12
    assert np.abs(shown[:, :14] - whole[:, :14]).max() < 12


def test_ignored_region_is_outlined_beside_the_defects():
    mask, ignore = np.zeros((2, 32, 32), bool)
    mask[:8, :8], ignore[:, 20:] = True, True
    without, shown = pixels(show_mask(grey_jpeg(), mask)), pixels(show_mask(grey_jpeg(), mask, ignore))
    assert (shown[:, 20] - without[:, 20]).min() > 40
    assert np.abs(shown[:, :16] - without[:, :16]).max() == 0  # whole JPEG blocks


def test_half_ignored_pixels_are_shown():
    ignore = np.zeros((4, 8), bool)
    ignore[:, :3] = True
    assert shrink_ignored(ignore, (2, 4))[0].tolist() == [True, False, False, False]


def test_mask_is_filled_and_the_rest_stays_grey():
    mask = np.zeros((32, 32), bool)
    mask[:16] = True
    shown = pixels(show_mask(grey_jpeg(), mask))
    assert (shown[2, :, 2] - shown[2, :, 0]).min() > 60
    assert np.abs(shown[-2, :, 2] - shown[-2, :, 0]).max() < 8


def test_scale_puts_the_threshold_halfway_unless_the_maps_end_earlier():
    maps = np.linspace(0, 10, 1000, dtype=np.float32).reshape(10, 10, 10)
    assert Scale.of(maps[:2], maps, 3.0) == Scale(float(np.median(maps[:2])), 6.0 - float(np.median(maps[:2])))
    assert Scale.of(maps[:2], maps, 50.0).high == np.quantile(maps, 0.999)
    assert Scale.of(maps[:2], maps, None).high == np.quantile(maps, 0.999)


def test_scale_of_constant_maps_still_has_a_length():
    maps = np.ones((2, 3, 3), np.float32)
    assert Scale.of(maps[:0], maps, None).apply(maps).max() == 0
