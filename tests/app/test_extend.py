import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from patchshift.app.detector import Detector
from patchshift.app.extend import name_images
from patchshift.app.main import main
from patchshift.app.models import ExportedModel
from patchshift.data.shifts.views import cut_view
from patchshift.detectors.extension import extend_bank
from patchshift.detectors.fit import fit_detector
from patchshift.evaluation.calibration import ZoneThresholds
from patchshift.evaluation.thresholds import calibrate
from patchshift.features.extraction import Extractor
from patchshift.features.store import FeatureStore
from patchshift.plan.backbone_specs import BACKBONE, BackboneSpec
from patchshift.plan.detector_specs import DETECTOR
from patchshift.plan.domain_specs import ViewSpec
from patchshift.plan.score_specs import ScoringSpec

SCATTERING = BACKBONE.validate_python(
    {"source": "scattering", "image_size": 32, "octaves": 2, "orientations": 2, "stride": 8, "batch_size": 4}
)
FIT = {"stage": "fit_detector", "version": "5", "seed": 3, "inputs": {"features": ["0" * 64]}, "libraries": {}}

MakeModel = Callable[..., Path]


def draw(folder: Path, count: int, *, seed: int, contrast: int = 20, size: tuple[int, int] = (40, 48)) -> Path:
    """Images of noise."""
    random = np.random.default_rng(seed)
    for number in range(count):
        path = folder / ("first" if number % 2 else "second") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(100 - contrast, 100 + contrast, (*size, 3), np.uint8)).save(path)
    return folder


def compute(folder: Path, store: Path, backbone: BackboneSpec = SCATTERING, weights_dir: Path | None = None) -> Path:
    images = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.png"))}
    extractor = Extractor(backbone, weights_dir=weights_dir, device="cpu", num_workers=0)
    extractor.extract(images, store, provenance=extractor.provenance)
    return store


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """Write a model of six images of noise; its threshold is just above their highest score."""

    def make(view: ViewSpec | None = None, **settings: Any) -> Path:
        spec = DETECTOR.validate_python(settings or {"method": "patchcore", "sampler": {"share": 0.3}})
        path = compute(draw(tmp_path / "old", 6, seed=0), tmp_path / "old.h5")
        with FeatureStore(path) as store:
            features = store.select(store.images)
            bank = dataclasses.replace(fit_detector(spec, features, seed=3), members=["plant/valve"])
            scores = np.sort(bank.score(features, ScoringSpec()).image_scores)
        model = ExportedModel(
            bank=bank,
            backbone=SCATTERING,
            weights_digest=None,
            scoring=ScoringSpec(),
            calibration=dataclasses.replace(
                calibrate("f1_max", np.append(scores, 99), [0] * 6 + [1]), threshold=float(scores[-1] + 0.01)
            ),
            normal_scores=scores,
            patch_range=(0.1, 1.0),
            smoothing_sigma=4.0,
            provenance={"stage": "export_model", "version": "1", "inputs": {}, "libraries": {}, "bank": FIT},
            view=view,
        )
        model.save(tmp_path / "model.h5")
        return tmp_path / "model.h5"

    return make


def extend(model: Path, images: Path, output: Path, *more: str) -> int:
    return main(["extend", "--model", str(model), "--images", str(images), "--output", str(output), *more])


def test_it_adds_what_extending_the_bank_by_the_workflows_features_adds(make_model: MakeModel, tmp_path: Path) -> None:
    path = make_model()
    before = path.read_bytes()
    new = draw(tmp_path / "new", 5, seed=1, contrast=60)
    assert extend(path, new, tmp_path / "grown" / "model.h5") == 0
    assert path.read_bytes() == before
    old, grown = ExportedModel.load(path), ExportedModel.load(tmp_path / "grown" / "model.h5")
    with FeatureStore(compute(new, tmp_path / "new.h5")) as store:
        expected = extend_bank(old.bank, store.select(store.images), seed=3)
    assert expected.added > 0
    np.testing.assert_array_equal(grown.bank.model.vectors, expected.bank.model.vectors)
    assert grown.bank.model.covering_radius == expected.bank.model.covering_radius
    for kept in ("backbone", "calibration", "scoring", "patch_range", "smoothing_sigma"):
        assert getattr(grown, kept) == getattr(old, kept)
    np.testing.assert_array_equal(grown.normal_scores, old.normal_scores)
    assert [each.name for each in (tmp_path / "grown").iterdir()] == ["model.h5"]  # no features are left behind


