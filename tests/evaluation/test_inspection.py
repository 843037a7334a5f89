from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from patchshift.evaluation.inspection import inspect_features
from patchshift.evaluation.inspection_store import Inspection
from patchshift.plan.inspections import LookSpec

MakeCategory = Callable[..., Any]


def inspect(made: Any, **options: Any) -> Inspection:
    values = {"maps": ["tsne"], "patches": 60, "images": 1, "resamples": 20, "confidence": 0.9, "seed": 0}
    return inspect_features(made.store, made.pack, made.split, LookSpec(**values | options))


def test_a_look_maps_separates_and_measures_energy(make_category: MakeCategory) -> None:
    made = make_category()
    found = inspect(made)
    kinds = Counter(found.patches.defects)
    assert kinds == {"": 30, "dent": 6, "stain": 2}  # all defective patches there are on the fine grid
    assert found.patches.coordinates["tsne"].shape == (38, 2)
    assert 0.9 < found.patches.variance <= 1.0001
    for image, defect in zip(found.patches.images, found.patches.defects, strict=True):
        assert image.startswith(f"test-{defect or 'good'}")
    assert [image.partition("-")[2][:4] for image in found.shown] == ["good", "dent", "stai"]
    assert {layer: energy.shape for layer, energy in found.energies.items()} == {"fine": (3, 8, 6), "coarse": (3, 4, 3)}
    dent = found.energies["fine"][1]
    assert np.argwhere(dent > 3).tolist() == [[2, 2], [3, 2]]
    assert len(found.separations) == 3 * 2


def test_patches_of_the_map_are_those_named(make_category: MakeCategory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mapped by what they are, not by t-SNE: the dents' fine channels stand out where their names say."""
    made = make_category()
    seen: dict[str, Any] = {}

    def keep(embeddings: Any) -> Any:
        seen["embeddings"] = embeddings
        return embeddings[:, :5], 1.0

    monkeypatch.setattr("patchshift.evaluation.inspection.reduce_patches", keep)
    found = inspect(made)
    strength = seen["embeddings"][:, :4].mean(axis=1)
    kinds = np.array(found.patches.defects)
    assert strength[kinds == "dent"].min() > strength[kinds == ""].max()


def test_too_few_patches_make_no_map(make_category: MakeCategory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("patchshift.evaluation.inspection.FEWEST", 39)
    found = inspect(make_category())
    assert found.patches.coordinates == {}
    assert len(found.patches.defects) == 38


def test_a_split_without_test_images_has_nothing_to_show(make_category: MakeCategory) -> None:
    made = make_category()
    parts = {name: part for name, part in made.split.parts.items() if part != "test"}
    found = inspect(replace(made, split=replace(made.split, parts=parts)))
    assert (found.shown, found.separations, found.patches.coordinates) == ([], [], {})


def test_looking_twice_gives_the_same_numbers(make_category: MakeCategory) -> None:
    made = make_category()
    first, second = inspect(made), inspect(made)
    np.testing.assert_array_equal(first.patches.coordinates["tsne"], second.patches.coordinates["tsne"])
    assert (first.patches.images, first.separations) == (second.patches.images, second.separations)
    assert inspect(made, seed=1).patches.images != first.patches.images
