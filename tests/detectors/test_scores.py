from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from patchshift.detectors.scores import Scores, read_scores, write_scores
from patchshift.errors import UserError
from patchshift.plan.score_specs import ScoringSpec

SCORES = Scores(np.array([1, 2], np.float32), np.arange(12, dtype=np.float32).reshape(2, 2, 3))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_scores(tmp_path / "scores.h5", SCORES, ["a/é.png", "b.png"], (64, 96), {"stage": "score_images"})
    read = read_scores(tmp_path / "scores.h5")
    np.testing.assert_array_equal(read.scores.image_scores, SCORES.image_scores)
    np.testing.assert_array_equal(read.scores.maps, SCORES.maps)
    assert (read.images, read.input_size) == (["a/é.png", "b.png"], (64, 96))
    assert read.provenance == {"stage": "score_images"}


def test_what_maps_were_made_from_and_what_tables_say_of_the_detector_are_kept(tmp_path: Path) -> None:
    scores = replace(
        SCORES,
        parts={"member": np.arange(12, dtype=np.int16).reshape(2, 2, 3), "negative": SCORES.maps},
        facts={"feature_dim": 384, "recall": 0.5},
        members=["mtd/tile", "demo/weave"],
        scoring=ScoringSpec.model_validate({"anomaly_map": {"upsampling": "nearest"}}),
    )
    write_scores(tmp_path / "scores.h5", scores, ["a", "b"], (64, 96), {})
    read = read_scores(tmp_path / "scores.h5").scores
    assert (read.facts, read.members, read.scoring) == (scores.facts, scores.members, scores.scoring)
    assert read.parts.keys() == scores.parts.keys()
    for name, part in scores.parts.items():
        assert read.parts[name].dtype == part.dtype
        np.testing.assert_array_equal(read.parts[name], part)


def test_equal_scores_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("one.h5", "two.h5"):
        write_scores(tmp_path / name, SCORES, ["a", "b"], (64, 96), {})
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()


def test_a_damaged_or_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "scores.h5"
    with pytest.raises(UserError, match=r"scores\.h5 does not exist: run again to make it"):
        read_scores(path)
    for content in (b"", b"not HDF5"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"scores\.h5 is not a whole scores file"):
            read_scores(path)
