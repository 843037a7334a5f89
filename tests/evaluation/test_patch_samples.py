from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchshift.evaluation import patch_samples
from patchshift.evaluation.patch_samples import (
    ImageContents,
    choose_patches,
    find_defective,
    gather_patches,
    list_patches,
    share_out,
)
from patchshift.features.representations import fit_representation
from patchshift.plan.representation_specs import RepresentationSpec

MakeCategory = Callable[..., Any]
NOTHING = np.zeros((2, 2), bool)


def test_half_a_patch_in_the_mask_is_defective() -> None:
    found = find_defective(np.array([[1.0, 0.5], [0.49, 0.0]]), NOTHING)
    assert found.tolist() == [[True, True], [False, False]]


def test_of_a_thin_defect_the_patches_that_show_most_of_it_are_defective() -> None:
    found = find_defective(np.array([[0.3, 0.1], [0.3, 0.0]]), NOTHING)
    assert found.tolist() == [[True, False], [True, False]]


def test_a_mask_that_marks_nothing_or_is_ignored_has_no_defective_patch() -> None:
    assert not find_defective(np.zeros((2, 2)), NOTHING).any()
    ignored = np.array([[True, False], [False, False]])
    assert not find_defective(np.array([[1.0, 0.0], [0.0, 0.0]]), ignored).any()


def test_patches_of_images_are_labelled_on_each_grid(make_category: MakeCategory) -> None:
    made = make_category()
    content = ImageContents.of(made.pack, made.split.of("test"))
    assert content.types == ["dent", "stain"]
    for grid, dent, stain in (((8, 6), [[2, 2], [3, 2]], [[5, 4]]), ((4, 3), [[1, 1]], [[2, 2]])):
        labels = content.patches(grid)
        for image, defect in enumerate(content.defects):
            expected = {"": [], "dent": dent, "stain": stain}[defect]
            assert np.argwhere(labels.defective[image]).tolist() == expected


def test_ignored_patches_are_neither_defective_nor_sampled(make_category: MakeCategory) -> None:
    made = make_category(ignore=True)
    content = ImageContents.of(made.pack, made.split.of("test"))
    labels = content.patches((8, 6))
    assert labels.ignored[:, :, 3:].all()
    assert not labels.ignored[:, :, :3].any()
    candidates = list_patches(content, (8, 6))
    # what is wholly ignored counts as good in the pack, as everywhere
    assert {kind: len(patches) for kind, patches in candidates.items()} == {"": 7 * 8 * 3, "dent": 3 * 2}


def test_without_masks_all_patches_of_defective_images_may_be_taken(make_category: MakeCategory) -> None:
    made = make_category(masks=False)
    content = ImageContents.of(made.pack, made.split.of("test"))
    assert not content.located
    sizes = {kind: len(patches) for kind, patches in list_patches(content, (4, 3)).items()}
    assert sizes == {"": 5 * 12, "dent": 3 * 12, "stain": 2 * 12}


def test_gathered_patches_are_those_of_the_whole_embedding(make_category: MakeCategory) -> None:
    made = make_category()
    rows = made.store.select(made.store.images)
    representation = fit_representation(RepresentationSpec(normalise="standardise"), rows)
    embeddings = np.concatenate([representation.transform(maps) for maps in rows.chunks(representation.layers, 32)])
    flat = embeddings.reshape(-1, representation.dimension)
    wanted = np.random.default_rng(0).permutation(len(flat))[:50]
    np.testing.assert_array_equal(gather_patches(representation, rows, wanted), flat[wanted])


def test_memory_bounds_how_many_images_are_gathered_from_at_a_time(
    make_category: MakeCategory, read_sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_category()
    rows = made.store.select(made.store.images)
    representation = fit_representation(RepresentationSpec(), rows)
    gathered = []
    for chunk_mb in (256, 0):
        monkeypatch.setattr(patch_samples, "CHUNK_MB", chunk_mb)
        read_sizes.clear()
        gathered.append(gather_patches(representation, rows, np.arange(70)))
        assert read_sizes == [representation.images_within(chunk_mb)]
    assert read_sizes == [1]
    np.testing.assert_array_equal(*gathered)


@given(st.integers(0, 60), st.lists(st.integers(0, 20), min_size=1, max_size=6))
def test_shares_are_as_even_as_what_is_available_allows(total: int, available: list[int]) -> None:
    taken = share_out(total, available)
    assert sum(taken) == min(total, sum(available))
    assert all(0 <= share <= most for share, most in zip(taken, available, strict=True))
    open_ones = [share for share, most in zip(taken, available, strict=True) if share < most]
    assert all(share <= min(open_ones) + 1 for share in taken if open_ones)


def test_a_choice_of_patches_is_even_between_types_and_repeats() -> None:
    groups = {"common": np.arange(100), "rare": np.arange(200, 203)}
    first, second = (choose_patches(groups, 20, np.random.default_rng(5)) for _ in range(2))
    assert {name: len(patches) for name, patches in first.items()} == {"common": 17, "rare": 3}
    for name, patches in first.items():
        np.testing.assert_array_equal(patches, second[name])
        assert set(patches.tolist()) <= set(groups[name].tolist())
        assert len(set(patches.tolist())) == len(patches)


def test_images_that_the_pack_lacks_are_named(make_category: MakeCategory) -> None:
    made = make_category()
    with pytest.raises(Exception, match="lacks gone"):
        ImageContents.of(made.pack, ["gone"])
