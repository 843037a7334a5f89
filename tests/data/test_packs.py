import io
import logging
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from patchshift.data.adapters import index_images
from patchshift.data.image_facts import FACTS, measure_facts
from patchshift.data.images import read_image, read_mask
from patchshift.data.index import ImageRow
from patchshift.data.packs import THUMBNAIL_SIDE, Pack, write_pack
from patchshift.errors import UserError
from patchshift.runtime.files import digest_file

MakeTree = Callable[..., Path]
SIZES = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=5)


def index(root: Path, *, adapter: str = "mvtec_ad", masks: str = "required") -> list[ImageRow]:
    return index_images(root, adapter, dataset="mine", masks=masks, max_per_class=None)


@settings(max_examples=15, deadline=None)  # each waits for the disk
@given(SIZES, st.integers(0, 99))
def test_masks_of_any_size_come_back_bit_by_bit(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[tuple[int, int]], seed: int
) -> None:
    root = tmp_path_factory.getbasetemp() / "packs"
    root.mkdir(exist_ok=True)
    random = np.random.default_rng(seed)
    masks = [random.random(size) < 0.5 for size in sizes]
    rows = []
    for number, mask in enumerate(masks):
        Image.fromarray(np.zeros((*mask.shape, 3), np.uint8)).save(root / f"{number}.png")
        Image.fromarray(mask.astype(np.uint8) * 255).save(root / f"{number}_mask.png")
        digest = digest_file(root / f"{number}.png")
        rows.append(ImageRow(f"{number}.png", f"{number}_mask.png", "", 1, "crack", digest=digest))
    write_pack(root / "pack.h5", rows, root, {})
    with Pack(root / "pack.h5") as pack:
        for number, mask in enumerate(masks):
            np.testing.assert_array_equal(pack.mask(number), mask)


def test_a_pack_holds_labels_defects_and_masks_of_every_image(tmp_path: Path, make_mtd: MakeTree) -> None:
    root = make_mtd()
    rows = index(root, adapter="mtd")
    write_pack(tmp_path / "pack.h5", rows, root, {"stage": "pack_images"})
    with Pack(tmp_path / "pack.h5") as pack:
        assert pack.images == [row.key for row in rows]
        assert pack.labels.tolist() == [row.label for row in rows]
        assert pack.defects == [row.defect for row in rows]
        assert pack.has_masks
        assert pack.rows([rows[4].key, rows[0].key]) == [4, 0]
        for number, row in enumerate(rows):
            with Image.open(root / row.image) as image:
                assert pack.mask(number).shape == image.size[::-1]
            wanted = read_mask(root / row.mask) if row.mask else np.zeros_like(pack.mask(number))
            np.testing.assert_array_equal(pack.mask(number), wanted)


