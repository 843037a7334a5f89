"""What the scripts of shards refuse before they read a file."""

from importlib import import_module

import pytest

from patchshift.plan.detector_specs import DETECTOR

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
