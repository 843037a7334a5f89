import dataclasses
import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from patchshift.app.calibrations import describe_calibration
from patchshift.app.inspect_bank import changed_settings, lay_out
from patchshift.app.main import main
from patchshift.app.models import ExportedModel
from patchshift.detectors.bank import Bank
from patchshift.detectors.fit import fit_detector
from patchshift.detectors.scores import write_scores
from patchshift.evaluation.calibration import PixelThreshold, ZoneThresholds
from patchshift.evaluation.thresholds import calibrate
from patchshift.features.store import FeatureStore, FeatureWriter
from patchshift.plan.backbone_specs import BACKBONE
from patchshift.plan.detector_specs import DETECTOR
from patchshift.plan.score_specs import ScoringSpec

PROVENANCE = {
    "stage": "fit_detector",
    "version": "5",
    "seed": 4,
    "spec": {"method": "patchcore"},
    "inputs": {"features": ["ab" * 32], "splits": ["cd" * 32]},
    "libraries": {"numpy": "2.4.6", "faiss-cpu": "1.15.1"},
}
PATCHCORE = {"method": "patchcore", "sampler": {"count": 20}, "neighbours": 3}
METHODS: list[dict[str, Any]] = [
    PATCHCORE,
    {"method": "patchcore", "sampler": {"method": "none"}, "index": {"method": "hnsw"}},
    {"method": "patchcore", "sampler": {"method": "none"}, "index": {"method": "ivf_pq", "code_bytes": 3}},
    {"method": "padim", "representation": {"neighbourhood": "none"}},
    {"method": "pca", "dimension": 3, "representation": {"reduction": {"method": "pca", "dimension": 5}}},
]
BACKBONE_SPEC = BACKBONE.validate_python({"source": "scattering", "image_size": 64, "stride": 8})

MakeBank = Callable[..., Bank]
Read = Callable[..., dict[str, Any]]


@pytest.fixture
def make_bank(tmp_path: Path) -> MakeBank:
    """A bank of ten images of noise, two layers."""

    def make(settings: dict[str, Any] = PATCHCORE) -> Bank:
        random = np.random.default_rng(0)
        names, path = [f"image{number}" for number in range(10)], tmp_path / "features.h5"
        with FeatureWriter(path, names, (64, 64), {"device": "cpu", "precision": "float32"}) as writer:
            fine = random.normal(size=(10, 8, 6, 4)).astype(np.float16)
            writer.write(0, {"fine": fine, "coarse": random.normal(size=(10, 4, 3, 5)).astype(np.float16)})
        with FeatureStore(path) as store:
            bank = fit_detector(DETECTOR.validate_python(settings), store.select(names), seed=4)
        return dataclasses.replace(bank, members=["plant/valve"])

    return make


@pytest.fixture
def read(capsys: pytest.CaptureFixture[str]) -> Read:
    """What `--json` prints of a file."""

    def read(path: Path) -> dict[str, Any]:
        assert main(["inspect-bank", str(path), "--json"]) == 0
        content: dict[str, Any] = json.loads(
            capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON")
        )
        return content

    return read


def save(bank: Bank, path: Path) -> Path:
    bank.save(path, PROVENANCE)
    return path


def export(bank: Bank, path: Path, **more: Any) -> Path:
    scores = np.sort(np.random.default_rng(0).uniform(1, 2, 9)).astype(np.float32)
    model = ExportedModel(
        bank=bank,
        backbone=BACKBONE_SPEC,
        weights_digest=None,
        scoring=ScoringSpec.model_validate({"image_score": {"method": "top_share", "share": 0.1}}),
        calibration=calibrate("f1_max", np.append(scores, 3), [0] * 9 + [1]),
        normal_scores=scores,
        patch_range=(0.5, 3.0),
        smoothing_sigma=4.0,
        provenance={"stage": "export_model", "version": "1", "inputs": {"bank": "ef" * 32}, "bank": PROVENANCE},
    )
    dataclasses.replace(model, **more).save(path)
    return path


def test_a_bank_is_told_with_what_it_holds_and_where_it_comes_from(
    make_bank: MakeBank, read: Read, tmp_path: Path
) -> None:
    bank = make_bank()
    told = read(save(bank, tmp_path / "bank.h5"))
    path = tmp_path / "bank.h5"
    assert told["file"] == {"path": str(path), "kind": "bank", "file_bytes": path.stat().st_size}
    assert told["detector"] == {
        "method": "patchcore",
        "categories": ["plant/valve"],
        "settings_other_than_default": {"sampler.share": None, "sampler.count": 20, "neighbours": 3},
    }
    assert told["representation"]["layers"] == {"fine": [8, 6, 4], "coarse": [4, 3, 5]}
    assert told["representation"]["dimension"] == 9
    assert told["kept"] == {
        "vectors": 20,
        "bank_bytes": bank.facts["bank_bytes"],
        "search": "flat",
        "covering_radius": bank.model.covering_radius,
        "search_recall": 1.0,
    }
    assert told["provenance"] == {
        **{key: value for key, value in PROVENANCE.items() if key != "spec"},
        "features_made_on": {"device": "cpu", "precision": "float32"},
    }


