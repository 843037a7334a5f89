from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchshift.data.defects.crops import crop_defects
from patchshift.data.index import ImageRow, add_digests, read_index
from patchshift.data.packs import write_pack
from patchshift.data.splits import Split
from patchshift.detectors.positives import embed_defective_patches
from patchshift.detectors.training import Positives
from patchshift.errors import UserError
from patchshift.features.interpolation import interpolation_matrix
from patchshift.features.representations import fit_representation
from patchshift.features.store import FeatureRows, FeatureStore, FeatureWriter
from patchshift.plan.domain_specs import CropSpec
from patchshift.plan.representation_specs import RepresentationSpec

HEIGHT, WIDTH = 16, 12  # pixels, of 8 x 6 patches
PLAIN = RepresentationSpec(fusion="single", layers=["fine"], neighbourhood="none")
AVERAGE = RepresentationSpec(fusion="single", layers=["fine"], neighbourhood="average")
MakeFeatures = Callable[..., FeatureRows]


def pack(folder: Path, masks: Mapping[str, np.ndarray | None], ignore: np.ndarray | None = None) -> Path:
    """A pack of defective images with these masks."""
    rows = []
    for number, (key, mask) in enumerate(masks.items()):
        height, width = (HEIGHT, WIDTH) if mask is None else mask.shape
        Image.new("RGB", (width, height), (number, 0, 0)).save(folder / f"{key}.png")
        if mask is not None:
            Image.fromarray(mask.astype(np.uint8)).save(folder / f"{key}_mask.png")
        if ignore is not None:
            Image.fromarray(ignore.astype(np.uint8)).save(folder / f"{key}_ignore.png")
        names = [f"{key}_{kind}.png" * (given is not None) for kind, given in (("mask", mask), ("ignore", ignore))]
        rows.append(ImageRow(f"{key}.png", names[0], "", 1, "spot", key, ignore=names[1]))
    write_pack(folder / "pack.h5", add_digests(rows, folder), folder, {})
    return folder / "pack.h5"


