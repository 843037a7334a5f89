import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from patchshift.data.adapters import index_images
from patchshift.data.defects.perlin import draw_noise, draw_shape
from patchshift.data.defects.placement import Materials, find_foreground, is_visible
from patchshift.data.defects.synthesis import MAKERS, open_part, synthesize_defects
from patchshift.data.demo import take_photograph
from patchshift.data.images import read_image, read_mask
from patchshift.data.index import ImageRow, read_index
from patchshift.data.splits import Split
from patchshift.errors import UserError
from patchshift.plan.domain_specs import SynthesisSpec, SyntheticDefect
from patchshift.runtime.files import digest_file

MakeTree = Callable[..., Path]

ALL = SynthesisSpec(split="half", part="train", types=["cutpaste", "scar", "perlin"], count=7)


def index(root: Path) -> list[ImageRow]:
    return index_images(root, "mvtec_ad", dataset="mine", masks="required", max_per_class=None)


def split_of(rows: list[ImageRow], *validated: str) -> Split:
    """Training images train, the named ones are validation, all others test."""
    parts = {row.key: "train" if "train/" in row.key else "test" for row in rows} | dict.fromkeys(validated, "val")
    return Split(parts, frozenset(row.key for row in rows if row.label))


def make(
    tmp_path: Path, rows: list[ImageRow], split: Split, root: Path, spec: SynthesisSpec = ALL, name: str = "domain"
) -> list[ImageRow]:
    folder = tmp_path / name
    folder.mkdir()
    synthesize_defects(rows, split, root, spec, folder, data_dir=tmp_path)
    return read_index(folder / "index.csv")


@pytest.fixture
def root(make_mvtec_ad: MakeTree) -> Path:
    return make_mvtec_ad(size=(60, 80))


def test_every_declared_type_is_made() -> None:
    assert set(get_args(SyntheticDefect)) == {*MAKERS, "diffusion"}


def test_each_type_has_its_number_of_images_on_normal_images_taken_in_turn(tmp_path: Path, root: Path) -> None:
    rows = index(root)
    made = make(tmp_path, rows, split_of(rows), root)
    assert [row.defect for row in made] == ["cutpaste"] * 7 + ["scar"] * 7 + ["perlin"] * 7
    for kind in ALL.types:
        keys = [row.key for row in made if row.defect == kind]
        assert [key.partition("#")[2] for key in keys] == [f"{kind}{number}" for number in range(7)]
        origins = [key.partition("#")[0] for key in keys]
        assert set(origins[:5]) == {row.key for row in rows if "train/" in row.key}
        assert origins[5:] == origins[:2]
    assert len({row.digest for row in made}) == len(made)


def test_images_differ_from_their_originals_within_the_mask_only_and_visibly_so(tmp_path: Path, root: Path) -> None:
    rows = index(root)
    for row in make(tmp_path, rows, split_of(rows), root):
        assert (row.label, row.official_split, row.ignore) == (1, "", "")
        assert row.digest == digest_file(tmp_path / "domain" / row.image)
        before = read_image(root / row.key.partition("#")[0])
        after, mask = read_image(tmp_path / "domain" / row.image), read_mask(tmp_path / "domain" / row.mask)
        assert after.shape == before.shape == (*mask.shape, 3)
        np.testing.assert_array_equal(after[~mask], before[~mask])
        assert is_visible(before, after, mask)


def test_a_defect_depends_on_its_image_its_number_and_the_seed_alone(tmp_path: Path, root: Path) -> None:
    rows = index(root)
    split = split_of(rows)
    spec = SynthesisSpec(split="half", part="train", types=["cutpaste", "scar"], count=5)
    first = make(tmp_path, rows, split, root, spec, "first")
    assert make(tmp_path, rows[::-1], split, root, spec, "again") == first
    fewer = spec.model_copy(update={"types": ["scar"], "count": 3})
    assert set(make(tmp_path, rows, split, root, fewer, "fewer")) < set(first)
    other = make(tmp_path, rows, split, root, spec.model_copy(update={"seed": 1}), "other")
    assert {row.digest for row in other}.isdisjoint(row.digest for row in first)


def test_noise_takes_its_texture_from_another_image_or_from_the_only_one(tmp_path: Path, root: Path) -> None:
    rows = index(root)
    stream = np.random.default_rng(0)
    for number in (5, 1):
        chosen = [row for row in rows if "train/" in row.key][:number]
        part = open_part(chosen, split_of(chosen), root, ALL)
        image = read_image(root / chosen[0].image)
        textures = [part.materials(chosen[0], image).texture(stream) for _ in range(10)]
        assert any(np.array_equal(texture, image) for texture in textures) == (number == 1)
        assert len({texture.tobytes() for texture in textures}) == max(number - 1, 1)
        made = make(tmp_path, chosen, split_of(chosen), root, ALL, f"made{number}")
        assert sum(row.defect == "perlin" for row in made) == ALL.count


