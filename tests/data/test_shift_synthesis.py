"""Whole domains: files, index, reports, and any number of workers."""

import logging
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchshift.data import workers
from patchshift.data.adapters import index_images
from patchshift.data.images import read_image, read_mask
from patchshift.data.index import ImageRow, read_index
from patchshift.data.shifts import shift_image, synthesize_shift
from patchshift.errors import UserError
from patchshift.plan.domain_specs import DomainSpec
from patchshift.runtime.files import digest_file

MakeTree = Callable[..., Path]


def spec(shift: str, severity: str | float = "moderate") -> DomainSpec:
    return DomainSpec.model_validate({"shift": shift, "severity": severity, "seed": 0})


GEOMETRIC, PHOTOMETRIC, MIXED = spec("geometric"), spec("photometric"), spec("mixed")


def index(root: Path) -> list[ImageRow]:
    return index_images(root, "mvtec_ad", dataset="mine", masks="required", max_per_class=None)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("domain", [GEOMETRIC, PHOTOMETRIC, MIXED], ids=["geometric", "photometric", "mixed"])
def test_a_shifted_domain_has_all_images_and_masks_and_names_their_originals(
    tmp_path: Path, make_mvtec_ad: MakeTree, domain: DomainSpec
) -> None:
    root = make_mvtec_ad()
    rows = index(root)
    synthesize_shift(rows, root, domain, tmp_path / "domain")
    shifted = read_index(tmp_path / "domain" / "index.csv")
    assert [row.key for row in shifted] == [row.key for row in rows]
    assert [row.source for row in shifted] == [row.image for row in rows]
    for before, after in zip(rows, shifted, strict=True):
        assert (after.label, after.defect, after.official_split) == (before.label, before.defect, before.official_split)
        assert after.digest == digest_file(tmp_path / "domain" / after.image)
        image = read_image(root / before.image)
        mask = read_mask(root / before.mask) if before.mask else np.zeros(image.shape[:2], bool)
        expected, (moved,) = shift_image(image, [mask], before.digest, domain)
        np.testing.assert_array_equal(read_image(tmp_path / "domain" / after.image), expected)
        if before.mask:
            np.testing.assert_array_equal(read_mask(tmp_path / "domain" / after.mask), moved)
    files = {path.relative_to(tmp_path / "domain").as_posix() for path in (tmp_path / "domain").rglob("*.png")}
    assert files == {row.image for row in shifted} | {row.mask for row in shifted if row.mask}


def test_severity_0_keeps_every_pixel(tmp_path: Path, make_mvtec_ad: MakeTree) -> None:
    root = make_mvtec_ad()
    rows = index(root)
    synthesize_shift(rows, root, spec("mixed", 0.0), tmp_path / "domain")
    for before, after in zip(rows, read_index(tmp_path / "domain" / "index.csv"), strict=True):
        np.testing.assert_array_equal(read_image(tmp_path / "domain" / after.image), read_image(root / before.image))


