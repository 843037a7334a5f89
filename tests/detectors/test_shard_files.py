from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from patchshift.detectors.prepared import prepare
from patchshift.detectors.shard_files import (
    PickFiles,
    describe_fit,
    describe_picks,
    describe_prepared,
    describe_shard,
    read_prepared,
    write_picks,
    write_prepared,
)
from patchshift.detectors.training import TrainingSet
from patchshift.errors import UserError
from patchshift.plan.detector_specs import DETECTOR

SPEC = DETECTOR.validate_python({"method": "patchcore", "sampler": {"share": 0.1}, "shards": 3})
OTHER = DETECTOR.validate_python({"method": "patchcore", "sampler": {"share": 0.2}, "shards": 3})


def picks(seed: int) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    return random.normal(size=(4, 5)).astype(np.float32), random.integers(0, 9, 4)


@pytest.fixture
def fit(make_features: Any) -> dict[str, Any]:
    return describe_fit(SPEC, TrainingSet(make_features(6), ["d/a"]), 0)


@pytest.fixture
def paths(tmp_path: Path, fit: dict[str, Any]) -> list[Path]:
    """The picks of three shards for two quotas."""
    made = [tmp_path / f"{number}of3.h5" for number in (1, 2, 3)]
    for number, path in enumerate(made, 1):
        write_picks(path, [picks(number), picks(-number + 10)], fit | {"shard": describe_shard(number, 3)})
    return made


def test_picks_are_read_as_they_were_written(paths: list[Path], fit: dict[str, Any]) -> None:
    files = PickFiles(paths, fit)
    for shard, place, seed in ((0, 0, 1), (2, 0, 3), (1, 1, 8)):
        for read, written in zip(files.read(shard, place), picks(seed), strict=True):
            np.testing.assert_array_equal(read, written)


def drop(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def swap(path: Path) -> None:
    path.write_bytes(path.with_name("1of3.h5").read_bytes())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop, r"2of3.h5 does not exist: run again to make it"),
        (cut, r"2of3.h5 is not a whole file of a shared fit \(.*\): delete it and run again"),
        (flip, r"2of3.h5 is not a whole file of a shared fit \(its content is not what was written"),
        (swap, r"2of3.h5 was made for another fit \(other shard\): delete it"),
    ],
)
def test_a_file_that_is_missing_damaged_or_of_another_shard_is_named(
    paths: list[Path], fit: dict[str, Any], damage: Callable[[Path], None], message: str
) -> None:
    damage(paths[1])
    with pytest.raises(UserError, match=message):
        PickFiles(paths, fit)


def test_picks_for_another_fit_are_refused(make_features: Any, paths: list[Path]) -> None:
    features = make_features(6)
    for training, spec, seed, differs in (
        (TrainingSet(features, ["d/a"]), SPEC, 1, "seed"),
        (TrainingSet(features, ["d/a"]), OTHER, 0, "spec"),
        (TrainingSet(features, ["d/b"]), SPEC, 0, "training"),
        (TrainingSet(features.parts[0][0].select(features.images[:5]), ["d/a"]), SPEC, 0, "training"),
        (TrainingSet(features.parts[0][0].select(features.images[::-1]), ["d/a"]), SPEC, 0, "training"),
        (TrainingSet(make_features(6, device="cuda: A"), ["d/a"]), SPEC, 0, "training"),
    ):
        with pytest.raises(UserError, match=rf"1of3.h5 was made for another fit \(other {differs}\)"):
            PickFiles(paths, describe_fit(spec, training, seed))
    PickFiles(paths, describe_fit(SPEC, TrainingSet(make_features(6), ["d/a"]), 0))  # of another copy of the store


def test_picks_belong_to_the_representation_that_they_were_chosen_with(
    make_features: Any, tmp_path: Path, fit: dict[str, Any]
) -> None:
    provenance = []
    for seed in (0, 1):
        path = tmp_path / f"representation{seed}.h5"
        write_prepared(path, prepare(SPEC, make_features(6, seed=seed), seed=0), describe_prepared(fit, str(seed)))
        provenance.append(describe_picks(fit, "1", path))
    write_picks(tmp_path / "1of1.h5", [picks(0)], provenance[0] | {"shard": "1of1"})
    PickFiles([tmp_path / "1of1.h5"], provenance[0])
    with pytest.raises(UserError, match=r"1of1.h5 was made for another fit \(other prepared\)"):
        PickFiles([tmp_path / "1of1.h5"], provenance[1])


@pytest.mark.parametrize("foreground", [False, True])
def test_what_shards_share_is_read_as_it_was_fitted(make_features: Any, tmp_path: Path, foreground: bool) -> None:
    settings = {"representation": {"normalise": "whiten", "shrinkage": 0.2}, "foreground": foreground}
    spec, features = SPEC.model_validate({"method": "patchcore", **settings}), make_features(6)
    fitted = prepare(spec, features, seed=0)
    write_prepared(tmp_path / "representation.h5", fitted, {"version": "1"})
    read = read_prepared(tmp_path / "representation.h5", spec, {"version": "1"})
    assert read.representation.layer_shapes == fitted.representation.layer_shapes
    assert list(read.representation.layer_shapes) == list(fitted.representation.layer_shapes)
    assert read.representation.state.keys() == fitted.representation.state.keys()
    for name, values in fitted.representation.state.items():
        np.testing.assert_array_equal(read.representation.state[name], values)
        assert read.representation.state[name].dtype == values.dtype
    assert (read.foreground is not None) == foreground
    if foreground:
        np.testing.assert_array_equal(read.present, fitted.present)
        assert read.foreground.arrays().keys() == fitted.foreground.arrays().keys()
        for name, values in fitted.foreground.arrays().items():
            np.testing.assert_array_equal(read.foreground.arrays()[name], values)
    with pytest.raises(UserError, match=r"representation.h5 was made for another fit \(other version\)"):
        read_prepared(tmp_path / "representation.h5", spec, {"version": "2"})


@pytest.mark.parametrize("number", [0, 4])
def test_there_is_no_shard_beyond_the_last(number: int) -> None:
    with pytest.raises(UserError, match=f"there is no shard {number} of 3"):
        describe_shard(number, 3)
