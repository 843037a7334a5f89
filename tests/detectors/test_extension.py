import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from patchshift.detectors.bank import Bank
from patchshift.detectors.extension import _choose, extend_bank
from patchshift.detectors.fit import fit_detector
from patchshift.detectors.indexes import from_bytes, measure_recall
from patchshift.detectors.patches import unit_vectors
from patchshift.errors import UserError
from patchshift.features.store import FeatureRows
from patchshift.plan.detector_specs import DETECTOR
from patchshift.plan.score_specs import ScoringSpec


def fit(features: FeatureRows, **options: Any) -> Bank:
    settings = {"method": "patchcore", "sampler": {"share": 0.2}, **options}
    return fit_detector(DETECTOR.validate_python(settings), features, seed=1)


def patches_of(bank: Bank, features: FeatureRows) -> np.ndarray:
    (maps,) = features.chunks(bank.representation.layers, len(features))
    return bank.representation.transform(maps).reshape(-1, bank.representation.dimension)


def distances(patches: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """[n, M] in float64."""
    return np.linalg.norm(patches[:, None].astype(np.float64) - vectors, axis=-1)


def choose_by_brute_force(points: np.ndarray, reach: np.ndarray, limit: float, most: int) -> list[int]:
    rows: list[int] = []
    while len(rows) < most and reach.max() > limit:
        rows.append(int(reach.argmax()))
        reach = np.minimum(reach, np.linalg.norm(points.astype(np.float64) - points[rows[-1]], axis=1))
    return rows


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12)
@given(
    numbers=st.tuples(st.integers(1, 5), st.integers(0, 3)),
    seeds=st.tuples(st.integers(0, 50), st.integers(0, 50)),
    size=st.one_of(st.none(), st.integers(1, 48)),
)
def test_it_goes_on_as_the_greedy_choice_by_brute_force_from_the_old_bank(
    make_features: Any, numbers: tuple[int, int], seeds: tuple[int, int], size: int | None
) -> None:
    bank = fit(make_features(numbers[0], seed=seeds[0]), representation={"normalise": "standardise"})
    features = make_features(1 + numbers[1], seed=100 + seeds[1])
    old, patches = bank.model.vectors, patches_of(bank, features)
    extension = extend_bank(bank, features, count=size)
    radius = bank.model.covering_radius
    limit, most = (radius * (1 + 1e-6), len(patches)) if size is None else (0.0, size)
    expected = choose_by_brute_force(patches, distances(patches, old).min(axis=1), limit, most)
    vectors = extension.bank.model.vectors
    assert vectors[: len(old)].tobytes() == old.tobytes()
    np.testing.assert_array_equal(vectors[len(old) :], patches[expected])
    assert extension.added == len(expected)
    assert extension.patches == len(patches)
    assert extension.farthest == pytest.approx(distances(patches, old).min(axis=1).max(), rel=1e-6)
    assert extension.left == pytest.approx(distances(patches, vectors).min(axis=1).max(), rel=1e-6, abs=1e-6)


def test_no_old_or_new_patch_is_farther_than_the_new_covering_radius(make_features: Any) -> None:
    old, new = make_features(), make_features(8, seed=2)
    bank = fit(old)
    for extension in (extend_bank(bank, new), extend_bank(bank, new, count=2)):
        grown, patches = extension.bank, patches_of(bank, new)
        reached = distances(patches, grown.model.vectors).min(axis=1).max()
        assert extension.left == pytest.approx(reached)
        assert grown.model.covering_radius == max(bank.model.covering_radius, extension.left)
        both = np.concatenate([patches_of(bank, old), patches])
        assert distances(both, grown.model.vectors).min(axis=1).max() <= grown.model.covering_radius * (1 + 1e-6)
    assert extension.bank.model.covering_radius > bank.model.covering_radius  # two vectors do not cover eight images
    whole = extend_bank(bank, new).bank
    assert whole.model.covering_radius == pytest.approx(bank.model.covering_radius)
    assert whole.score(new, ScoringSpec()).maps.max() <= whole.model.covering_radius * (1 + 1e-5)


@pytest.mark.parametrize("sampler", [{"share": 0.2}, {"method": "random", "share": 0.3}, {"method": "none"}])
def test_images_that_are_in_the_bank_add_nothing(make_features: Any, sampler: dict[str, Any]) -> None:
    bank = fit(make_features(), sampler=sampler)
    extension = extend_bank(bank, make_features())
    assert extension.bank is bank
    assert (extension.added, extension.beyond) == (0, 0)


def test_a_part_that_is_new_adds_until_it_is_covered(make_features: Any) -> None:
    old, new = make_features(6), make_features(6, seed=5)
    bank = fit(old)
    extension = extend_bank(bank, new)
    assert 0 < extension.added < extension.beyond < extension.patches == 6 * 48
    assert extension.farthest > bank.model.covering_radius >= extension.left / (1 + 1e-6)
    again = extend_bank(extension.bank, new)
    assert again.added == 0