def marked(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return mask


def fine(features: FeatureRows) -> np.ndarray:
    """[n, 8, 6, 4] the maps of the fine layer."""
    (maps,) = features.chunks(["fine"], len(features))
    return maps["fine"]


def test_patches_are_those_with_more_than_half_of_their_area_under_the_mask(
    make_features: MakeFeatures, tmp_path: Path
) -> None:
    features = make_features(2)
    masks = {"image0": marked(2, 4, 6, 7), "image1": marked(13, 9, 14, 10)}  # pixels of 2 x 2 make a patch
    found = embed_defective_patches(
        fit_representation(PLAIN, features, seed=0), [Positives(features, pack(tmp_path, masks))]
    )
    maps = fine(features)
    # the column of patches that is covered by half is not in; the small defect lends its most covered patch
    np.testing.assert_array_equal(found, [maps[0, 1, 2], maps[0, 2, 2], maps[1, 6, 4]])


def test_masks_are_not_resized_linearly(make_features: MakeFeatures, tmp_path: Path) -> None:
    """Of 4 x 4 pixels, linear resizing sees the middle ones alone: it would swap these two patches."""
    features = make_features(1)
    mask = np.zeros((32, 24), bool)
    mask[4:8, 4:8] = True  # a ring around the middle of patch (1, 1): three quarters of it
    mask[5:7, 5:7] = False
    mask[13:15, 9:11] = True  # the middle of patch (3, 2): a quarter of it
    down, across = interpolation_matrix(32, 8), interpolation_matrix(24, 6)
    assert np.argwhere(down @ mask @ across.T > 0.5).tolist() == [[3, 2]]
    path = pack(tmp_path, {"image0": mask})
    found = embed_defective_patches(fit_representation(PLAIN, features, seed=0), [Positives(features, path)])
    np.testing.assert_array_equal(found, fine(features)[0, 1, 1:2])


def test_the_neighbourhood_is_averaged_exactly_once(make_features: MakeFeatures, tmp_path: Path) -> None:
    normal, features = make_features(4, seed=1), make_features(1)
    representation = fit_representation(AVERAGE, normal, seed=0)
    masks = {"image0": marked(0, 0, HEIGHT, WIDTH)}
    found = embed_defective_patches(representation, [Positives(features, pack(tmp_path, masks))])
    padded = np.pad(fine(features)[0], ((1, 1), (1, 1), (0, 0)))
    once = sum(padded[row : row + 8, column : column + 6] for row in range(3) for column in range(3)) / 9
    np.testing.assert_allclose(found, once.reshape(-1, 4), rtol=1e-5, atol=1e-6)


def test_images_whose_masks_mark_nothing_give_no_patch_and_are_counted(
    make_features: MakeFeatures, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    features = make_features(3)
    masks = {"image0": None, "image1": marked(0, 0, 0, 0), "image2": marked(0, 0, 2, 2)}
    positives = [Positives(features, pack(tmp_path, masks))]
    caplog.clear()
    found = embed_defective_patches(fit_representation(PLAIN, features, seed=0), positives)
    np.testing.assert_array_equal(found, fine(features)[2, 0, :1])
    assert "2 of 3 defective images in" in caplog.text
    assert "image0, image1" in caplog.text


def test_what_of_a_defect_lies_in_an_ignored_region_is_none(make_features: MakeFeatures, tmp_path: Path) -> None:
    features = make_features(1)
    path = pack(tmp_path, {"image0": marked(0, 0, 2, 4)}, ignore=marked(0, 0, HEIGHT, 2))
    found = embed_defective_patches(fit_representation(PLAIN, features, seed=0), [Positives(features, path)])
    np.testing.assert_array_equal(found, fine(features)[0, 0, 1:2])


def test_without_defects_there_is_no_patch(make_features: MakeFeatures, tmp_path: Path) -> None:
    features = make_features(2)
    representation = fit_representation(PLAIN, features, seed=0)
    assert embed_defective_patches(representation, []).shape == (0, 4)
    none = Positives(features.parts[0][0].select([]), pack(tmp_path, {"image0": None}))
    assert embed_defective_patches(representation, [none]).shape == (0, 4)


def test_a_users_own_crop_without_mask_lends_all_its_patches(make_features: MakeFeatures, tmp_path: Path) -> None:
    own = tmp_path / "data/own"
    own.mkdir(parents=True)
    Image.new("RGB", (WIDTH, HEIGHT), (200, 0, 0)).save(own / "crop.png")
    folder = tmp_path / "crops"
    crop_defects([], Split({}, frozenset()), tmp_path, CropSpec(split="s", crops_path="own"), folder, tmp_path / "data")
    write_pack(tmp_path / "crops.h5", read_index(folder / "index.csv"), folder, {})
    (key,) = [row.key for row in read_index(folder / "index.csv")]
    normal = make_features(2)
    with FeatureWriter(tmp_path / "own.h5", [key], (64, 48), {}) as writer:
        writer.write(0, {name: maps[:1].astype(np.float16) for name, maps in next(normal.chunks(["fine"], 1)).items()})
    with FeatureStore(tmp_path / "own.h5") as store:
        representation = fit_representation(PLAIN, normal, seed=0)
        found = embed_defective_patches(representation, [Positives(store.select([key]), tmp_path / "crops.h5")])
    np.testing.assert_array_equal(found, fine(normal)[0].reshape(-1, 4))


def test_features_of_another_backbone_are_refused_by_name(make_features: MakeFeatures, tmp_path: Path) -> None:
    representation = fit_representation(RepresentationSpec(), make_features(2), seed=0)
    other = make_features(1, channels=7)
    with pytest.raises(UserError, match=r"features\d\.h5 has other layers .*with the same backbone"):
        embed_defective_patches(representation, [Positives(other, pack(tmp_path, {"image0": None}))])
