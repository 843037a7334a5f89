import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from patchshift.data.adapters import index_images
from patchshift.data.defects.boxes import Box, find_boxes, merge_boxes
from patchshift.data.defects.crops import crop_defects, crop_image
from patchshift.data.defects.sources import digests_of_test, require_part, select_rows
from patchshift.data.images import read_image, read_mask
from patchshift.data.index import ImageRow, read_index
from patchshift.data.splits import PARTS, Split
from patchshift.errors import UserError
from patchshift.plan.domain_specs import AugmentationSpec, CropSpec
from patchshift.runtime.files import digest_file

MakeTree = Callable[..., Path]

PLAIN = CropSpec(split="half", margin=2, minimum_size=8)
VARIED = PLAIN.model_copy(update={"augmentation": AugmentationSpec(copies=3)})


def index(root: Path) -> list[ImageRow]:
    return index_images(root, "mvtec_ad", dataset="mine", masks="required", max_per_class=None)


def split_of(rows: list[ImageRow], *trained: str) -> Split:
    """Good training images and the named defects train; all others are test."""
    parts = {row.key: "train" if row.key in trained or "train/" in row.key else "test" for row in rows}
    return Split(parts, frozenset(row.key for row in rows if row.label))


def draw(root: Path, *boxes: Box, path: str = "test/crack/000.png") -> None:
    """Give an image, by its mask, these defects."""
    name = Path(path)
    mask_path = root / "ground_truth" / name.parent.name / f"{name.stem}_mask.png"
    mask = np.zeros(read_mask(mask_path).shape, np.uint8)
    for box in boxes:
        mask[box.slices] = 255
    Image.fromarray(mask).save(mask_path)


def crop(tmp_path: Path, rows: list[ImageRow], split: Split, root: Path, spec: CropSpec = PLAIN) -> list[ImageRow]:
    folder = tmp_path / "domain"
    folder.mkdir()
    crop_defects(rows, split, root, spec, folder, tmp_path)
    return read_index(folder / "index.csv")


boxes = st.builds(
    lambda top, left, height, width: Box(top, left, top + height, left + width),
    *[st.integers(0, 40), st.integers(0, 40), st.integers(1, 20), st.integers(1, 20)],
)


@given(boxes, st.tuples(st.integers(1, 60), st.integers(1, 60)), st.integers(1, 80))
def test_a_frame_lies_inside_the_image_and_is_as_large_as_can_be(
    box: Box, shape: tuple[int, int], minimum: int
) -> None:
    framed = box.framed(shape, (minimum, minimum))
    assert 0 <= framed.top < framed.bottom <= shape[0]
    assert 0 <= framed.left < framed.right <= shape[1]
    assert framed.bottom - framed.top == min(max(box.bottom - box.top, minimum), shape[0])
    assert framed.right - framed.left == min(max(box.right - box.left, minimum), shape[1])


@given(boxes, st.integers(1, 80))
def test_a_frame_holds_all_of_the_box(box: Box, minimum: int) -> None:
    framed = box.framed((60, 60), (minimum, minimum))
    assert framed.top <= box.top
    assert framed.left <= box.left
    assert box.bottom <= framed.bottom
    assert box.right <= framed.right


@given(st.lists(boxes, min_size=1, max_size=12), st.randoms())
def test_merged_boxes_do_not_overlap_and_hold_the_given_ones_in_whatever_order(given_boxes: list[Box], random) -> None:  # type: ignore[no-untyped-def]
    merged = merge_boxes(given_boxes)
    assert not any(one.overlaps(other) for one in merged for other in merged if one != other)
    for box in given_boxes:
        holders = [one for one in merged if one.top <= box.top and one.left <= box.left]
        assert any(box.bottom <= one.bottom and box.right <= one.right for one in holders)
    shuffled = list(given_boxes)
    random.shuffle(shuffled)
    assert merge_boxes(shuffled) == merged


def test_regions_that_touch_at_a_corner_are_one() -> None:
    mask = np.zeros((20, 20), bool)
    mask[4, 4] = mask[5, 5] = mask[15, 15] = True
    assert find_boxes(mask, 0) == [Box(4, 4, 6, 6), Box(15, 15, 16, 16)]
    assert find_boxes(mask, 5) == [Box(-1, -1, 21, 21)]


