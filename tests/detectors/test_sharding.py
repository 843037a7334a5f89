"""A bank that several jobs choose, and the one that a single job chooses from the same shards."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from patchshift.detectors.bank import Bank
from patchshift.detectors.coreset import trace_greedy
from patchshift.detectors.fit import fit_detector
from patchshift.detectors.patches import PatchSource
from patchshift.detectors.prepared import prepare
from patchshift.detectors.samplers import sample
from patchshift.detectors.shard_files import (
    describe_fit,
    describe_picks,
    describe_prepared,
    describe_shard,
    open_shards,
    read_prepared,
    write_picks,
    write_prepared,
)
from patchshift.detectors.sharding import Sharding, choose_shard
from patchshift.detectors.training import TrainingSet
from patchshift.errors import UserError
from patchshift.features.store import pool
from patchshift.plan.detector_specs import DETECTOR
from patchshift.plan.sampling_specs import SamplerSpec

Float32 = npt.NDArray[np.float32]
STAGES = ("3", "4")
FACTOR = 4  # of the best covering radius, which no choice can undercut


def fit_in_jobs(spec: Any, training: TrainingSet, folder: Path, seed: int = 2) -> Bank:
    """What the scripts of the stages do, one after the other."""
    fit = describe_fit(spec, training, seed)
    representation = folder / "representation.h5"
    write_prepared(representation, prepare(spec, training.features, seed=seed), describe_prepared(fit, STAGES[0]))
    paths = [folder / f"{describe_shard(number, spec.shards)}.h5" for number in range(1, spec.shards + 1)]
    for shard, path in enumerate(paths):
        prepared = read_prepared(representation, spec, describe_prepared(fit, STAGES[0]))
        picks = choose_shard(
            spec.sampler,
            prepared.open_patches(spec, training.features),
            shard=shard,
            count=spec.shards,
            memory_mb=spec.memory_mb,
            seed=seed,
            members=training.members,
            member_of=training.member_of,
        )
        told = describe_picks(fit, STAGES[1], representation) | {"shard": describe_shard(shard + 1, spec.shards)}
        write_picks(path, picks, told)
    read, sharding = open_shards(representation, paths, spec, training, seed=seed, stages=STAGES)
    return fit_detector(spec, training, seed=seed, prepared=read, sharding=sharding)


@pytest.mark.parametrize(
    "settings",
    [
        {"shards": 3},
        {"shards": 9},  # more than there are images
        {"shards": 3, "sampler": {"count": 20, "projection": 3}},
        {"shards": 2, "representation": {"normalise": "whiten", "shrinkage": 0.3}},
        {"shards": 3, "representation": {"fusion": "adaptive", "normalise": "standardise"}},
        {"shards": 3, "representation": {"reduction": {"method": "pca", "dimension": 4}}},
        {"shards": 3, "representation": {"reduction": {"method": "random_projection", "dimension": 4}}},
        {"shards": 3, "foreground": True, "distance": "cosine"},
        {"shards": 2, "method": "patchcore_dual"},
        {"shards": 3, "index": {"method": "hnsw"}},
    ],
)
def test_a_bank_of_several_jobs_is_that_of_one_byte_for_byte(
    make_features: Any, tmp_path: Path, settings: dict[str, Any]
) -> None:
    spec = DETECTOR.validate_python({"method": "patchcore", "sampler": {"share": 0.1}} | settings)
    training = TrainingSet(make_features(7))
    fit_in_jobs(spec, training, tmp_path).save(tmp_path / "jobs.h5", {})
    fit_detector(spec, training, seed=2).save(tmp_path / "alone.h5", {})
    assert (tmp_path / "jobs.h5").read_bytes() == (tmp_path / "alone.h5").read_bytes()
    without = fit_detector(spec.model_copy(update={"shards": 1}), training, seed=2)
    assert without.model.facts["covering_radius"] != Bank.load(tmp_path / "jobs.h5").model.facts["covering_radius"]


@pytest.mark.parametrize("per_category", [False, True])
def test_a_pool_in_several_jobs_is_that_of_one(make_features: Any, tmp_path: Path, per_category: bool) -> None:
    """Each category has its quota in every shard."""
    features = pool([make_features(5), make_features(8, seed=1)])
    members = np.repeat(np.array([0, 1], np.int16), [5, 8])
    training = TrainingSet(features, ["d/a", "d/b"], members)
    sampler = {"count": 31, "projection": 4, "per_category": per_category}
    spec = DETECTOR.validate_python({"method": "patchcore", "sampler": sampler, "shards": 3})
    jobs, alone = fit_in_jobs(spec, training, tmp_path), fit_detector(spec, training, seed=2)
    for name, values in alone.model.arrays().items():
        np.testing.assert_array_equal(jobs.model.arrays()[name], values)
    if per_category:
        assert jobs.facts["bank_vectors/d/a"] == 16


few_images = st.tuples(st.integers(1, 7), st.integers(1, 6), st.integers(1, 3)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=st.integers(-9, 9))  # integers: duplicates, ties
)


def source_of(patches: Float32) -> PatchSource:
    present = np.ones(patches.shape[:2], np.bool_)
    return PatchSource(present, patches.shape[2], lambda images: patches[images].reshape(-1, patches.shape[2]))


@given(patches=few_images, data=st.data())
@settings(max_examples=150, deadline=None)
def test_shards_cover_within_four_times_the_best_radius(patches: Float32, data: st.DataObject) -> None:
    flat = patches.reshape(-1, patches.shape[2])
    size, count = data.draw(st.integers(1, min(4, len(flat)))), data.draw(st.integers(1, 9))
    spec, source = SamplerSpec(count=size), source_of(patches)
    kept = sample(spec, source, memory_mb=math.inf, seed=0, sharding=Sharding(count))
    picks = [list(choose_shard(spec, source, shard=i, count=count, memory_mb=math.inf, seed=0)) for i in range(count)]
    read = Sharding(count, lambda shard, place: picks[shard][place])
    again = sample(spec, source, memory_mb=math.inf, seed=0, sharding=read)
    np.testing.assert_array_equal(again.vectors, kept.vectors)
    np.testing.assert_array_equal(again.images, kept.images)
    assert again.radius == kept.radius
    distances = np.linalg.norm(flat[:, None].astype(np.float64) - flat, axis=2)
    if math.comb(len(flat), size) <= 2000:
        centres = itertools.combinations(range(len(flat)), size)
        best = min(distances[list(chosen)].min(axis=0).max() for chosen in centres)
        assert kept.radius <= FACTOR * best + 1e-9
    _, reach = trace_greedy(flat, min(size + 1, len(flat)), start=0)
    plain = reach[size] if size < len(reach) else 0.0
    assert kept.radius <= FACTOR * plain + 1e-9


def test_a_job_reads_the_images_of_its_shard_alone() -> None:
    patches = np.random.default_rng(0).normal(size=(20, 9, 4)).astype(np.float32)
    asked: list[list[int]] = []

    def read(images: Any) -> Float32:
        asked.append(images.tolist())
        return patches[images].reshape(-1, 4)

    source = PatchSource(np.ones((20, 9), np.bool_), 4, read)
    list(choose_shard(SamplerSpec(share=0.1), source, shard=1, count=4, memory_mb=math.inf, seed=0))
    assert asked == [[5, 6, 7, 8, 9]]


def test_too_little_memory_is_told_in_every_job_before_a_patch_is_read() -> None:
    def read(_: Any) -> Float32:
        raise AssertionError

    source = PatchSource(np.ones((40, 1000), np.bool_), 100, read)
    spec = SamplerSpec(share=0.01)
    message = r"memory_mb: 400 of 40,000 training patches cannot be chosen from 2 shards in 8 MB: raise it to 10, or "
    for attempt in (
        lambda: list(choose_shard(spec, source, shard=0, count=2, memory_mb=8, seed=0)),
        lambda: sample(spec, source, memory_mb=8, seed=0, sharding=Sharding(2)),
    ):
        with pytest.raises(UserError, match=message + "set shards to 3"):
            attempt()
    with pytest.raises(UserError, match=r"from 40 shards .* or keep fewer"):
        list(choose_shard(SamplerSpec(share=0.9), source, shard=0, count=40, memory_mb=1, seed=0))
