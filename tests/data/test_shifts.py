import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import center_of_mass

from patchshift.data.adapters import index_images
from patchshift.data.images import read_image, read_mask
from patchshift.data.index import ImageRow, read_index
from patchshift.data.shifts import RANGES, SHIFTS, shift_image, synthesize_shift
from patchshift.errors import UserError
from patchshift.plan.specs import DomainSpec
from patchshift.runtime.files import digest_file

MakeTree = Callable[..., Path]
SPECS = {shift: DomainSpec(shift=shift, severity="moderate", seed=0) for shift in SHIFTS}  # type: ignore[arg-type]
GEOMETRIC, PHOTOMETRIC = SPECS["geometric"], SPECS["photometric"]
DIGESTS = [f"{number:064x}" for number in range(12)]


def index(root: Path) -> list[ImageRow]:
    return index_images(root, "mvtec_ad", dataset="mine", masks="required", max_per_class=None)


def square(size: tuple[int, int] = (120, 160)) -> tuple[np.ndarray, np.ndarray]:
    """A bright square on grey, and its mask."""
    mask = np.zeros(size, bool)
    mask[40:60, 90:115] = True
    return np.where(mask[..., None], 240, 60).astype(np.uint8).repeat(3, 2), mask


def test_every_declared_shift_and_severity_is_made() -> None:
    declared = DomainSpec.model_json_schema()["properties"]
    assert set(declared["shift"]["enum"]) == {"none", *SHIFTS}
    severity = declared["severity"]["anyOf"][0]
    assert set(severity.get("enum", [severity.get("const")])) == set(RANGES)


@pytest.mark.parametrize("digest", DIGESTS)
def test_a_geometric_shift_moves_the_mask_with_the_image(digest: str) -> None:
    image, mask = square()
    moved, moved_mask = shift_image(image, mask, digest, GEOMETRIC)
    assert moved.shape == image.shape
    bright = moved[..., 0] > 150
    assert np.count_nonzero(bright ^ moved_mask) < 0.05 * mask.sum()
    assert np.hypot(*np.subtract(center_of_mass(bright), center_of_mass(moved_mask))) < 0.3
    assert not np.array_equal(mask, moved_mask)


@pytest.mark.parametrize("digest", DIGESTS)
def test_no_geometric_shift_brings_in_a_border(digest: str) -> None:
    image = np.full((90, 60, 3), 230, np.uint8)
    moved, moved_mask = shift_image(image, np.ones((90, 60), bool), digest, GEOMETRIC)
    assert moved.min() == moved.max() == 230
    assert moved_mask.all()


def test_geometric_shifts_stay_in_their_ranges() -> None:
    """From where two marks go: by how much the image turned, and how much of it was cropped away."""
    turns, shares = [], []
    for digest in DIGESTS:
        image = np.zeros((200, 200, 3), np.uint8)
        image[96:104, 56:64] = image[96:104, 136:144] = 255
        bright = shift_image(image, np.zeros((200, 200), bool), digest, GEOMETRIC)[0][..., 0] > 128
        columns = np.arange(200)[None, :]
        left, right = (center_of_mass(bright & side) for side in (columns < 100, columns >= 100))
        dy, dx = np.subtract(right, left)
        turns.append(abs(np.degrees(np.arctan2(dy, dx))))
        shares.append((80 / np.hypot(dx, dy)) ** 2)
    assert 2 < max(turns) <= RANGES["moderate"].rotation_degrees + 0.5
    assert 0.9 - 0.02 <= min(shares) < max(shares) <= 1.02


