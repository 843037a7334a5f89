import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import h5py
import numpy as np
import pytest

from patchshift.detectors.bank import MODELS, Bank
from patchshift.detectors.fit import fit_detector
from patchshift.errors import UserError
from patchshift.plan.detector_specs import DETECTOR, DETECTOR_METHODS, PatchCoreSpec
from patchshift.plan.representation_specs import RepresentationSpec
from patchshift.plan.sampling_specs import IndexSpec, SamplerSpec
from patchshift.plan.score_specs import ScoringSpec

WHITENED = RepresentationSpec(logarithm=["coarse"], normalise="whiten", shrinkage=0.3)


REDUCED = RepresentationSpec.model_validate(
    {"normalise": "whiten", "shrinkage": 0.3, "reduction": {"method": "pca", "dimension": 5}}
)
REPRESENTATIONS = [
    WHITENED,
    REDUCED,
    RepresentationSpec(fusion="adaptive", normalise="standardise"),
    RepresentationSpec(fusion="weighted", weights={"fine": 2, "coarse": 1}, width=3),
    RepresentationSpec.model_validate(
        {
            "neighbourhood": "adaptive",
            "pooled_width": 8,
            "reduction": {"method": "random_projection", "dimension": 6, "distribution": "sparse"},
        }
    ),
    RepresentationSpec.model_validate({"reduction": {"method": "channel_subset", "dimension": 6}}),
    RepresentationSpec.model_validate({"reduction": {"method": "channel_pooling", "dimension": 6}}),
    RepresentationSpec(fusion="single", layers=["coarse"]),
]


def spec(**options: Any) -> PatchCoreSpec:
    return PatchCoreSpec.model_validate({"method": "patchcore", "sampler": {"share": 0.2}, **options})


def test_scores_are_the_distances_to_the_nearest_vector(make_features: Any) -> None:
    bank = fit_detector(spec(representation=WHITENED), make_features(), seed=1)
    features = make_features(seed=2)
    scores = bank.score(features, ScoringSpec())
    (maps,) = features.chunks(bank.representation.layers, len(features))
    patches = bank.representation.transform(maps)
    expected = np.linalg.norm(patches[..., None, :] - bank.model.vectors, axis=-1).min(-1)
    np.testing.assert_allclose(scores.maps, expected, rtol=1e-5)
    np.testing.assert_array_equal(scores.image_scores, scores.maps.max((1, 2)))


def test_a_training_patch_that_is_kept_scores_exactly_zero(make_features: Any) -> None:
    features = make_features()
    bank = fit_detector(spec(sampler={"method": "none"}), features, seed=0)
    assert bank.score(features, ScoringSpec()).maps.max() == 0


def test_no_training_patch_is_farther_than_the_covering_radius(make_features: Any) -> None:
    features = make_features()
    bank = fit_detector(spec(), features, seed=0)
    assert bank.score(features, ScoringSpec()).maps.max() == pytest.approx(bank.model.covering_radius, rel=1e-5)


@pytest.mark.parametrize("image_score", [{"method": "max"}, {"method": "top_share", "share": 0.1}])
def test_ignored_patches_leave_maps_as_they_are_and_scores_to_the_others(
    make_features: Any, image_score: dict[str, Any]
) -> None:
    rule = ScoringSpec.model_validate({"image_score": image_score})
    bank = fit_detector(spec(representation=WHITENED), make_features(), seed=1)
    features = make_features(40, seed=2)  # more than one chunk
    ignore = np.zeros((40, *bank.representation.grid), bool)
    ignore[::2, :, :3] = True
    whole, part = bank.score(features, rule), bank.score(features, rule, ignore)
    np.testing.assert_array_equal(part.maps, whole.maps)
    np.testing.assert_array_equal(part.image_scores[1::2], whole.image_scores[1::2])
    left = whole.maps[::2, :, 3:].reshape(20, -1)
    count = 1 if rule.image_score.share is None else round(rule.image_score.share * left.shape[1])
    expected = np.sort(left)[:, -count:].mean(axis=1)
    np.testing.assert_allclose(part.image_scores[::2], expected, rtol=1e-6)
    assert (part.image_scores[::2] != whole.image_scores[::2]).any()


def test_an_image_with_every_patch_ignored_is_named(make_features: Any) -> None:
    bank = fit_detector(spec(), make_features(), seed=0)
    features = make_features()
    ignore = np.zeros((len(features), *bank.representation.grid), bool)
    ignore[2] = True
    with pytest.raises(UserError, match=r"covers every patch of image2 \(1 in all\), so nothing is left to score"):
        bank.score(features, ScoringSpec(), ignore)