@pytest.mark.parametrize("settings", METHODS)
def test_every_method_is_told_alike_by_its_bank_and_by_its_exported_model(
    make_bank: MakeBank, read: Read, tmp_path: Path, settings: dict[str, Any]
) -> None:
    bank = make_bank(settings)
    of_bank, of_model = read(save(bank, tmp_path / "bank.h5")), read(export(bank, tmp_path / "model.h5"))
    for section in ("detector", "representation", "kept", "provenance"):
        assert of_bank[section] == of_model[section]
    assert of_bank["kept"]["vectors"] == bank.model.size
    index = settings.get("index", {"method": "flat"})["method"] if settings["method"] == "patchcore" else None
    assert of_bank["kept"].get("search") == index


def test_an_exported_model_is_told_with_its_backbone_threshold_and_normal_scores(
    make_bank: MakeBank, read: Read, tmp_path: Path
) -> None:
    path = export(make_bank(), tmp_path / "model.h5")
    model, told = ExportedModel.load(path), read(path)
    assert told["file"]["kind"] == "exported model"
    assert told["backbone"]["source"] == "scattering"
    assert told["backbone"]["settings_other_than_default"] == {"image_size": 64}
    assert told["threshold"] == {
        "policy": "f1_max",
        "threshold": model.calibration.threshold,
        "validation_images": {"normal": 9, "anomalous": 1},
        "probabilities": describe_calibration(model.calibration)["probabilities"],
    }
    normal = told["scores_of_normal_validation_images"]
    assert (normal["images"], normal["median"]) == (9, pytest.approx(float(np.median(model.normal_scores))))
    assert told["scoring"]["image_score"] == "top_share"
    assert told["scoring"]["settings_other_than_default"] == {"image_score.share": 0.1}
    assert told["export"]["inputs"] == {"bank": "ef" * 32}


def test_a_model_without_threshold_says_why(make_bank: MakeBank, read: Read, tmp_path: Path) -> None:
    none = calibrate("f1_max", np.array([1.0]), [0])
    told = read(export(make_bank(), tmp_path / "model.h5", calibration=none, normal_scores=np.zeros(0, np.float32)))
    assert told["threshold"]["threshold"] is None
    assert told["threshold"]["undefined"] == none.undefined
    assert told["scores_of_normal_validation_images"] == {"images": 0}