def test_a_crop_is_the_defect_with_its_margin(tmp_path: Path, make_mvtec_ad: MakeTree) -> None:
    root = make_mvtec_ad(size=(60, 70))
    draw(root, Box(20, 30, 32, 50))
    rows = index(root)
    (made,) = crop(tmp_path, rows, split_of(rows, "test/crack/000.png"), root)
    assert replace(made, digest="") == ImageRow(
        image="images/test/crack/000.png_crop0.png",
        mask="masks/test/crack/000.png_crop0.png",
        official_split="train",
        label=1,
        defect="crack",
        source="test/crack/000.png#crop0",
    )
    assert made.digest == digest_file(tmp_path / "domain" / made.image)
    whole = read_image(root / "test/crack/000.png")
    np.testing.assert_array_equal(read_image(tmp_path / "domain" / made.image), whole[18:34, 28:52])
    mask = read_mask(tmp_path / "domain" / made.mask)
    assert mask[2:-2, 2:-2].all()
    assert mask.sum() == 12 * 20


def test_near_regions_share_a_crop_and_far_ones_do_not(tmp_path: Path, make_mvtec_ad: MakeTree) -> None:
    root = make_mvtec_ad(size=(60, 70))
    draw(root, Box(5, 5, 10, 10), Box(5, 12, 10, 17), Box(40, 50, 52, 62))
    rows = index(root)
    made = crop(tmp_path, rows, split_of(rows, "test/crack/000.png"), root)
    assert [row.key.partition("#")[2] for row in made] == ["crop0", "crop1"]
    assert [read_mask(tmp_path / "domain" / row.mask).shape for row in made] == [(9, 16), (16, 16)]
    assert [read_mask(tmp_path / "domain" / row.mask).sum() for row in made] == [50, 144]


def test_a_small_defect_in_a_corner_is_grown_inside_the_image(tmp_path: Path, make_mvtec_ad: MakeTree) -> None:
    root = make_mvtec_ad(size=(60, 12))
    draw(root, Box(58, 0, 60, 2))
    rows = index(root)
    spec = CropSpec(split="half", margin=1, minimum_size=20)
    (made,) = crop(tmp_path, rows, split_of(rows, "test/crack/000.png"), root, spec)
    whole = read_image(root / "test/crack/000.png")
    np.testing.assert_array_equal(read_image(tmp_path / "domain" / made.image), whole[40:60])


def test_ignored_defects_give_no_crop_and_ignore_masks_are_cropped_along(
    tmp_path: Path, make_mvtec_ad: MakeTree
) -> None:
    root = make_mvtec_ad(size=(60, 70))
    draw(root, Box(5, 5, 10, 10), Box(40, 50, 52, 62))
    ignored = np.zeros((60, 70), np.uint8)
    ignored[:20] = ignored[38:42] = 255
    Image.fromarray(ignored).save(root / "ignore.png")
    rows = [replace(row, ignore="ignore.png") for row in index(root)]
    made = crop(tmp_path, rows, split_of(rows, "test/crack/000.png"), root, VARIED)
    assert len(made) == 4
    np.testing.assert_array_equal(read_mask(tmp_path / "domain" / made[0].ignore), ignored[40:54, 48:64] > 0)
    for row in made:
        assert 0 < read_mask(tmp_path / "domain" / row.ignore).mean() < 0.5


def test_copies_differ_have_the_size_of_the_crop_and_move_their_masks(tmp_path: Path, make_mvtec_ad: MakeTree) -> None:
    root = make_mvtec_ad(size=(60, 70))
    box = Box(20, 30, 32, 50)
    draw(root, box)
    pixels = np.full((60, 70, 3), 60, np.uint8)
    pixels[box.slices] = 220
    Image.fromarray(pixels).save(root / "test/crack/000.png")
    rows = index(root)
    original, *copies = crop(tmp_path, rows, split_of(rows, "test/crack/000.png"), root, VARIED)
    assert [row.key.partition("#")[2] for row in copies] == ["crop0copy0", "crop0copy1", "crop0copy2"]
    assert len({row.digest for row in (original, *copies)}) == 4
    for row in copies:
        image, mask = read_image(tmp_path / "domain" / row.image), read_mask(tmp_path / "domain" / row.mask)
        assert image.shape == (16, 24, 3)
        assert np.count_nonzero((image[..., 0] > 140) ^ mask) < 0.1 * mask.sum()


def test_a_turned_copy_shows_what_lies_beside_the_crop_and_never_black(tmp_path: Path, make_mvtec_ad: MakeTree) -> None:
    root = make_mvtec_ad(size=(60, 70))
    Image.fromarray(np.full((60, 70, 3), 230, np.uint8)).save(root / "test/crack/000.png")
    draw(root, Box(0, 0, 12, 50))
    rows = index(root)
    turned = AugmentationSpec(copies=8, flips=False, rotation=90, jitter=0)
    spec = PLAIN.model_copy(update={"augmentation": turned})
    for row in crop(tmp_path, rows, split_of(rows, "test/crack/000.png"), root, spec):
        image = read_image(tmp_path / "domain" / row.image)
        assert image.min() == image.max() == 230
        assert read_mask(tmp_path / "domain" / row.mask).any()