def test_thumbnails_are_small_jpegs_of_the_images(tmp_path: Path) -> None:
    picture = np.zeros((300, 600, 3), np.uint8)
    picture[:, 300:] = (200, 20, 20)
    Image.fromarray(picture).save(tmp_path / "a.png")
    row = ImageRow("a.png", "", "", 0, "", digest=digest_file(tmp_path / "a.png"))
    write_pack(tmp_path / "pack.h5", [row], tmp_path, {})
    with Pack(tmp_path / "pack.h5") as pack:
        thumbnail = Image.open(io.BytesIO(pack.thumbnail(0)))
    assert (thumbnail.format, thumbnail.size) == ("JPEG", (THUMBNAIL_SIDE, THUMBNAIL_SIDE // 2))
    pixels = np.asarray(thumbnail).astype(int)
    np.testing.assert_allclose(pixels[60, [20, 230]], [[0, 0, 0], [200, 20, 20]], atol=6)


def test_a_category_without_masks_says_so(tmp_path: Path, make_mvtec_ad: MakeTree) -> None:
    root = make_mvtec_ad()
    for mask in (root / "ground_truth").rglob("*.png"):
        mask.unlink()
    write_pack(tmp_path / "pack.h5", index(root, masks="optional"), root, {})
    with Pack(tmp_path / "pack.h5") as pack:
        assert not pack.has_masks
        assert not pack.mask(0).any()


def test_one_anomalous_image_without_mask_is_enough_to_have_no_pixel_truth(
    tmp_path: Path, make_mvtec_ad: MakeTree
) -> None:
    root = make_mvtec_ad()
    rows = [replace(row, mask="") if row.image == "test/crack/001.png" else row for row in index(root)]
    write_pack(tmp_path / "pack.h5", rows, root, {})
    with Pack(tmp_path / "pack.h5") as pack:
        assert not pack.has_masks


def test_a_mask_of_another_size_than_its_image_is_refused(tmp_path: Path, make_mvtec_ad: MakeTree) -> None:
    root = make_mvtec_ad()
    rows = index(root)
    for name in ("crack/001", "scratch/000"):
        Image.fromarray(np.zeros((40, 30), np.uint8)).save(root / "ground_truth" / f"{name}_mask.png")
    with pytest.raises(UserError) as caught:
        write_pack(tmp_path / "pack.h5", rows, root, {})
    message = str(caught.value)
    assert message.startswith("2 files cannot be used:")
    assert "crack/001_mask.png is (40, 30), its image test/crack/001.png is (30, 40): they must match" in message
    assert not (tmp_path / "pack.h5").exists()


def test_masks_that_mark_nothing_are_named_and_their_images_stay_anomalous(
    tmp_path: Path, make_mvtec_ad: MakeTree, caplog: pytest.LogCaptureFixture
) -> None:
    root = make_mvtec_ad()
    rows = index(root)
    for name in ("crack/001", "scratch/000"):
        path = root / "ground_truth" / f"{name}_mask.png"
        Image.fromarray(np.zeros(read_mask(path).shape, np.uint8)).save(path)
    with caplog.at_level(logging.WARNING):
        write_pack(tmp_path / "pack.h5", rows, root, {})
    (message,) = caplog.messages
    assert message.startswith("2 masks under ")
    assert "ground_truth/crack/001_mask.png, ground_truth/scratch/000_mask.png" in message
    with Pack(tmp_path / "pack.h5") as pack:
        assert pack.has_masks
        assert pack.labels[pack.rows(["test/crack/001.png"])].tolist() == [1]


@settings(max_examples=15, deadline=None)
@given(SIZES, st.integers(0, 99))
def test_ignore_masks_of_any_size_come_back_bit_by_bit(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[tuple[int, int]], seed: int
) -> None:
    root = tmp_path_factory.getbasetemp() / "ignored"
    root.mkdir(exist_ok=True)
    random = np.random.default_rng(seed)
    masks = [random.random(size) < 0.5 for size in sizes]
    rows = []
    for number, mask in enumerate(masks):
        if number % 3 == 1:
            mask[:] = False  # an image without
        Image.fromarray(np.zeros((*mask.shape, 3), np.uint8)).save(root / f"{number}.png")
        Image.fromarray(mask.astype(np.uint8) * 255).save(root / f"{number}_ignore.png")
        ignore = "" if number % 3 == 1 else f"{number}_ignore.png"
        digest = digest_file(root / f"{number}.png")
        rows.append(ImageRow(f"{number}.png", "", "", 0, "", digest=digest, ignore=ignore))
    write_pack(root / "pack.h5", rows, root, {})
    with Pack(root / "pack.h5") as pack:
        assert pack.has_ignore
        for number, mask in enumerate(masks):
            np.testing.assert_array_equal(pack.ignore(number), mask)
            assert not pack.mask(number).any()


@pytest.fixture
def ignoring(tmp_path: Path) -> list[ImageRow]:
    """Three defects of 30 x 40 pixel images, right, left and across; the left half of all images is ignored."""
    half = np.zeros((30, 40), np.uint8)
    half[:, :20] = 1
    Image.fromarray(half).save(tmp_path / "half.png")
    rows = []
    for name, columns in (("right", (25, 30)), ("left", (0, 20)), ("across", (19, 21))):
        mask = np.zeros((30, 40), np.uint8)
        mask[3:6, slice(*columns)] = 255
        Image.fromarray(mask).save(tmp_path / f"{name}_mask.png")
        Image.fromarray(mask).convert("RGB").save(tmp_path / f"{name}.png")
        digest = digest_file(tmp_path / f"{name}.png")
        rows.append(ImageRow(f"{name}.png", f"{name}_mask.png", "", 1, "spot", digest=digest, ignore="half.png"))
    return rows


def test_an_image_whose_defect_is_wholly_ignored_counts_as_normal_and_is_named(
    tmp_path: Path, ignoring: list[ImageRow], caplog: pytest.LogCaptureFixture
) -> None:
    write_pack(tmp_path / "pack.h5", ignoring, tmp_path, {})
    with Pack(tmp_path / "pack.h5") as pack:
        assert pack.labels.tolist() == [1, 0, 1]
        assert pack.defects == ["spot", "", "spot"]
        assert pack.mask(1).sum() == 60  # as it was drawn
    (message,) = caplog.messages
    assert message.startswith("1 anomalous images under ")
    assert message.endswith("their defects lie wholly inside ignored regions: left.png")


def test_one_ignore_mask_of_a_whole_category_is_kept_once(tmp_path: Path, ignoring: list[ImageRow]) -> None:
    write_pack(tmp_path / "pack.h5", ignoring, tmp_path, {})
    with h5py.File(tmp_path / "pack.h5") as file:
        assert len(file["ignore_bits"]) == 30 * 40 / 8
    with Pack(tmp_path / "pack.h5") as pack:
        for row in range(3):
            assert pack.ignore(row)[:, :20].all()
            assert not pack.ignore(row)[:, 20:].any()


def test_a_mask_that_marks_nothing_stays_anomalous_beside_an_ignored_region(
    tmp_path: Path, ignoring: list[ImageRow]
) -> None:
    Image.fromarray(np.zeros((30, 40), np.uint8)).save(tmp_path / "left_mask.png")
    write_pack(tmp_path / "pack.h5", ignoring, tmp_path, {})
    with Pack(tmp_path / "pack.h5") as pack:
        assert pack.labels.tolist() == [1, 1, 1]


def test_an_ignore_mask_of_another_size_than_an_image_is_refused(tmp_path: Path, ignoring: list[ImageRow]) -> None:
    Image.fromarray(np.zeros((40, 30), np.uint8)).save(tmp_path / "half.png")
    with pytest.raises(UserError) as caught:
        write_pack(tmp_path / "pack.h5", ignoring[:2], tmp_path, {})
    message = str(caught.value)
    assert message.startswith("2 files cannot be used:")
    assert "half.png is (40, 30), its image right.png is (30, 40): they must match" in message
    assert message.count("ignore mask ") == 2


def test_an_unreadable_ignore_mask_is_named_once(tmp_path: Path, ignoring: list[ImageRow]) -> None:
    (tmp_path / "half.png").write_bytes(b"not an image")
    with pytest.raises(UserError, match=r"1 file cannot be used:\s+.*half\.png: not a readable image"):
        write_pack(tmp_path / "pack.h5", ignoring, tmp_path, {})


def test_without_ignore_masks_nothing_is_ignored(tmp_path: Path, make_mvtec_ad: MakeTree) -> None:
    root = make_mvtec_ad()
    write_pack(tmp_path / "pack.h5", index(root), root, {})
    with Pack(tmp_path / "pack.h5") as pack:
        assert not pack.has_ignore
        assert pack.ignore(0).shape == pack.mask(0).shape
        assert not pack.ignore(0).any()


def test_a_pack_from_before_ignore_masks_is_to_be_made_again(tmp_path: Path, make_mvtec_ad: MakeTree) -> None:
    root = make_mvtec_ad()
    write_pack(tmp_path / "pack.h5", index(root), root, {})
    with h5py.File(tmp_path / "pack.h5", "a") as file:
        del file["ignore_offsets"]
    with pytest.raises(UserError, match=r"pack\.h5 is not a whole pack .*delete it and run again"):
        Pack(tmp_path / "pack.h5")


def test_a_pack_holds_the_facts_of_every_image(tmp_path: Path, ignoring: list[ImageRow]) -> None:
    write_pack(tmp_path / "pack.h5", [*ignoring, replace(ignoring[0], mask="", label=0, ignore="")], tmp_path, {})
    with Pack(tmp_path / "pack.h5") as pack:
        facts = pack.facts
    assert list(facts) == list(FACTS)
    assert all(values.dtype == np.float64 for values in facts.values())
    np.testing.assert_array_equal(np.isnan(facts["defect_area"]), [False, True, False, True])
    wanted = measure_facts(
        read_image(tmp_path / "across.png"), *(read_mask(tmp_path / f) for f in ("across_mask.png", "half.png"))
    )
    for name, value in wanted.items():
        assert facts[name][2] == np.float32(value)


def test_a_pack_from_before_facts_is_to_be_made_again(tmp_path: Path, make_mvtec_ad: MakeTree) -> None:
    root = make_mvtec_ad()
    for gone in ("facts", "facts/border_distance"):
        write_pack(tmp_path / "pack.h5", index(root), root, {})
        with h5py.File(tmp_path / "pack.h5", "a") as file:
            del file[gone]
        with pytest.raises(UserError, match=r"pack\.h5 is not a whole pack .*delete it and run again"):
            Pack(tmp_path / "pack.h5")


def test_an_image_that_is_not_in_the_pack_is_named(tmp_path: Path, make_mvtec_ad: MakeTree) -> None:
    root = make_mvtec_ad()
    write_pack(tmp_path / "pack.h5", index(root), root, {})
    with Pack(tmp_path / "pack.h5") as pack, pytest.raises(UserError, match=r"pack\.h5 lacks new\.png \(1 in all\)"):
        pack.rows(["new.png"])


def test_packing_again_gives_the_same_bytes(tmp_path: Path, make_mvtec_ad: MakeTree) -> None:
    root = make_mvtec_ad()
    for name in ("first.h5", "second.h5"):
        write_pack(tmp_path / name, index(root), root, {"stage": "pack_images", "inputs": {}})
    assert digest_file(tmp_path / "first.h5") == digest_file(tmp_path / "second.h5")


def test_packing_more_images_takes_no_more_memory(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (64, 1024, 3), np.uint8)).save(tmp_path / "image.png")
    Image.fromarray((random.random((64, 1024)) < 0.5).astype(np.uint8) * 255).save(tmp_path / "mask.png")
    row = ImageRow("image.png", "mask.png", "", 1, "crack", digest=digest_file(tmp_path / "image.png"))
    peaks = []
    for count in (10, 50, 150):  # 8 kB of mask and some of thumbnail each; the first time modules are loaded, too
        tracemalloc.start()
        try:
            write_pack(tmp_path / "pack.h5", [row] * count, tmp_path, {})
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[2] - peaks[1] < 250_000


def test_a_damaged_pack_is_named_with_the_remedy(tmp_path: Path, make_mvtec_ad: MakeTree) -> None:
    root = make_mvtec_ad()
    path = tmp_path / "pack.h5"
    write_pack(path, index(root), root, {})
    for damage in (path.read_bytes()[:500], b"", b"not HDF5"):
        path.write_bytes(damage)
        with pytest.raises(UserError, match=r"pack\.h5 is not a whole pack .*delete it and run again"):
            Pack(path)