@pytest.mark.parametrize("representation", REPRESENTATIONS)
@pytest.mark.parametrize(
    "image_score", [{"method": "top_share", "share": 0.1}, {"method": "max", "reweight_neighbours": 3}]
)
def test_a_bank_scores_the_same_after_a_round_trip(
    make_features: Any, tmp_path: Path, image_score: dict[str, Any], representation: RepresentationSpec
) -> None:
    rule = ScoringSpec.model_validate({"image_score": image_score})
    bank = fit_detector(spec(representation=representation), make_features(), seed=1)
    bank.save(tmp_path / "bank.h5", {"seed": 1})
    loaded = Bank.load(tmp_path / "bank.h5")
    assert loaded.spec == bank.spec
    assert [array.tobytes() for array in loaded.model.arrays().values()] == [
        array.tobytes() for array in bank.model.arrays().values()
    ]
    assert loaded.representation.layer_shapes == bank.representation.layer_shapes
    assert loaded.representation.dimension == bank.representation.dimension
    assert loaded.representation.state.keys() == bank.representation.state.keys()
    for name, values in bank.representation.state.items():
        assert loaded.representation.state[name].dtype == values.dtype
        np.testing.assert_array_equal(loaded.representation.state[name], values)
    features = make_features(seed=2)
    scores, again = bank.score(features, rule), loaded.score(features, rule)
    np.testing.assert_array_equal(scores.maps, again.maps)
    np.testing.assert_array_equal(scores.image_scores, again.image_scores)
    loaded.save(tmp_path / "again.h5", {"seed": 1})
    assert (tmp_path / "again.h5").read_bytes() == (tmp_path / "bank.h5").read_bytes()


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_scores_come_with_the_length_of_the_embeddings(make_features: Any, representation: RepresentationSpec) -> None:
    bank = fit_detector(spec(representation=representation), make_features(), seed=1)
    scores = bank.score(make_features(2, seed=2), ScoringSpec())
    assert scores.facts["feature_dim"] == bank.model.vectors.shape[1]
    assert scores.maps.shape[1:] == bank.representation.grid


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_the_memory_for_images_changes_neither_picks_nor_scores(
    make_features: Any, monkeypatch: pytest.MonkeyPatch, representation: RepresentationSpec
) -> None:
    monkeypatch.setattr("patchshift.features.embedding.BYTES", 100_000)  # so that few of the small images fit
    features, target = make_features(40), make_features(23, seed=2)
    banks = [
        fit_detector(spec(representation=representation, chunk_mb=chunk_mb), features, seed=1)
        for chunk_mb in (16, 1500)
    ]
    sizes = [bank.representation.images_within(bank.spec.chunk_mb) for bank in banks]
    assert sizes[0] < 5 < sizes[1]
    np.testing.assert_allclose(banks[0].model.vectors, banks[1].model.vectors, rtol=1e-4, atol=1e-5)
    small, large = (bank.score(target, ScoringSpec(chunk_mb=bank.spec.chunk_mb)) for bank in banks)
    np.testing.assert_allclose(small.maps, large.maps, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(small.image_scores, large.image_scores, rtol=1e-4, atol=1e-5)


def test_scores_of_an_image_do_not_depend_on_the_images_beside_it(make_features: Any) -> None:
    bank = fit_detector(spec(representation=WHITENED), make_features(), seed=1)
    features = make_features(40, seed=2)
    alone = features.parts[0][0].select(["image37"])
    together = bank.score(features, ScoringSpec()).maps[37]
    np.testing.assert_allclose(bank.score(alone, ScoringSpec()).maps[0], together, rtol=1e-5)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_features_made_on_another_device_than_those_of_the_bank_are_told_of_in_the_log(
    make_features: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit_detector(spec(), make_features(), seed=0).save(tmp_path / "bank.h5", {})
    bank = Bank.load(tmp_path / "bank.h5")
    bank.score(make_features(), ScoringSpec())
    assert warnings(caplog) == []
    bank.score(make_features(device="cuda: Card"), ScoringSpec())
    (message,) = warnings(caplog)
    assert "the features of the bank and " in message
    assert "different settings, which alone changes features a little: device 'cpu' and 'cuda: Card'" in message


METHODS: list[dict[str, Any]] = [
    {"method": "patchcore", "sampler": {"method": "greedy", "share": 0.2}, "index": {"method": "flat"}},
    {"method": "patchcore", "sampler": {"method": "random", "share": 0.5}, "index": {"method": "ivf_flat"}},
    {"method": "patchcore", "sampler": {"method": "variance_weighted", "share": 0.2, "starts": 3}},
    {"method": "patchcore", "sampler": {"method": "kmeans", "count": 20}, "neighbours": 3},
    {"method": "patchcore", "sampler": {"method": "none"}, "index": {"method": "hnsw"}},
    {"method": "patchcore", "sampler": {"method": "none"}, "index": {"method": "ivf_pq", "code_bytes": 3}},
    {"method": "patchcore_dual", "sampler": {"method": "greedy", "share": 0.2}},
    {"method": "padim", "representation": {"neighbourhood": "none"}},
    {"method": "padim", "positions": "all", "covariance": "ledoit_wolf", "representation": {"fusion": "adaptive"}},
    {"method": "pca", "dimension": 3},
]


def test_every_method_sampler_and_index_is_among_those_tested_here() -> None:
    assert {each["method"] for each in METHODS} == set(MODELS) == set(DETECTOR_METHODS) - {"external"}
    for key, model in (("sampler", SamplerSpec), ("index", IndexSpec)):
        known = get_args(model.model_fields["method"].annotation)
        assert {each[key]["method"] for each in METHODS if key in each} == set(known)


@pytest.mark.parametrize("settings", METHODS)
def test_every_method_scores_the_same_after_a_round_trip_and_whatever_the_memory(
    make_features: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    bank = fit_detector(DETECTOR.validate_python(settings), make_features(30), seed=1)
    bank.save(tmp_path / "bank.h5", {"seed": 1})
    loaded = Bank.load(tmp_path / "bank.h5")
    assert loaded.spec == bank.spec
    loaded.save(tmp_path / "again.h5", {"seed": 1})
    assert (tmp_path / "again.h5").read_bytes() == (tmp_path / "bank.h5").read_bytes()
    target = make_features(23, seed=2)
    scores, again = bank.score(target, ScoringSpec()), loaded.score(target, ScoringSpec())
    np.testing.assert_array_equal(scores.maps, again.maps)
    monkeypatch.setattr("patchshift.features.embedding.BYTES", 100_000)  # so that few of the small images fit
    assert bank.representation.images_within(16, held=bank.model.held) < 5
    few = bank.score(target, ScoringSpec(chunk_mb=16))
    np.testing.assert_allclose(few.maps, scores.maps, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("settings", METHODS)
def test_refitting_gives_equal_bytes(make_features: Any, tmp_path: Path, settings: dict[str, Any]) -> None:
    for name in ("one.h5", "two.h5"):
        bank = fit_detector(DETECTOR.validate_python(settings), make_features(), seed=1)
        bank.save(tmp_path / name, {"seed": 1})
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()


@pytest.mark.parametrize("other", [{"channels": 6}, {"input_size": (96, 48)}])
def test_features_of_another_backbone_are_refused_by_name(make_features: Any, other: dict[str, Any]) -> None:
    bank = fit_detector(spec(), make_features(), seed=0)
    features = make_features(**other)
    with pytest.raises(UserError, match=r"features.*h5 holds layers fine 8x6x4, .*fitted on layers fine 8x6x4"):
        bank.score(features, ScoringSpec())


def change(name: str, values: Any) -> Callable[[h5py.File], None]:
    def apply(file: h5py.File) -> None:
        if name in file.attrs:
            file.attrs[name] = values
            return
        del file[name]
        if values is not None:
            file[name] = values

    return apply


HNSW: dict[str, Any] = {"method": "patchcore", "sampler": {"method": "none"}, "index": {"method": "hnsw"}}
PADIM: dict[str, Any] = {"method": "padim", "representation": {"neighbourhood": "none"}}


@pytest.mark.parametrize(
    ("settings", "damage"),
    [
        (HNSW, change("model/index", np.arange(50, dtype=np.uint8))),
        (HNSW, change("model/index", None)),
        (HNSW, change("model/vectors", np.zeros((3, 9), np.float32))),
        (METHODS[0], change("model/vectors", None)),
        (METHODS[0], change("model/count", 0)),
        (METHODS[0], change("model", 3)),
        (METHODS[0], change("input_size", 3)),
        (METHODS[0], change("made", "3")),
        (PADIM, change("model/mean", np.zeros((5, 9), np.float32))),
        ({"method": "pca", "dimension": 3}, change("model/mean", np.zeros(4, np.float32))),
    ],
)
def test_a_bank_that_was_changed_is_refused_when_it_is_read(
    make_features: Any,
    tmp_path: Path,
    edit_sealed: Any,
    settings: dict[str, Any],
    damage: Callable[[h5py.File], None],
) -> None:
    path = tmp_path / "bank.h5"
    fit_detector(DETECTOR.validate_python(settings), make_features(30), seed=0).save(path, {})
    with edit_sealed(path) as file:
        damage(file)
    with pytest.raises(UserError, match=r"bank\.h5 is not a whole bank .*delete it and run again"):
        Bank.load(path)


def test_no_byte_of_a_bank_can_change_unnoticed(make_features: Any, tmp_path: Path) -> None:
    path = tmp_path / "bank.h5"
    fit_detector(spec(), make_features(), seed=0).save(path, {})
    content = path.read_bytes()
    for place in np.linspace(0, len(content) - 1, 40).astype(int):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(UserError, match=r"bank\.h5 is not a whole bank .*(edited|seal).*delete it and run again"):
            Bank.load(path)


def test_a_damaged_or_missing_bank_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bank.h5"
    with pytest.raises(UserError, match=r"bank\.h5 does not exist: run again to make it"):
        Bank.load(path)
    for content in (b"", b"not HDF5"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"bank\.h5 is not a whole bank"):
            Bank.load(path)