def test_a_share_is_one_of_the_new_patches_and_equal_patches_are_never_added_twice(make_features: Any) -> None:
    bank, new = fit(make_features()), make_features(2, seed=3)
    assert extend_bank(bank, new, share=0.25).added == 24
    assert extend_bank(bank, new, share=1.0).added == 96
    assert extend_bank(extend_bank(bank, new, share=1.0).bank, new, share=1.0).added == 0


@pytest.mark.parametrize("method", ["flat", "ivf_flat", "hnsw"])
def test_the_index_is_rebuilt_and_its_recall_is_that_of_the_new_patches(make_features: Any, method: str) -> None:
    bank, new = fit(make_features(10), index={"method": method}), make_features(4, seed=2)
    grown = extend_bank(bank, new, count=30, seed=3).bank
    np.testing.assert_array_equal(grown.model.vectors[: bank.model.size], bank.model.vectors)
    assert grown.model.size == bank.model.size + 30
    if method == "flat":
        assert grown.model.recall == 1
    else:
        index = from_bytes(grown.model.index)
        centred = grown.model.vectors - grown.model.centre
        assert index.ntotal == bank.model.size + 30
        queries = patches_of(bank, new) - grown.model.centre
        assert grown.model.recall == measure_recall(index, centred, queries)
    exact = distances(patches_of(bank, new), grown.model.vectors).min(axis=1)
    found = grown.score(new, ScoringSpec()).maps.reshape(-1)
    assert (found >= exact * (1 - 1e-5) - 1e-5).all()


def test_a_bank_that_has_grown_is_a_bank_file_like_any_other(make_features: Any, tmp_path: Path) -> None:
    grown = extend_bank(fit(make_features()), make_features(3, seed=2)).bank
    grown.save(tmp_path / "grown.h5", {})
    extend_bank(fit(make_features()), make_features(3, seed=2)).bank.save(tmp_path / "again.h5", {})
    assert (tmp_path / "grown.h5").read_bytes() == (tmp_path / "again.h5").read_bytes()
    target = make_features(4, seed=9)
    loaded = Bank.load(tmp_path / "grown.h5").score(target, ScoringSpec())
    np.testing.assert_array_equal(loaded.maps, grown.score(target, ScoringSpec()).maps)


def test_distances_to_a_bank_that_has_grown_are_never_larger(make_features: Any) -> None:
    bank, target = fit(make_features()), make_features(5, seed=9)
    before = bank.score(target, ScoringSpec()).maps
    after = extend_bank(bank, make_features(3, seed=2)).bank.score(target, ScoringSpec()).maps
    assert (after <= before * (1 + 1e-5)).all()
    assert (after < before).any()


def test_memory_for_images_and_the_order_of_passes_change_nothing(
    make_features: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank, new = fit(make_features(), chunk_mb=16), make_features(9, seed=2)
    whole = extend_bank(bank, new)
    monkeypatch.setattr("patchshift.features.embedding.BYTES", 100_000)  # so that few of the small images fit
    monkeypatch.setattr("patchshift.detectors.extension.FIRST", 2)
    assert bank.representation.images_within(16, held=6) < 5
    np.testing.assert_allclose(
        extend_bank(bank, new).bank.model.vectors, whole.bank.model.vectors, rtol=1e-4, atol=1e-5
    )


def test_more_new_patches_than_memory_holds_are_refused_with_the_remedy(make_features: Any) -> None:
    bank = fit(make_features(), memory_mb=64)
    bank = dataclasses.replace(bank, spec=bank.spec.model_copy(update={"memory_mb": 0.01}))
    with pytest.raises(UserError, match=r"more memory than memory_mb, .*: extend the bank by fewer images at a time"):
        extend_bank(bank, make_features(9, seed=2), share=0.5)


def test_new_vectors_belong_to_the_category_that_is_named(make_features: Any) -> None:
    bank = dataclasses.replace(fit(make_features()), members=["plant/valve"])
    new = make_features(2, seed=3)
    same = extend_bank(bank, new, count=5, member="plant/valve").bank
    assert (same.members, same.model.members) == (["plant/valve"], None)
    two = extend_bank(bank, new, count=5, member="plant/pump").bank
    assert two.members == ["plant/valve", "plant/pump"]
    assert two.model.members.tolist() == [0] * bank.model.size + [1] * 5
    more = extend_bank(two, make_features(2, seed=4), count=3, member="plant/valve").bank
    assert more.model.members.tolist() == [0] * bank.model.size + [1] * 5 + [0] * 3
    assert more.members == two.members
    parts = more.score(make_features(2, seed=4), ScoringSpec()).parts["member"]
    assert set(np.unique(parts)) <= {0, 1}
    with pytest.raises(UserError, match="the bank is of plant/valve, plant/pump: say of which category"):
        extend_bank(two, new, count=5)
    with pytest.raises(UserError, match="does not say of which category it is, so 'plant/pump'"):
        extend_bank(dataclasses.replace(bank, members=[]), new, member="plant/pump")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            {"method": "padim", "representation": {"neighbourhood": "none"}},
            "method 'padim' cannot be extended, its means",
        ),
        ({"method": "pca", "dimension": 3}, "method 'pca' cannot be extended, its subspace"),
        (
            {"sampler": {"method": "none"}, "index": {"method": "ivf_pq", "code_bytes": 3}},
            "index 'ivf_pq' keeps codes .* fit the bank again",
        ),
    ],
)
def test_what_cannot_grow_is_refused_with_the_reason_and_the_remedy(
    make_features: Any, options: dict[str, Any], reason: str
) -> None:
    settings = {"method": "patchcore", **options}
    if settings["method"] != "patchcore":
        settings.pop("sampler", None)
    bank = fit_detector(DETECTOR.validate_python(settings), make_features(10), seed=1)
    with pytest.raises(UserError, match=reason) as refused:
        extend_bank(bank, make_features(2, seed=3))
    assert "fit" in str(refused.value)


