import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchshift.errors import UserError
from patchshift.evaluation import separability
from patchshift.evaluation.image_metrics import image_auroc
from patchshift.evaluation.patch_samples import ImageContents
from patchshift.evaluation.separability import (
    ALL_LAYERS,
    REFERENCE,
    Separation,
    draw_reference,
    measure_patch_distances,
    measure_separability,
    nearest_distances,
    score_largest,
    single_layer_specs,
    write_separations,
)
from patchshift.features.representations import fit_representation

MakeCategory = Callable[..., Any]


def measure(made: Any, **options: Any) -> dict[tuple[str, str], Separation]:
    training, test = made.store.select(made.split.taken_for_good), made.store.select(made.split.of("test"))
    content = ImageContents.of(made.pack, test.images)
    settings = {"resamples": 100, "confidence": 0.95, "seed": 0} | options
    return {(each.layer, each.defect): each for each in measure_separability(training, test, content, **settings)}


@given(st.integers(1, 30), st.integers(1, 20), st.integers(1, 6), st.integers(0, 99))
def test_nearest_distances_equal_all_pairs(points: int, references: int, dimension: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    left = random.normal(50, 1, (points, dimension)).astype(np.float32)
    right = random.normal(50, 1, (references, dimension)).astype(np.float32)
    expected = np.linalg.norm(left[:, None].astype(float) - right[None], axis=2).min(axis=1)
    np.testing.assert_allclose(nearest_distances(left, right), expected, atol=2e-3, rtol=1e-4)


def test_a_patch_that_is_in_the_reference_has_no_distance_to_it() -> None:
    points = np.random.default_rng(0).normal(50, 1, (30, 8)).astype(np.float32)
    assert nearest_distances(points, points).tolist() == [0.0] * 30


def test_each_defect_separates_in_the_layer_that_shows_it(make_category: MakeCategory) -> None:
    found = measure(make_category())
    assert list(found) == [(layer, kind) for layer in ("fine", "coarse", ALL_LAYERS) for kind in ("dent", "stain")]
    assert found["fine", "dent"].image_auroc == found["coarse", "stain"].image_auroc == 1
    assert found["fine", "dent"].patch_auroc > 0.95 > found["coarse", "dent"].patch_auroc
    assert found["coarse", "stain"].patch_auroc > 0.95 > found["fine", "stain"].patch_auroc
    assert (found["fine", "dent"].images, found["fine", "dent"].patches) == (3, 3 * 2)
    assert (found["coarse", "stain"].images, found["coarse", "stain"].patches) == (2, 2)
    for each in found.values():
        assert each.low <= each.image_auroc <= each.high


def test_areas_equal_those_of_the_distances_themselves(make_category: MakeCategory) -> None:
    made = make_category()
    training, test = made.store.select(made.split.taken_for_good), made.store.select(made.split.of("test"))
    content = ImageContents.of(made.pack, test.images)
    representation = fit_representation(single_layer_specs(["fine", "coarse"])["fine"], training)
    distances = measure_patch_distances(representation, test, draw_reference(representation, training, "fine", seed=0))
    kinds, defective = np.array(content.defects), content.patches((8, 6)).defective
    chosen = kinds != "stain"
    expected = image_auroc((kinds == "dent")[chosen].astype(int), distances.max(axis=(1, 2))[chosen])
    negatives, positives = distances[kinds == ""].ravel(), distances[(kinds == "dent")[:, None, None] & defective]
    pairs = (positives[:, None] > negatives) + 0.5 * (positives[:, None] == negatives)
    found = measure(made)["fine", "dent"]
    assert found.image_auroc == pytest.approx(expected)
    assert found.patch_auroc == pytest.approx(pairs.mean())


def test_memory_bounds_how_many_images_are_measured_at_a_time(
    make_category: MakeCategory, read_sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_category()
    training, test = made.store.select(made.split.taken_for_good), made.store.select(made.split.of("test"))
    representation = fit_representation(single_layer_specs(["fine"])["fine"], training)
    reference = draw_reference(representation, training, "fine", seed=0)
    measured = []
    for chunk_mb in (256, 0):
        monkeypatch.setattr(separability, "CHUNK_MB", chunk_mb)
        read_sizes.clear()
        measured.append(measure_patch_distances(representation, test, reference))
        assert read_sizes == [representation.images_within(chunk_mb)]
    assert read_sizes == [1]
    np.testing.assert_array_equal(*measured)


def test_the_reference_is_of_training_images_alone(make_category: MakeCategory) -> None:
    """Test images far from all others move every distance, and not a single reference."""
    near, far = make_category(), make_category(test_level=100.0)
    references = []
    for made in (near, far):
        training = made.store.select(made.split.taken_for_good)
        representation = fit_representation(single_layer_specs(["fine"])["fine"], training)
        references.append(draw_reference(representation, training, "fine", seed=0))
        maps = np.concatenate([representation.transform(each) for each in training.chunks(["fine"], 32)]).reshape(-1, 4)
        assert len(references[-1]) == min(REFERENCE, len(maps)) == 4 * 48
        assert {row.tobytes() for row in references[-1]} == {row.tobytes() for row in maps}
    np.testing.assert_array_equal(*references)


def test_training_images_are_never_measured(make_category: MakeCategory) -> None:
    made = make_category()
    for each in measure(made).values():
        assert each.images == sum(f"test-{each.defect}" in name for name in made.split.of("test"))
    tested = [name for name in made.split.of("test") if "good" not in name]
    content = ImageContents.of(made.pack, tested)
    training = made.store.select(made.split.taken_for_good)
    options = {"resamples": 20, "confidence": 0.95, "seed": 0}
    for each in measure_separability(training, made.store.select(tested), content, **options):
        assert math.isnan(each.image_auroc)  # no good test image: those of the training are no substitute
        assert math.isnan(each.patch_auroc)
        assert each.images > 0


def test_an_ignored_region_has_no_part_in_scores() -> None:
    distances = np.array([[[1.0, 9.0], [2.0, 3.0]]], np.float32)
    ignored = np.array([[[False, True], [False, False]]])
    assert score_largest(distances, ignored).tolist() == [3.0]


def test_without_masks_patches_have_no_area_and_images_have(make_category: MakeCategory) -> None:
    found = measure(make_category(masks=False))["fine", "dent"]
    assert found.image_auroc == 1
    assert math.isnan(found.patch_auroc)
    assert found.patches == 0


def test_a_backbone_of_one_layer_has_no_row_for_all_of_them() -> None:
    assert list(single_layer_specs(["only"])) == ["only"]
    assert list(single_layer_specs(["one", "two"])) == ["one", "two", ALL_LAYERS]


def test_the_same_seed_gives_the_same_table(make_category: MakeCategory) -> None:
    made = make_category()
    assert measure(made) == measure(made)
    intervals = [[(each.low, each.high) for each in measure(made, seed=seed).values()] for seed in (0, 1)]
    assert intervals[0] != intervals[1]


def test_a_split_without_training_images_is_refused(make_category: MakeCategory) -> None:
    made = make_category()
    test = made.store.select(made.split.of("test"))
    with pytest.raises(UserError, match="no training images"):
        measure_separability(
            made.store.select([]), test, ImageContents.of(made.pack, test.images), resamples=20, confidence=0.9, seed=0
        )


def test_what_is_undefined_is_empty_in_the_table(tmp_path: Path) -> None:
    rows = [
        Separation("layer2", "dent", 3, 6, 0.9, 0.8, 1.0, 0.75),
        Separation("layer2", "stain", 2, 0, math.nan, math.nan, math.nan, math.nan),
    ]
    write_separations(rows, tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert table[0]["image_auroc"] == "0.9"
    assert [table[1][name] for name in ("image_auroc", "low", "high", "patch_auroc")] == [""] * 4
    assert [row["patches"] for row in table] == ["6", "0"]