@pytest.mark.parametrize("digest", DIGESTS[:4])
def test_a_photometric_shift_changes_pixels_and_leaves_masks(digest: str) -> None:
    image, mask = square()
    shifted, shifted_mask = shift_image(image, mask, digest, PHOTOMETRIC)
    np.testing.assert_array_equal(shifted_mask, mask)
    assert not np.array_equal(shifted, image)
    assert shifted[..., 0][mask].mean() > shifted[..., 0][~mask].mean() + 30


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_an_image_draws_from_its_own_stream(spec: DomainSpec) -> None:
    image, mask = square()
    again = [shift_image(image, mask, DIGESTS[0], spec)[0] for _ in range(2)]
    np.testing.assert_array_equal(*again)
    others = [(DIGESTS[1], spec), (DIGESTS[0], spec.model_copy(update={"seed": 1}))]
    assert not any(np.array_equal(again[0], shift_image(image, mask, *other)[0]) for other in others)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_shifted_domain_has_all_images_and_masks_and_names_their_originals(
    tmp_path: Path, make_mvtec_ad: MakeTree, spec: DomainSpec
) -> None:
    root = make_mvtec_ad()
    rows = index(root)
    synthesize_shift(rows, root, spec, tmp_path / "domain")
    shifted = read_index(tmp_path / "domain" / "index.csv")
    assert [row.key for row in shifted] == [row.key for row in rows]
    assert [row.source for row in shifted] == [row.image for row in rows]
    for before, after in zip(rows, shifted, strict=True):
        assert (after.label, after.defect, after.official_split) == (before.label, before.defect, before.official_split)
        assert after.digest == digest_file(tmp_path / "domain" / after.image)
        size = read_image(root / before.image).shape
        assert read_image(tmp_path / "domain" / after.image).shape == size
        if before.mask:
            assert read_mask(tmp_path / "domain" / after.mask).shape == size[:2]
    files = {path.relative_to(tmp_path / "domain").as_posix() for path in (tmp_path / "domain").rglob("*.png")}
    assert files == {row.image for row in shifted} | {row.mask for row in shifted if row.mask}


def test_adding_images_changes_no_other(tmp_path: Path, make_mvtec_ad: MakeTree) -> None:
    root = make_mvtec_ad()
    rows = index(root)
    for name, chosen in (("all", rows), ("some", rows[::-2])):
        synthesize_shift(chosen, root, GEOMETRIC, tmp_path / name)
    every = {row.key: row for row in read_index(tmp_path / "all" / "index.csv")}
    some = {row.key: row for row in read_index(tmp_path / "some" / "index.csv")}
    assert some.items() < every.items()


def test_an_image_whose_defect_left_the_frame_counts_as_normal(
    tmp_path: Path, make_mvtec_ad: MakeTree, caplog: pytest.LogCaptureFixture
) -> None:
    root = make_mvtec_ad({"crack": 12}, size=(60, 80))
    for path in (root / "ground_truth").rglob("*.png"):
        corner = np.zeros((60, 80), np.uint8)
        corner[0, 0] = 255
        Image.fromarray(corner).save(path)
    with caplog.at_level(logging.WARNING):
        synthesize_shift(index(root), root, GEOMETRIC, tmp_path / "domain")
    cracks = [row for row in read_index(tmp_path / "domain" / "index.csv") if "crack" in row.key]
    gone = [row for row in cracks if not row.label]
    assert 0 < len(gone) < len(cracks)
    for row in gone:
        assert (row.defect, row.mask) == ("", "")
        assert f"{row.key}: its defect left the frame" in caplog.text
    for row in cracks:
        if row.label:
            assert read_mask(tmp_path / "domain" / row.mask).any()


def test_all_files_that_cannot_be_read_are_named_at_once(tmp_path: Path, make_mvtec_ad: MakeTree) -> None:
    root = make_mvtec_ad()
    whole = (root / "train/good/001.png").read_bytes()
    (root / "train/good/000.png").write_bytes(whole[: len(whole) // 2])
    (root / "test/crack/000.png").write_bytes(b"not an image")
    (root / "ground_truth/scratch/001_mask.png").write_bytes(b"")
    rows = index(root)
    (root / "test/good/002.png").unlink()
    with pytest.raises(UserError) as caught:
        synthesize_shift(rows, root, PHOTOMETRIC, tmp_path / "domain")
    head, *lines = str(caught.value).split("\n")
    assert head == "4 files cannot be used:"
    for name in ("train/good/000.png", "test/crack/000.png", "scratch/001_mask.png", "test/good/002.png"):
        assert sum(name in line for line in lines) == 1


def test_images_that_changed_since_indexing_are_refused(tmp_path: Path, make_mvtec_ad: MakeTree) -> None:
    root = make_mvtec_ad()
    rows = index(root)
    (root / "train/good/000.png").write_bytes((root / "train/good/001.png").read_bytes())
    with pytest.raises(UserError, match=r"train/good/000\.png: changed since it was indexed"):
        synthesize_shift(rows, root, PHOTOMETRIC, tmp_path / "domain")