def test_the_new_model_says_what_it_was_extended_from_and_that_its_threshold_is_older(
    make_model: MakeModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_model()
    extend(path, draw(tmp_path / "new", 3, seed=1), tmp_path / "first.h5", "--count", "7")
    printed = capsys.readouterr().out
    assert "3 images of" in printed
    assert "7 were added to" in printed
    assert "still those of the old bank" in printed
    assert "recalibrate" in printed
    extend(tmp_path / "first.h5", tmp_path / "new", tmp_path / "second.h5", "--share", "0.1")
    provenance = ExportedModel.load(tmp_path / "second.h5").provenance
    assert provenance["calibrated_before_extension"] is True
    assert provenance["bank"] == FIT
    first, second = provenance["extensions"]
    assert first["inputs"]["model"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert second["inputs"]["model"] == hashlib.sha256((tmp_path / "first.h5").read_bytes()).hexdigest()
    assert (first["images"], first["vectors_added"], second["vectors_added"]) == (3, 7, 4)
    assert first["spec"] == {"share": None, "count": 7, "category": None}
    assert first["inputs"]["images"] == second["inputs"]["images"]
    assert str(tmp_path) not in str(provenance)
    assert main(["inspect-bank", str(tmp_path / "second.h5")]) == 0
    assert "calibrated before extension  yes" in " ".join(capsys.readouterr().out.split("\n"))


def test_equal_runs_give_equal_bytes(make_model: MakeModel, tmp_path: Path) -> None:
    path, new = make_model(method="patchcore", index={"method": "ivf_flat"}), draw(tmp_path / "new", 3, seed=1)
    for name in ("one.h5", "two.h5"):
        assert extend(path, new, tmp_path / name) == 0
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()


def test_images_that_are_covered_leave_the_same_model(
    make_model: MakeModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_model()
    assert extend(path, tmp_path / "old", tmp_path / "same.h5") == 0
    assert "Nothing was added" in capsys.readouterr().out
    assert (tmp_path / "same.h5").read_bytes() == path.read_bytes()


def test_images_that_the_old_model_calls_defective_are_named(
    make_model: MakeModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, new = make_model(), draw(tmp_path / "new", 2, seed=1)
    Image.fromarray(np.full((40, 48, 3), 255, np.uint8)).save(new / "first" / "white.png")
    extend(path, new, tmp_path / "grown.h5")
    assert "of 3 images defective, the highest score first: first/white.png" in capsys.readouterr().out
    extend(path, tmp_path / "old", tmp_path / "same.h5")
    assert "warning" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("threshold", "zones", "named"),
    [
        (99.0, (0.0, 99.0), 3),
        (0.0, (99.0, 99.0), 0),
        (0.0, (None, None), 0),  # the model decides nothing
        (99.0, (None, 0.0), 3),
    ],
)
def test_images_are_called_defective_by_zones_where_predict_does_so(
    make_model: MakeModel,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    threshold: float,
    zones: tuple[float | None, float | None],
    named: int,
) -> None:
    model = ExportedModel.load(make_model())
    reasons = tuple("no normal validation image" if zone is None else None for zone in zones)
    calibration = dataclasses.replace(
        model.calibration, threshold=threshold, zones=ZoneThresholds(1, 2, zones, reasons)
    )
    dataclasses.replace(model, calibration=calibration).save(tmp_path / "zoned.h5")
    new = draw(tmp_path / "new", 3, seed=1)
    predictions = Detector.load(tmp_path / "zoned.h5").predict(sorted(new.rglob("*.png")))
    assert sum(bool(prediction.decision) for prediction in predictions) == named
    assert extend(tmp_path / "zoned.h5", new, tmp_path / "grown.h5") == 0
    printed = capsys.readouterr().out
    assert (f"warning: the old model calls {named} of 3 images defective" in printed) == bool(named)
    assert ("warning" in printed) == bool(named)


def test_images_of_a_view_are_cut_as_the_model_sees_them(make_model: MakeModel, tmp_path: Path) -> None:
    view = ViewSpec(short_side=36, centre_crop=32)
    path, new = make_model(view), draw(tmp_path / "new", 2, seed=1)
    assert extend(path, new, tmp_path / "grown.h5", "--count", "9") == 0
    for image in new.rglob("*.png"):
        pixels, _ = cut_view(np.asarray(Image.open(image)), [], view)
        target = tmp_path / "cut" / image.relative_to(new)
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(target)
    with FeatureStore(compute(tmp_path / "cut", tmp_path / "cut.h5")) as store:
        expected = extend_bank(ExportedModel.load(path).bank, store.select(store.images), count=9)
    grown = ExportedModel.load(tmp_path / "grown.h5").bank
    np.testing.assert_array_equal(grown.model.vectors, expected.bank.model.vectors)


def test_another_weight_file_than_the_models_is_refused(
    make_model: MakeModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = {"source": "torchvision", "model": "resnet18", "weights": "own.pth", "layers": ["layer1"]}
    model = ExportedModel.load(make_model())
    backbone = BACKBONE.validate_python({**network, "image_size": 32})
    dataclasses.replace(model, backbone=backbone, weights_digest="0" * 64).save(tmp_path / "network.h5")
    new, folder = draw(tmp_path / "new", 1, seed=1), str(tmp_path / "weights")
    assert extend(tmp_path / "network.h5", new, tmp_path / "grown.h5", "--weights-dir", folder) == 1
    assert "own.pth, which does not exist" in capsys.readouterr().err
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "own.pth").write_bytes(b"other weights")
    assert extend(tmp_path / "network.h5", new, tmp_path / "grown.h5", "--weights-dir", folder) == 1
    assert "own.pth is not the weight file of this model" in capsys.readouterr().err
    assert not (tmp_path / "grown.h5").exists()


def test_another_category_makes_a_bank_of_two(make_model: MakeModel, tmp_path: Path) -> None:
    new = draw(tmp_path / "new", 2, seed=1)
    assert extend(make_model(), new, tmp_path / "grown.h5", "--count", "5", "--category", "plant/pump") == 0
    bank = ExportedModel.load(tmp_path / "grown.h5").bank
    assert bank.members == ["plant/valve", "plant/pump"]
    assert np.bincount(bank.model.members).tolist() == [bank.model.size - 5, 5]


def test_what_cannot_be_done_is_one_message_and_leaves_nothing(
    make_model: MakeModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, new, output = make_model(), draw(tmp_path / "new", 1, seed=1), tmp_path / "out" / "grown.h5"
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "one.png").write_bytes(b"no image")
    (tmp_path / "bad" / "two.png").write_bytes(b"")
    (tmp_path / "damaged.h5").write_bytes(path.read_bytes()[:5000])
    before = path.read_bytes(), (tmp_path / "old.h5").read_bytes()
    for arguments, message in [
        ((path, new, path), "model.h5 is there, and is left as it is: give --output the name of a new file"),
        ((path, new, tmp_path / "old.h5"), "old.h5 is there, and is left as it is"),
        ((path, new, tmp_path), "is there, and is left as it is"),
        ((path, new, path / "grown.h5"), "a file stands where a folder must be"),
        ((path, tmp_path / "none", output), "none is not a folder"),
        ((path, tmp_path / "empty", output), "empty holds no images"),
        ((path, tmp_path / "bad", output), "2 files cannot be used"),
        ((tmp_path / "damaged.h5", new, output), "damaged.h5 is not a whole exported model"),
        ((tmp_path / "old.h5", new, output), "old.h5 is no exported model"),
        ((path, new, output, "--count", "17"), "count: 17 patches are asked for, but the images have 16"),
    ]:
        assert extend(*arguments) == 1
        assert message in capsys.readouterr().err
        assert not output.exists()
        assert (path.read_bytes(), (tmp_path / "old.h5").read_bytes()) == before
    assert list(output.parent.iterdir()) == []
    for wrong in (("--share", "0"), ("--share", "1.5"), ("--count", "0"), ("--share", "0.5", "--count", "3")):
        with pytest.raises(SystemExit) as ended:
            extend(path, new, output, *wrong)
        assert ended.value.code == 2


def test_a_model_that_cannot_grow_is_refused_before_its_images_are_read(
    make_model: MakeModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_model(method="padim", representation={"neighbourhood": "none"})
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "one.png").write_bytes(b"no image")
    assert extend(path, tmp_path / "new", tmp_path / "grown.h5") == 1
    assert "method 'padim' cannot be extended" in capsys.readouterr().err


def test_what_predict_has_drawn_is_not_learnt(make_model: MakeModel, tmp_path: Path) -> None:
    path, new = make_model(), draw(tmp_path / "new", 2, seed=1)
    options = ["predict", "--model", str(path), "--images", str(new), "--output"]
    assert main([*options, str(new / "out")]) == 0
    assert list((new / "out" / "heatmaps").rglob("*.png"))
    assert list(name_images(new)) == ["first/1.png", "second/0.png"]


def test_images_are_those_that_predict_takes(tmp_path: Path) -> None:
    draw(tmp_path / "new", 2, seed=1)
    draw(tmp_path / "new" / ".hidden", 1, seed=2)
    (tmp_path / "new" / "linked").symlink_to(draw(tmp_path / "other", 1, seed=3))
    assert list(name_images(tmp_path / "new")) == ["first/1.png", "linked/second/0.png", "second/0.png"]


def test_a_name_that_no_table_can_hold_is_named(
    make_model: MakeModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = draw(tmp_path / "new", 1, seed=1)
    (new / "second" / "0.png").rename(new / "second" / "\udcff.png")  # byte ff, which is not UTF-8
    assert extend(make_model(), new, tmp_path / "grown.h5") == 1
    assert r"second/\udcff.png: its name is not UTF-8: rename it" in capsys.readouterr().err
