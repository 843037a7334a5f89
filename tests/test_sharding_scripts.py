"""What the scripts of shards refuse before they read a file."""

from importlib import import_module

import pytest

from patchshift.plan.detector_specs import DETECTOR

SPEC = DETECTOR.validate_python({"method": "patchcore", "shards": 3})
FIT = ["--members", "d/a", "--features", "f.h5", "--splits", "s.csv", "--seed", "0", "--stage", "1"]
SHARD = ["--representation", "r.h5", "--representation-stage", "1", "--picks", "p.h5"]


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("choose_shard", [*SHARD, "--shard", "1", "--shards", "2"], "the spec has shards: 3, not 2"),
        ("choose_shard", [*SHARD, "--shard", "4", "--shards", "3"], "there is no shard 4 of 3"),
        ("fit_detector", ["--bank", "b.h5", "--shards", "a", "b", "c"], "need --representation and --shard-stages"),
        (
            "fit_detector",
            ["--bank", "b.h5", "--shards", "a", "--representation", "r.h5", "--shard-stages", "1", "1"],
            "the spec has shards: 3, not 1",
        ),
    ],
)
def test_shards_that_do_not_fit_the_spec_are_refused(
    script: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        import_module(script).main([*FIT, "--spec", SPEC.fit_spec(), *arguments])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