def test_a_bank_of_unit_vectors_grows_by_unit_vectors(make_features: Any) -> None:
    bank, new = fit(make_features(), distance="cosine"), make_features(6, seed=2)
    grown = extend_bank(bank, new, count=11).bank
    units = unit_vectors(patches_of(bank, new))
    expected = choose_by_brute_force(units, distances(units, bank.model.vectors).min(axis=1), 0.0, 11)
    np.testing.assert_array_equal(grown.model.vectors[bank.model.size :], units[expected])
    assert (grown.model.distance, grown.model.count) == (bank.model.distance, bank.model.count)
    assert (grown.score(new, ScoringSpec()).maps <= bank.score(new, ScoringSpec()).maps + 1e-6).all()


def test_patches_of_the_background_are_never_added(make_features: Any) -> None:
    bank, new = fit(make_features(), foreground=True), make_features(4, seed=2)
    patches = patches_of(bank, new)
    background = bank.model.foreground.background(patches.reshape(4, 48, -1)).reshape(-1)
    assert 0 < background.sum() < len(background)
    extension = extend_bank(bank, new, share=1.0)
    assert extension.patches == extension.added == (~background).sum()
    added = extension.bank.model.vectors[bank.model.size :]
    assert {row.tobytes() for row in added} == {row.tobytes() for row in patches[~background]}
    assert extension.bank.model.foreground is bank.model.foreground


def test_after_a_projected_choice_the_limit_is_the_recorded_radius_between_whole_vectors(make_features: Any) -> None:
    bank, new = fit(make_features(), sampler={"share": 0.2, "projection": 4}), make_features(6, seed=2)
    patches = patches_of(bank, new)
    limit = bank.model.covering_radius * (1 + 1e-6)
    extension = extend_bank(bank, new)
    before = distances(patches, bank.model.vectors).min(axis=1)
    expected = choose_by_brute_force(patches, before, limit, len(patches))
    np.testing.assert_array_equal(extension.bank.model.vectors[bank.model.size :], patches[expected])
    assert extension.beyond == (before > limit).sum()
    assert distances(patches, extension.bank.model.vectors).min(axis=1).max() <= limit


def test_either_a_share_or_a_count_is_given(make_features: Any) -> None:
    bank, new = fit(make_features()), make_features(2, seed=3)
    for sizes in ({"share": 0.5, "count": 3}, {"share": 0.0}, {"share": 1.5}, {"count": 0}):
        with pytest.raises(ValueError, match=r"share|count"):
            extend_bank(bank, new, **sizes)


def test_a_dual_bank_is_refused_too(make_features: Any) -> None:
    bank = dataclasses.replace(fit(make_features()), spec=DETECTOR.validate_python({"method": "patchcore_dual"}))
    with pytest.raises(UserError, match=r"'patchcore_dual' cannot be extended, .*: fit it again"):
        extend_bank(bank, make_features(2, seed=3))


@pytest.mark.parametrize("other", [{"channels": 6}, {"input_size": (96, 48)}])
def test_features_of_another_backbone_are_refused(make_features: Any, other: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="other layers or another input size than the bank was fitted on"):
        extend_bank(fit(make_features()), make_features(2, seed=3, **other))


def test_more_patches_than_there_are_are_refused(make_features: Any) -> None:
    with pytest.raises(UserError, match="count: 97 patches are asked for, but the images have 96"):
        extend_bank(fit(make_features()), make_features(2, seed=3), count=97)


@pytest.mark.parametrize("first", [1, 3, 256])
def test_however_many_picks_are_tried_at_first_the_choice_is_the_same(
    monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    monkeypatch.setattr("patchshift.detectors.extension.FIRST", first)
    random = np.random.default_rng(0)
    points, before = random.normal(size=(200, 3)).astype(np.float32), random.uniform(0.5, 3, 200)
    rows = _choose(points, before, 0.8, None)
    assert rows.tolist() == choose_by_brute_force(points, before, 0.8, 200)
    assert len(rows) > 3