def test_thresholds_of_pixels_and_zones_are_laid_out_below_the_image_threshold(
    make_bank: MakeBank, read: Read, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calibration = dataclasses.replace(
        calibrate("f1_max", np.array([1.0, 2.0]), np.array([0, 1])),
        pixels=PixelThreshold("mean_std", 1.25, None, normal=52_000, anomalous=0),
        zones=ZoneThresholds(2, 2, (1.5, 2.5, None, 3.5), (None, None, "ignored", None)),
    )
    path = export(make_bank(), tmp_path / "model.h5", calibration=calibration)
    assert read(path)["threshold"]["pixels"]["threshold"] == 1.25
    assert main(["inspect-bank", str(path)]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    start = lines.index("pixels")
    assert lines[start : start + 5] == [
        "pixels",
        "policy mean_std",
        "threshold 1.25",
        "validation pixels",
        "normal 52,000",
    ]
    start = lines.index("zones")
    assert lines[start + 3 : start + 7] == [
        "thresholds of row 1 1.5, 2.5",
        "thresholds of row 2 none, 3.5",
        "undefined",
        "r2c1 ignored",
    ]
    assert any(line.startswith("platt slope ") for line in lines)


def test_a_pool_is_told_with_the_share_of_each_category(
    make_bank: MakeBank, read: Read, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bank = make_bank()
    model = dataclasses.replace(bank.model, members=np.array([0] * 5 + [1] * 15, np.int16))
    pool = dataclasses.replace(bank, model=model, members=["plant/valve", "plant/pump"])
    told = read(save(pool, tmp_path / "pool.h5"))
    assert told["vectors_of_categories"] == {
        "plant/valve": {"vectors": 5, "share": 0.25},
        "plant/pump": {"vectors": 15, "share": 0.75},
    }
    main(["inspect-bank", str(tmp_path / "pool.h5")])
    assert re.search(r"^  plant/pump +15 +75\.0%$", capsys.readouterr().out, re.MULTILINE)


def test_the_text_has_sections_with_names_and_values_in_columns(
    make_bank: MakeBank, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect-bank", str(export(make_bank(), tmp_path / "model.h5"))]) == 0
    blocks = capsys.readouterr().out.rstrip("\n").split("\n\n")
    titles = [block.split("\n")[0] for block in blocks]
    assert titles[:4] == ["File", "Detector", "Representation", "Kept"]
    assert titles[-2:] == ["Provenance", "Export"]
    for block in blocks:
        lines = [line for line in block.split("\n")[1:] if re.search(r"\S  +\S", line)]
        assert len({re.search(r"\S  +(?=\S)", line).end() for line in lines}) == 1  # type: ignore[union-attr]
    text = "\n".join(blocks)
    assert re.search(r"^    fine +8 x 6 x 4$", text, re.MULTILINE)
    assert re.search(r"^    features +ababababab\w\w\.\.\.$", text, re.MULTILINE)
    assert re.search(r"^  libraries +faiss-cpu 1\.15\.1, numpy 2\.4\.6$", text, re.MULTILINE)


def test_large_sizes_are_told_in_bytes_and_in_units() -> None:
    lines = lay_out({"kept": {"bank_bytes": 7_221_504, "vectors": 4704, "covering_radius": 1.62220578}})
    assert lines == [
        "Kept",
        "  bank bytes       7,221,504 (7.2 MB)",
        "  vectors          4,704",
        "  covering radius  1.62221",
    ]


def test_settings_as_by_default_are_not_told() -> None:
    assert changed_settings(DETECTOR.validate_python({"method": "padim"})) == {}
    assert changed_settings(DETECTOR.validate_python({"method": "patchcore"})) == {}
    spec = DETECTOR.validate_python({"method": "padim", "representation": {"layers": ["layer2"], "normalise": "none"}})
    assert changed_settings(spec) == {
        "representation.layers": ["layer2"],
        "representation.neighbourhood": "average",
        "representation.reduction": None,
    }


def test_other_files_are_refused_by_what_they_are(
    make_bank: MakeBank, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bank = make_bank()
    with FeatureStore(tmp_path / "features.h5") as store:
        scores = bank.score(store.select(store.images), ScoringSpec())
    write_scores(tmp_path / "scores.h5", scores, [f"image{number}" for number in range(10)], (64, 64), {})
    for name, stage in (("pack.h5", "pack_images"), ("other.h5", "another_rule")):
        with h5py.File(tmp_path / name, "w") as file:
            file.attrs["provenance"] = json.dumps({"stage": stage})
    (tmp_path / "table.csv").write_text("image,score\n")
    for name, kind in [
        ("features.h5", "is a feature store"),
        ("scores.h5", "is a scores file"),
        ("pack.h5", "is a pack of masks and labels"),
        ("other.h5", "is an HDF5 file of another kind"),
        ("table.csv", "is not an HDF5 file"),
        ("none.h5", "does not exist"),
        ("", "is a folder"),
    ]:
        assert main(["inspect-bank", str(tmp_path / name)]) == 1
        printed = capsys.readouterr()
        assert f"{kind}: give a bank (results/banks/) or an exported model (results/exports/)" in printed.err
        assert printed.out == ""


def test_a_bank_or_model_that_is_not_whole_is_refused_in_one_message(
    make_bank: MakeBank, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bank, model = save(make_bank(), tmp_path / "bank.h5"), export(make_bank(), tmp_path / "model.h5")
    for whole in (bank, model):
        content = whole.read_bytes()
        for length in range(1, len(content), len(content) // 7):
            (tmp_path / "cut.h5").write_bytes(content[:length])
            assert main(["inspect-bank", str(tmp_path / "cut.h5")]) == 1
            assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'cut.h5'} is ")
    with h5py.File(bank, "r+") as file:
        del file["model/vectors"]
    with h5py.File(model, "r+") as file:
        file["bank/model/vectors"][0] = 0
    for damaged in (bank, model):
        assert main(["inspect-bank", str(damaged)]) == 1
        assert "damaged, or edited" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("provenance", "fault"),
    [(None, "does not say how it was made"), ("no JSON", "is damaged ("), ("[1]", "does not say how it was made")],
)
def test_a_bank_without_provenance_is_refused(
    make_bank: MakeBank,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    edit_sealed: Callable[[Path], AbstractContextManager[h5py.File]],
    provenance: str | None,
    fault: str,
) -> None:
    path = save(make_bank(), tmp_path / "bank.h5")
    with edit_sealed(path) as file:
        del file.attrs["provenance"]
        if provenance is not None:
            file.attrs["provenance"] = provenance
    assert main(["inspect-bank", str(path)]) == 1
    assert f"bank.h5 {fault}" in capsys.readouterr().err
