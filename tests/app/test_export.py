import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from patchshift.app.models import ExportedModel
from patchshift.data.splits import read_split
from patchshift.detectors.bank import Bank
from patchshift.detectors.scores import read_scores
from patchshift.errors import UserError
from patchshift.runtime.files import digest_file, read_json, write_json

Line = Any


def test_a_model_holds_what_the_stages_made(line: Line, model: Path) -> None:
    exported = ExportedModel.load(model)
    files = {name: line.folder / path for name, path in line.sources("small", "quick", "f1_max").items()}
    bank = Bank.load(files["bank"])
    for name, array in bank.model.arrays().items():
        np.testing.assert_array_equal(exported.bank.model.arrays()[name], array)
    assert exported.calibration.threshold == read_json(files["threshold"])["threshold"]
    assert exported.scoring == read_scores(files["scores"]).scores.scoring
    assert exported.smoothing_sigma == line.study.catalog.evaluation.smoothing_sigma
    assert exported.backbone == line.study.catalog.backbones["small"]
    assert exported.weights_digest is None
    assert exported.provenance["inputs"]["bank"] == digest_file(files["bank"])
    assert exported.provenance["bank"]["stage"] == "fit_detector"


def test_normal_scores_are_those_of_validation_alone(line: Line, model: Path) -> None:
    files = {name: line.folder / path for name, path in line.sources("small", "quick", "f1_max").items()}
    scored, split = read_scores(files["scores"]), read_split(files["split"])
    normal = [key for key in split.of("val") if key not in split.anomalous]
    expected = sorted(scored.scores.image_scores[[scored.images.index(key) for key in normal]])
    exported = ExportedModel.load(model)
    assert exported.normal_scores.tolist() == expected
    assert len(expected) == exported.calibration.normal


def test_exporting_again_gives_the_same_bytes(line: Line, model: Path, tmp_path: Path) -> None:
    assert digest_file(line.export("small", "quick", "f1_max", tmp_path / "again.h5")) == digest_file(model)
    assert str(line.folder).encode() not in model.read_bytes()


def test_the_weight_file_must_be_the_one_of_the_features(line: Line, tmp_path: Path) -> None:
    exported = ExportedModel.load(line.export("resnet", "quick", "f1_max", tmp_path / "resnet.h5"))
    assert exported.weights_digest == digest_file(line.weights / "resnet.safetensors")
    other = tmp_path / "resnet.safetensors"
    other.write_bytes((line.weights / "resnet.safetensors").read_bytes() + b" ")
    with pytest.raises(UserError, match=f"{digest_file(other)}.*{exported.weights_digest}"):
        line.export("resnet", "quick", "f1_max", tmp_path / "other.h5", weights=other)
    assert not (tmp_path / "other.h5").exists()


def test_files_that_do_not_belong_together_are_refused(line: Line, tmp_path: Path) -> None:
    sources = line.sources("small", "quick", "f1_max")
    others = line.sources("small", "top", "normal_p95")
    for role, message in (
        ("bank", "was not made from"),
        ("scores", "was not made from"),
        ("threshold", "was not made"),
    ):
        with pytest.raises(UserError, match=message):
            line.export("small", "quick", "f1_max", tmp_path / "mixed.h5", **{role: others[role]})
    features = line.sources("resnet", "quick", "f1_max")["features"]
    with pytest.raises(UserError, match="was not fitted on"):
        line.export("small", "quick", "f1_max", tmp_path / "mixed.h5", features=features)
    content = read_json(line.folder / sources["threshold"])
    content["provenance"]["inputs"]["scores"] = "0" * 64
    write_json(tmp_path / "stale.json", content)
    with pytest.raises(UserError, match="was not made from"):
        line.export("small", "quick", "f1_max", tmp_path / "mixed.h5", threshold=tmp_path / "stale.json")


def test_the_folder_to_predict_is_the_studys(line: Line, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from patchshift.plan.predictions import predicted_fingerprint, predicted_folder

    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"predict_on: data/new/today is not a folder"):
        predicted_folder(line.study)
    folder = tmp_path / "data" / "new" / "today"
    folder.mkdir(parents=True)
    assert predicted_folder(line.study) == Path("data/new/today")
    before = predicted_fingerprint(line.study)
    (folder / "a.png").write_bytes(b"image")
    came = predicted_fingerprint(line.study)
    assert came != before
    assert came == predicted_fingerprint(line.study)
    times = (folder / "a.png").stat().st_atime_ns, (folder / "a.png").stat().st_mtime_ns
    (folder / "a.png").write_bytes(b"longer image")
    os.utime(folder / "a.png", ns=times)  # as `cp -p` may
    longer = predicted_fingerprint(line.study)
    (folder / "a.png").write_bytes(b"LONGER IMAGE")
    os.utime(folder / "a.png", ns=(times[0], times[1] + 1))
    assert len({came, longer, predicted_fingerprint(line.study)}) == 3
    (folder / "a.png").rename(folder / "\udcff.png")  # byte ff, which is not UTF-8
    predicted_fingerprint(line.study)