def test_a_crop_depends_on_no_other_image(tmp_path: Path, make_mvtec_ad: MakeTree) -> None:
    root = make_mvtec_ad(size=(60, 70))
    rows = index(root)
    both = ("test/crack/000.png", "test/crack/001.png")
    made = {}
    for name, chosen, trained in (("a", rows, both), ("b", rows[::-1], both), ("c", rows, both[1:])):
        (tmp_path / name).mkdir()
        made[name] = crop(tmp_path / name, chosen, split_of(rows, *trained), root, VARIED)
    assert set(made["a"]) == set(made["b"])
    assert set(made["c"]) < set(made["a"])
    other = VARIED.model_copy(update={"seed": 1})
    (tmp_path / "d").mkdir()
    again = crop(tmp_path / "d", rows, split_of(rows, *both), root, other)
    assert [row.digest for row in again if "copy" not in row.key] == [
        row.digest for row in made["a"] if "copy" not in row.key
    ]
    assert {row.digest for row in again if "copy" in row.key}.isdisjoint(row.digest for row in made["a"])


@given(st.lists(st.tuples(st.sampled_from(PARTS), st.booleans(), st.integers(0, 3)), min_size=1, max_size=30))
def test_a_test_image_is_never_chosen_whatever_the_split(images: list[tuple[str, bool, int]]) -> None:
    rows = [
        ImageRow(f"{number}.png", "m.png", "", int(anomalous), "crack" * anomalous, digest=str(content))
        for number, (_, anomalous, content) in enumerate(images)
    ]
    parts = {row.key: part for row, (part, _, _) in zip(rows, images, strict=True)}
    split = Split(parts, frozenset(row.key for row in rows if row.label))
    tested = digests_of_test(rows, split)
    for part in ("train", "val"):
        for positive in (True, False):
            for row in select_rows(rows, split, part, positive=positive):
                assert parts[row.key] == part
                assert row.digest not in tested
                assert bool(row.label) == positive


@pytest.mark.parametrize("part", ["val", "test", "unused"])
def test_no_crop_is_cut_from_an_image_of_another_part(tmp_path: Path, make_mvtec_ad: MakeTree, part: str) -> None:
    root = make_mvtec_ad()
    row = next(row for row in index(root) if row.label)
    split = Split({row.key: part}, frozenset({row.key}))
    with pytest.raises(UserError, match=f"{row.key} is in part '{part}' of the split, so no defect of 'train'"):
        crop_image(row, split, root, PLAIN, tmp_path / "domain")
    assert not (tmp_path / "domain").exists()


def test_an_image_that_the_split_does_not_know_is_refused(make_mvtec_ad: MakeTree) -> None:
    rows = index(make_mvtec_ad())
    split = split_of(rows[1:])
    for attempt in (lambda: require_part(rows[0], split, "train"), lambda: digests_of_test(rows, split)):
        with pytest.raises(UserError, match="is not in the split: the images changed"):
            attempt()


def test_a_training_defect_that_is_also_in_test_is_left_out(
    tmp_path: Path, make_mvtec_ad: MakeTree, caplog: pytest.LogCaptureFixture
) -> None:
    root = make_mvtec_ad()
    (root / "test/crack/002.png").write_bytes((root / "test/crack/000.png").read_bytes())
    rows = index(root)
    made = crop(tmp_path, rows, split_of(rows, "test/crack/000.png", "test/crack/001.png"), root)
    assert {row.key.partition("#")[0] for row in made} == {"test/crack/001.png"}
    assert "test/crack/000.png is left out: an image of test has the same content" in caplog.text


def test_a_split_without_training_defects_says_which_have_some(tmp_path: Path, make_mvtec_ad: MakeTree) -> None:
    rows = index(root := make_mvtec_ad())
    with pytest.raises(UserError, match=r"split 'half' has no training defects to crop: .*'official'.*KSDD2"):
        crop(tmp_path, rows, split_of(rows), root)


def test_a_contaminant_counts_as_neither_good_nor_defective(make_mvtec_ad: MakeTree) -> None:
    rows = index(make_mvtec_ad())
    known = split_of(rows, "test/crack/000.png", "test/crack/001.png")
    split = replace(
        known, anomalous=known.anomalous - {"test/crack/001.png"}, contaminants=frozenset({"test/crack/001.png"})
    )
    assert [row.key for row in select_rows(rows, split, "train", positive=True)] == ["test/crack/000.png"]
    assert not any(row.label for row in select_rows(rows, split, "train", positive=False))


