"""The scripts of shards: what they refuse before they read a file, and how much of the features each of them reads."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from patchshift.data.splits import Split, write_split
from patchshift.errors import UserError
from patchshift.features.store import FeatureWriter
from patchshift.plan.detector_specs import DETECTOR
from patchshift.runtime.files import atomic_path

SHARDED = DETECTOR.validate_python({"method": "patchcore", "shards": 3}).fit_spec()
ONE_JOB = DETECTOR.validate_python({"method": "padim"}).fit_spec()
FIT = ["--members", "d/a", "--features", "f.h5", "--splits", "s.csv", "--seed", "0", "--stage", "1"]
SHARD = ["--representation", "r.h5", "--representation-stage", "1", "--picks", "p.h5"]
BANK = ["--bank", "b.h5"]
SHARED = ["--representation", "r.h5", "--shard-stages", "1", "1", "--shards"]


@pytest.mark.parametrize(
    ("script", "spec", "arguments", "message"),
    [
        ("choose_shard", SHARDED, [*SHARD, "--shard", "1", "--shards", "2"], "the spec has shards: 3, not 2"),
        ("choose_shard", SHARDED, [*SHARD, "--shard", "4", "--shards", "3"], "there is no shard 4 of 3"),
        ("fit_detector", SHARDED, [*BANK, "--shards", "a", "b", "c"], "are given together or not at all"),
        ("fit_detector", SHARDED, [*BANK, "--representation", "r.h5"], "are given together or not at all"),
        ("fit_detector", SHARDED, [*BANK, *SHARED, "a"], "the spec has shards: 3, but 1 are given"),
        ("fit_detector", ONE_JOB, [*BANK, *SHARED, "a"], "the spec has shards: 1, but 1 are given"),
    ],
)
def test_shards_that_do_not_fit_the_spec_are_refused(
    script: str, spec: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        import_module(script).main([*FIT, "--spec", spec, *arguments])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


SHAPE = (28, 28, 64)
IMAGE = 2 * 28 * 28 * 64
"""Bytes of one image's features."""

TRAINING, OTHERS, SHARDS = 20, 40, 4
MEMBERS = ["d/a", "d/b"]

Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the script of a stage on a pool of two categories; how many bytes the process has read meanwhile."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    keys = [f"{number:02}.png" for number in range(TRAINING + OTHERS)]
    for name in "ab":
        with atomic_path(Path(f"{name}.h5")) as partial, FeatureWriter(partial, keys, (224, 224), {"of": name}) as file:
            for row in range(len(keys)):
                file.write(row, {"layer": random.normal(size=(1, *SHAPE)).astype(np.float16)})
        parts = {key: "train" if row < TRAINING else "test" for row, key in enumerate(keys)}
        write_split(Path(f"{name}.csv"), Split(parts, frozenset()))

    def run(stage: str, *arguments: str, representation: dict[str, object] | None = None) -> int:
        module = import_module(stage)
        monkeypatch.setattr(module, "limit_threads", lambda count: None)  # it would be that of all tests
        settings = {"representation": representation} if representation else {}
        spec = DETECTOR.validate_python(
            {"method": "patchcore", "sampler": {"count": 50}, "shards": SHARDS, "threads": 1} | settings
        )
        fit = ["--members", *MEMBERS, "--features", "a.h5", "b.h5", "--splits", "a.csv", "b.csv"]
        for name in "ab":
            Path(f"{name}.h5").touch()  # else this process knows their digests
        before = count_bytes_read()
        module.main([*fit, "--spec", spec.fit_spec(), "--seed", "0", "--stage", "1", *arguments])
        return count_bytes_read() - before

    run("fit_representation", "--representation", "fitted.h5")
    run("choose_shard", *choose(1))  # all is imported now
    return run


def choose(shard: int) -> list[str]:
    own = ["--shard", str(shard), "--shards", str(SHARDS), "--picks", f"{shard}.h5"]
    return ["--representation", "fitted.h5", "--representation-stage", "1", *own]


def count_bytes_read() -> int:
    """By all system calls of this process, so also of what lies in memory."""
    return int(Path("/proc/self/io").read_text().split()[1])


def join() -> list[str]:
    picks = [f"{shard}.h5" for shard in range(1, SHARDS + 1)]
    return ["--representation", "fitted.h5", "--shards", *picks, "--shard-stages", "1", "1", "--bank", "bank.h5"]


@pytest.mark.parametrize("shard", range(1, SHARDS + 1))
def test_a_job_reads_the_features_of_its_own_images_alone(run: Run, shard: int) -> None:
    own = len(MEMBERS) * TRAINING // SHARDS * IMAGE
    assert own <= run("choose_shard", *choose(shard)) < 1.1 * own


def test_where_nothing_is_fitted_no_features_are_read(run: Run) -> None:
    assert run("fit_representation", "--representation", "again.h5") < IMAGE


def test_what_is_fitted_is_fitted_on_training_images_alone(run: Run) -> None:
    training = len(MEMBERS) * TRAINING * IMAGE
    read = run("fit_representation", "--representation", "again.h5", representation={"normalise": "standardise"})
    assert training <= read < 1.1 * training


def test_the_joining_job_reads_all_features_once_for_their_digests_and_those_that_train_once_more(run: Run) -> None:
    for shard in range(1, SHARDS + 1):
        run("choose_shard", *choose(shard))
    run("fit_detector", *join())  # all is imported now
    training, all_images = (len(MEMBERS) * count * IMAGE for count in (TRAINING, TRAINING + OTHERS))
    assert all_images + training <= run("fit_detector", *join()) < 1.1 * (all_images + training)


@pytest.mark.parametrize("row", [0, TRAINING + OTHERS - 1])
def test_a_damaged_store_is_named_by_the_job_that_joins_and_nothing_is_left(run: Run, row: int) -> None:
    """Also where the damage is in an image that no job reads."""
    content = bytearray(Path("b.h5").read_bytes())
    content[-(TRAINING + OTHERS - row) * IMAGE + IMAGE // 2] ^= 1
    Path("b.h5").write_bytes(content)
    for shard in range(1, SHARDS + 1):
        run("choose_shard", *choose(shard))
    with pytest.raises(UserError, match=r"^b\.h5 is not a whole feature store \(its content is not .*delete it and"):
        run("fit_detector", *join())
    assert not Path("bank.h5").exists()