@pytest.fixture
def always_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start workers for any work, however short."""
    monkeypatch.setattr(workers, "WORTH_SECONDS", 0)


@pytest.mark.usefixtures("always_shared")
def test_the_number_of_workers_changes_nothing(tmp_path: Path, make_mvtec_ad: MakeTree) -> None:
    root = make_mvtec_ad({"crack": 9}, train=13)
    rows = index(root)
    for count in (1, 2):
        synthesize_shift(rows, root, MIXED, tmp_path / str(count), workers=count)
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    assert len(contents(tmp_path / "1")) == len(rows) + 9 + 1


def test_adding_images_changes_no_other(tmp_path: Path, make_mvtec_ad: MakeTree) -> None:
    root = make_mvtec_ad()
    rows = index(root)
    for name, chosen in (("all", rows), ("some", rows[::-2])):
        synthesize_shift(chosen, root, MIXED, tmp_path / name)
    every = {row.key: row for row in read_index(tmp_path / "all" / "index.csv")}
    some = {row.key: row for row in read_index(tmp_path / "some" / "index.csv")}
    assert some.items() < every.items()


def test_one_ignore_mask_for_all_images_moves_with_each(tmp_path: Path, make_mvtec_ad: MakeTree) -> None:
    root = make_mvtec_ad()
    ignore = np.zeros((30, 40), bool)
    ignore[:8] = True
    Image.fromarray(ignore).save(root / "ignore.png")
    rows = [replace(row, ignore="ignore.png") for row in index(root)]
    synthesize_shift(rows, root, GEOMETRIC, tmp_path / "domain")
    shifted = read_index(tmp_path / "domain" / "index.csv")
    assert len({row.ignore for row in shifted}) == len(rows)
    for before, after in zip(rows, shifted, strict=True):
        assert after.ignore == f"ignore/{before.image}.png"
        image = read_image(root / before.image)
        _, (moved,) = shift_image(image, [ignore], before.digest, GEOMETRIC)
        np.testing.assert_array_equal(read_mask(tmp_path / "domain" / after.ignore), moved)


def test_grey_images_are_written_in_one_channel(tmp_path: Path, make_mvtec_ad: MakeTree) -> None:
    root = make_mvtec_ad()
    grey = np.random.default_rng(0).integers(0, 256, (30, 40), np.uint8)
    Image.fromarray(grey).save(root / "train/good/000.png")
    rows = [row for row in index(root) if row.official_split == "train"]
    synthesize_shift(rows, root, PHOTOMETRIC, tmp_path / "domain")
    modes = [Image.open(tmp_path / "domain" / f"images/train/good/{n:03d}.png.png").mode for n in range(5)]
    assert modes == ["L", "RGB", "RGB", "RGB", "RGB"]


def move_defects(root: Path, mask: np.ndarray) -> None:
    for path in (root / "ground_truth").rglob("*.png"):
        Image.fromarray(mask.astype(np.uint8) * 255).save(path)


def test_an_image_whose_defect_left_the_frame_counts_as_normal(
    tmp_path: Path, make_mvtec_ad: MakeTree, caplog: pytest.LogCaptureFixture
) -> None:
    root = make_mvtec_ad({"crack": 40}, size=(60, 80))
    corner = np.zeros((60, 80), bool)
    corner[0, 0] = True
    move_defects(root, corner)
    with caplog.at_level(logging.WARNING):
        synthesize_shift(index(root), root, GEOMETRIC, tmp_path / "domain")
    cracks = [row for row in read_index(tmp_path / "domain" / "index.csv") if "crack" in row.key]
    gone = [row for row in cracks if not row.label]
    assert 10 < len(gone) < len(cracks)
    for row in gone:
        assert (row.defect, row.mask) == ("", "")
    for row in cracks:
        if row.label:
            assert read_mask(tmp_path / "domain" / row.mask).any()
    (warning,) = caplog.messages
    assert warning.startswith(f"each of {len(gone)} images lost its defect")
    assert [row.key for row in gone if row.key in warning] == [row.key for row in gone[:10]]
    assert warning.endswith(f"and {len(gone) - 10} more")


def test_defects_of_which_little_is_left_are_counted(
    tmp_path: Path, make_mvtec_ad: MakeTree, caplog: pytest.LogCaptureFixture
) -> None:
    root = make_mvtec_ad({"crack": 12}, size=(60, 80))
    edge = np.zeros((60, 80), bool)
    edge[20:40, :4] = True
    move_defects(root, edge)
    rows = index(root)
    with caplog.at_level(logging.INFO):
        synthesize_shift(rows, root, spec("translation", "severe"), tmp_path / "domain")
    left = [
        read_mask(tmp_path / "domain" / row.mask).sum() / edge.sum()
        for row in read_index(tmp_path / "domain" / "index.csv")
        if row.mask
    ]
    few = sum(share < 0.5 for share in left)
    assert 0 < few < len(left)
    assert f"{few} images show less than half of their defect's area" in caplog.messages


def test_a_mask_that_marks_nothing_changes_no_label(
    tmp_path: Path, make_mvtec_ad: MakeTree, caplog: pytest.LogCaptureFixture
) -> None:
    root = make_mvtec_ad()
    move_defects(root, np.zeros((30, 40), bool))
    rows = index(root)
    with caplog.at_level(logging.WARNING):
        synthesize_shift(rows, root, GEOMETRIC, tmp_path / "domain")
    assert [row.label for row in read_index(tmp_path / "domain" / "index.csv")] == [row.label for row in rows]
    assert caplog.messages == []


@pytest.mark.usefixtures("always_shared")
@pytest.mark.parametrize("count", [1, 2])
def test_all_files_that_cannot_be_used_are_named_at_once(tmp_path: Path, make_mvtec_ad: MakeTree, count: int) -> None:
    root = make_mvtec_ad()
    whole = (root / "train/good/001.png").read_bytes()
    (root / "train/good/000.png").write_bytes(whole[: len(whole) // 2])
    (root / "test/crack/000.png").write_bytes(b"not an image")
    (root / "ground_truth/scratch/001_mask.png").write_bytes(b"")
    Image.fromarray(np.full((3, 4), 255, np.uint8)).save(root / "ground_truth/scratch/000_mask.png")
    rows = index(root)
    (root / "test/good/002.png").unlink()
    with pytest.raises(UserError) as caught:
        synthesize_shift(rows, root, PHOTOMETRIC, tmp_path / "domain", workers=count)
    head, *lines = str(caught.value).split("\n")
    assert head == "5 files cannot be used:"
    names = ("train/good/000.png", "test/crack/000.png", "scratch/001_mask.png", "scratch/000_mask.png is (3, 4)")
    for name in (*names, "test/good/002.png"):
        assert sum(name in line for line in lines) == 1


def test_images_that_changed_since_indexing_are_refused(tmp_path: Path, make_mvtec_ad: MakeTree) -> None:
    root = make_mvtec_ad()
    rows = index(root)
    (root / "train/good/000.png").write_bytes((root / "train/good/001.png").read_bytes())
    with pytest.raises(UserError, match=r"train/good/000\.png: changed since it was indexed"):
        synthesize_shift(rows, root, PHOTOMETRIC, tmp_path / "domain")


@pytest.mark.usefixtures("always_shared")
def test_a_full_disk_in_a_worker_is_not_taken_for_a_bad_image(tmp_path: Path, make_mvtec_ad: MakeTree) -> None:
    root = make_mvtec_ad({"crack": 9}, train=13)
    (tmp_path / "domain").mkdir()
    (tmp_path / "domain" / "images").write_text("a file where a folder belongs")
    with pytest.raises(OSError, match=re.escape(str(tmp_path / "domain" / "images"))):
        synthesize_shift(index(root), root, PHOTOMETRIC, tmp_path / "domain", workers=2)


def test_a_mask_that_two_images_share_moves_with_each_of_them(tmp_path: Path, make_mvtec_ad: MakeTree) -> None:
    root = make_mvtec_ad({"crack": 2})
    rows = [replace(row, mask="ground_truth/crack/000_mask.png") for row in index(root) if row.label]
    spec = DomainSpec(shift="geometric", severity="severe", seed=0)
    synthesize_shift(rows, root, spec, tmp_path / "both")
    for number, row in enumerate(rows):
        synthesize_shift([row], root, spec, tmp_path / str(number))
        (alone,) = read_index(tmp_path / str(number) / "index.csv")
        together = read_index(tmp_path / "both" / "index.csv")[number]
        expected = read_mask(tmp_path / str(number) / alone.mask)
        np.testing.assert_array_equal(read_mask(tmp_path / "both" / together.mask), expected)