def test_defects_are_made_on_validation_images_where_asked(tmp_path: Path, root: Path) -> None:
    rows = index(root)
    split = split_of(rows, "train/good/003.png", "test/crack/000.png")
    made = make(tmp_path, rows, split, root, ALL.model_copy(update={"part": "val"}))
    assert {row.key.partition("#")[0] for row in made} == {"train/good/003.png"}


def test_no_pixel_of_a_test_image_is_ever_read(tmp_path: Path, root: Path) -> None:
    """All test images are gone, and nothing misses them."""
    rows = index(root)
    split = split_of(rows, "train/good/000.png")
    for row in rows:
        if split.parts[row.key] == "test":
            (root / row.image).unlink()
    for part in ("train", "val"):
        made = make(tmp_path, rows, split, root, ALL.model_copy(update={"part": part}), part)
        assert {split.parts[row.key.partition("#")[0]] for row in made} == {part}


def test_a_test_image_is_refused_even_if_it_was_chosen(root: Path) -> None:
    rows = index(root)
    part = open_part(rows, split_of(rows), root, ALL)
    with pytest.raises(UserError, match=r"test/good/000\.png is in part 'test' of the split, so no defect of 'train'"):
        part.read(next(row for row in rows if row.key == "test/good/000.png"))


def test_a_normal_image_that_is_also_in_test_is_left_out(
    tmp_path: Path, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (root / "test/good/000.png").write_bytes((root / "train/good/001.png").read_bytes())
    rows = index(root)
    made = make(tmp_path, rows, split_of(rows), root)
    assert "train/good/001.png" not in {row.key.partition("#")[0] for row in made}
    assert "train/good/001.png is left out: an image of test has the same content" in caplog.text


def test_defects_keep_out_of_ignored_regions_whose_masks_are_carried_along(tmp_path: Path, root: Path) -> None:
    ignored = np.zeros((60, 80), np.uint8)
    ignored[:, :30] = 255
    Image.fromarray(ignored).save(root / "ignore.png")
    rows = [replace(row, ignore="ignore.png") for row in index(root)]
    for row in make(tmp_path, rows, split_of(rows), root):
        np.testing.assert_array_equal(read_mask(tmp_path / "domain" / row.ignore), ignored > 0)
        assert not read_mask(tmp_path / "domain" / row.mask)[:, :30].any()


def test_an_image_on_which_nothing_can_be_placed_is_left_out_and_named(
    tmp_path: Path, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Image.fromarray(np.full((60, 80), 255, np.uint8)).save(root / "all.png")
    rows = [replace(row, ignore="all.png") if row.key == "train/good/002.png" else row for row in index(root)]
    with caplog.at_level(logging.WARNING):
        made = make(tmp_path, rows, split_of(rows), root)
    assert "train/good/002.png" not in {row.key.partition("#")[0] for row in made}
    assert "train/good/002.png is left out: none of 20 draws of 'scar' can be seen on it" in caplog.text
    rows = [replace(row, ignore="all.png") for row in rows]
    with pytest.raises(UserError, match="no defect of type 'cutpaste' can be seen on any"):
        make(tmp_path, rows, split_of(rows), root, name="none")


def test_a_part_without_normal_images_is_reported(tmp_path: Path, root: Path) -> None:
    rows = index(root)
    with pytest.raises(UserError, match="split 'half' has no normal image in 'val' to make defects on"):
        make(tmp_path, rows, split_of(rows, "test/crack/000.png"), root, ALL.model_copy(update={"part": "val"}))


def test_all_images_that_cannot_be_read_are_named_at_once(tmp_path: Path, root: Path) -> None:
    rows = index(root)
    for name in ("000", "003"):
        (root / f"train/good/{name}.png").write_bytes(b"not an image")
    spec = SynthesisSpec(split="half", part="train", types=["scar"], count=5)
    with pytest.raises(UserError, match="2 files cannot be used") as caught:
        make(tmp_path, rows, split_of(rows), root, spec)
    assert "000.png" in str(caught.value)
    assert "003.png" in str(caught.value)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.sampled_from(sorted(MAKERS)), st.tuples(st.integers(9, 70), st.integers(9, 70)))
def test_a_maker_changes_the_places_that_its_mask_marks_and_no_other(
    seed: int, kind: str, shape: tuple[int, int]
) -> None:
    stream = np.random.default_rng(seed)
    image, other = (stream.integers(0, 256, (*shape, 3), np.uint8) for _ in range(2))
    places = stream.random(shape) < 0.8
    before = image.copy()
    changed, mask = MAKERS[kind](image, places, Materials(lambda _: other, lambda _: places), stream)
    np.testing.assert_array_equal(image, before)
    assert not (mask & ~places).any()
    np.testing.assert_array_equal(changed[~mask], image[~mask])


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("kind", sorted(MAKERS))
def test_a_defect_is_seen_on_an_even_surface(tmp_path: Path, root: Path, kind: SyntheticDefect, level: int) -> None:
    for path in (root / "train/good").iterdir():
        Image.fromarray(np.full((60, 80, 3), level, np.uint8)).save(path)
    rows = index(root)
    spec = SynthesisSpec(split="half", part="train", types=[kind], count=3)
    assert len(make(tmp_path, rows, split_of(rows), root, spec)) == 3


@pytest.mark.parametrize("kind", sorted(MAKERS))
def test_grey_surfaces_get_grey_defects(kind: str) -> None:
    stream = np.random.default_rng(0)
    image, other = (stream.integers(0, 256, (50, 60, 1), np.uint8).repeat(3, 2) for _ in range(2))
    everywhere = np.ones((50, 60), bool)
    changed, _ = MAKERS[kind](image, everywhere, Materials(lambda _: other, lambda _: everywhere), stream)
    np.testing.assert_array_equal(changed, changed[..., :1].repeat(3, 2))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.tuples(st.integers(5, 90), st.integers(5, 90)))