def test_defects_without_masks_cannot_be_cropped(tmp_path: Path, make_mvtec_ad: MakeTree) -> None:
    root = make_mvtec_ad()
    rows = [replace(row, mask="") for row in index(root)]
    with pytest.raises(UserError, match=r"cropped by their masks, and test/crack/000\.png \(1 in all\) have none"):
        crop(tmp_path, rows, split_of(rows, "test/crack/000.png"), root)


def test_a_mask_that_marks_nothing_gives_no_crop(
    tmp_path: Path, make_mvtec_ad: MakeTree, caplog: pytest.LogCaptureFixture
) -> None:
    root = make_mvtec_ad()
    draw(root)
    rows = index(root)
    with caplog.at_level(logging.WARNING):
        made = crop(tmp_path, rows, split_of(rows, "test/crack/000.png", "test/crack/001.png"), root)
    assert [row.key for row in made] == ["test/crack/001.png#crop0"]
    assert "test/crack/000.png: its mask marks nothing" in caplog.text
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="the masks of all 1 training defects mark nothing"):
        crop(tmp_path / "none", rows, split_of(rows, "test/crack/000.png"), root)


def test_all_files_that_cannot_be_cropped_are_named_at_once(tmp_path: Path, make_mvtec_ad: MakeTree) -> None:
    root = make_mvtec_ad()
    rows = index(root)
    (root / "test/crack/000.png").write_bytes(b"not an image")
    Image.fromarray(np.ones((5, 5), np.uint8)).save(root / "ground_truth/crack/001_mask.png")
    with pytest.raises(UserError) as caught:
        crop(tmp_path, rows, split_of(rows, *(row.key for row in rows if row.label)), root)
    head, *lines = str(caught.value).split("\n")
    assert head == "2 files cannot be used:"
    assert "000.png: changed since it was indexed" in lines[0]
    assert "001_mask.png: is 5 x 5 pixels, its image 40 x 30" in lines[1]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of the user's: two crops, one with a mask, one in a subfolder without."""
    folder = tmp_path / "mine"
    random = np.random.default_rng(1)
    for name in ("a.jpg", "old/b.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (20, 30, 3), np.uint8)).save(folder / name)
    mask = np.zeros((20, 30), np.uint8)
    mask[5:9, 5:9] = 1
    (folder / "masks").mkdir()
    Image.fromarray(mask).save(folder / "masks" / "a.png")
    return folder


def test_own_crops_are_taken_in_place_of_the_training_defects(
    tmp_path: Path, make_mvtec_ad: MakeTree, own: Path
) -> None:
    rows = index(root := make_mvtec_ad())
    spec = CropSpec(split="half", crops_path="mine", augmentation=AugmentationSpec(copies=1))
    made = crop(tmp_path, rows, split_of(rows), root, spec)
    assert [row.key for row in made] == ["a.jpg#own", "a.jpg#owncopy0", "old/b.png#own", "old/b.png#owncopy0"]
    assert {(row.label, row.defect, row.official_split) for row in made} == {(1, "own", "train")}
    masks = [read_mask(tmp_path / "domain" / row.mask) for row in made]
    assert [mask.sum() for mask in masks[::2]] == [16, 600]
    np.testing.assert_array_equal(read_image(tmp_path / "domain" / made[2].image), read_image(own / "old/b.png"))


def test_own_crops_cannot_smuggle_in_a_test_image(tmp_path: Path, make_mvtec_ad: MakeTree, own: Path) -> None:
    rows = index(root := make_mvtec_ad())
    (own / "sneaky.png").write_bytes((root / "test/crack/000.png").read_bytes())
    with pytest.raises(UserError, match=r"sneaky\.png: is an image of test"):
        crop(tmp_path, rows, split_of(rows), root, CropSpec(split="half", crops_path="mine"))


def test_a_folder_of_own_crops_that_is_missing_or_empty_is_named(tmp_path: Path, make_mvtec_ad: MakeTree) -> None:
    rows = index(root := make_mvtec_ad())
    spec = CropSpec(split="half", crops_path="nowhere")
    (tmp_path / "domain").mkdir()
    with pytest.raises(UserError, match="nowhere does not exist: bring the images there"):
        crop_defects(rows, split_of(rows), root, spec, tmp_path / "domain", tmp_path)
    (tmp_path / "nowhere").mkdir()
    with pytest.raises(UserError, match="nowhere has no image"):
        crop_defects(rows, split_of(rows), root, spec, tmp_path / "domain", tmp_path)
    with pytest.raises(UserError, match="give --data-dir"):
        crop_defects(rows, split_of(rows), root, spec, tmp_path / "domain")