def test_noise_stays_in_its_range_and_its_shapes_are_small(seed: int, shape: tuple[int, int]) -> None:
    noise = draw_noise(shape, np.random.default_rng(seed))
    assert noise.shape == shape
    assert np.abs(noise).max() <= 1 + 1e-9
    assert draw_shape(np.ones(shape, bool), np.random.default_rng(seed)).mean() <= 0.1


def test_noise_is_continuous_and_large_images_have_no_finer_grain() -> None:
    for seed in range(8):
        small, large = (draw_noise((size, size), np.random.default_rng(seed)) for size in (128, 1100))
        assert np.abs(np.diff(small, axis=0)).max() < 0.6
        assert np.abs(np.diff(large, axis=0)).max() < 0.1


def test_a_part_on_an_even_background_is_found_and_a_surface_is_taken_whole() -> None:
    casting, weave = (
        take_photograph(name, "train/good", 0, seed=0, image_size=256).image for name in ("casting", "weave")
    )
    part = find_foreground(casting)
    assert part[128, 128]
    assert 0.1 < part.mean() < 0.6
    assert not part[[0, 0, -1, -1], [0, -1, 0, -1]].any()
    assert find_foreground(weave).all()
    assert find_foreground(np.full((9, 9, 3), 7, np.uint8)).all()


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    random = np.random.default_rng(1)
    for name in ("images/a.jpg", "images/new/b.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (20, 30, 3), np.uint8)).save(folder / name)
    mask = np.zeros((20, 30), np.uint8)
    mask[5:9, 5:9] = 1
    (folder / "masks/new").mkdir(parents=True)
    for name in ("masks/a.bmp", "masks/new/b.png"):
        Image.fromarray(mask).save(folder / name)
    return folder


OWN = SynthesisSpec(split="half", part="train", augmented_path="mine")


def test_own_images_are_taken_in_place_of_synthetic_ones(tmp_path: Path, root: Path, own: Path) -> None:
    rows = index(root)
    made = make(tmp_path, rows, split_of(rows), root, OWN)
    assert [row.key for row in made] == ["a.jpg#own", "new/b.png#own"]
    assert {(row.label, row.defect, row.official_split) for row in made} == {(1, "own", "")}
    np.testing.assert_array_equal(read_image(tmp_path / "domain" / made[1].image), read_image(own / "images/new/b.png"))
    assert [read_mask(tmp_path / "domain" / row.mask).sum() for row in made] == [16, 16]


def test_what_is_wrong_with_own_images_is_named(tmp_path: Path, root: Path, own: Path) -> None:
    rows = index(root)
    split = split_of(rows)
    (own / "masks/a.bmp").rename(own / "masks/b.bmp")
    with pytest.raises(UserError, match=r"images/a\.jpg: has no mask of its name in .*masks"):
        make(tmp_path, rows, split, root, OWN, "unmasked")
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(own / "masks/a.png")
    with pytest.raises(UserError, match=r"masks/a\.png: marks no defect"):
        make(tmp_path, rows, split, root, OWN, "empty")
    Image.fromarray(np.ones((20, 30), np.uint8)).save(own / "masks/a.tif")
    with pytest.raises(UserError, match=r"a\.png and a\.tif are masks of the same image"):
        make(tmp_path, rows, split, root, OWN, "twice")
    (own / "masks/a.png").unlink()
    (own / "images/a.jpg").write_bytes((root / "test/good/001.png").read_bytes())
    with pytest.raises(UserError, match=r"images/a\.jpg: is an image of test"):
        make(tmp_path, rows, split, root, OWN, "tested")
    (tmp_path / "bare").mkdir()
    with pytest.raises(UserError, match="give --data-dir"):
        synthesize_defects(rows, split, root, OWN, tmp_path / "bare")
