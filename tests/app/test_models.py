import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from patchshift.app.models import ExportedModel
from patchshift.errors import UserError
from patchshift.evaluation.calibrated import LogOdds
from patchshift.plan.domain_specs import ViewSpec
from patchshift.runtime.files import digest_file
from patchshift.runtime.sealed import SEAL_BYTES, check_seal, seal

Edit = Callable[[h5py.File], object]


def edited(model: Path, folder: Path, edit: Edit) -> Path:
    copy = folder / "edited.h5"
    shutil.copy(model, copy)
    with h5py.File(copy, "r+") as file:
        edit(file)
    return copy


def test_what_is_saved_is_loaded_and_saved_again_the_same(model: Path, tmp_path: Path) -> None:
    loaded = ExportedModel.load(model)
    rows, columns = loaded.bank.representation.grid
    ignore = np.zeros((rows, columns), bool)
    ignore[0] = True
    full = dataclasses.replace(
        loaded, ignore=ignore, view=ViewSpec(short_side=80, centre_crop=64), combination=LogOdds(0.1, 1 / 3, -2.0)
    )
    full.save(tmp_path / "full.h5")
    again = ExportedModel.load(tmp_path / "full.h5")
    for field in ("backbone", "weights_digest", "scoring", "calibration", "smoothing_sigma", "provenance", "view"):
        assert getattr(again, field) == getattr(full, field)
    assert (again.combination, again.patch_range) == (full.combination, full.patch_range)
    np.testing.assert_array_equal(again.normal_scores, full.normal_scores)
    np.testing.assert_array_equal(again.ignore, ignore)
    again.save(tmp_path / "again.h5")
    assert digest_file(tmp_path / "again.h5") == digest_file(tmp_path / "full.h5")


def test_thresholds_of_pixels_and_zones_and_probabilities_are_kept(zoned: Path) -> None:
    calibration = ExportedModel.load(zoned).calibration
    assert calibration.pixels is not None
    assert calibration.pixels.threshold is not None
    assert calibration.zones is not None
    assert len(calibration.zones.thresholds) == 6
    assert isinstance(calibration.zones.thresholds, tuple)
    assert calibration.probabilities is not None


def test_a_model_that_knows_neither_pixels_nor_zones_nor_probabilities_is_loaded(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "older.h5"
    path.write_bytes(model.read_bytes()[:-SEAL_BYTES])
    with h5py.File(path, "r+") as file:
        content = json.loads(file.attrs["calibration"])
        file.attrs["calibration"] = json.dumps(
            {key: value for key, value in content.items() if key not in ("pixels", "zones", "probabilities")}
        )
    seal(path)
    older, whole = ExportedModel.load(path).calibration, ExportedModel.load(model).calibration
    assert older == dataclasses.replace(whole, pixels=None, zones=None, probabilities=None)


def set_threshold(file: h5py.File) -> None:
    file.attrs["calibration"] = file.attrs["calibration"].replace('"threshold":', '"threshold":9', 1)


EDITS: dict[str, Edit] = {
    "a value of the bank": lambda file: file["bank/model/vectors"].__setitem__((0, 0), 7),
    "the threshold": set_threshold,
    "an attribute more": lambda file: file.attrs.__setitem__("note", "mine"),
    "an array less": lambda file: file.__delitem__("normal_scores"),
    "another name": lambda file: file.move("normal_scores", "scores"),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_file_is_refused(model: Path, tmp_path: Path, name: str) -> None:
    path = edited(model, tmp_path, EDITS[name])
    with pytest.raises(UserError, match=r"is not a whole exported model .*: export it again"):
        ExportedModel.load(path)


def test_every_changed_byte_is_noticed(model: Path, tmp_path: Path) -> None:
    content, path = model.read_bytes(), tmp_path / "changed.h5"
    for place in [0, 8, len(content) // 2, *range(len(content) - SEAL_BYTES, len(content))]:
        changed = bytearray(content)
        changed[place] ^= 0x55
        path.write_bytes(changed)
        with pytest.raises(UserError, match="is not a whole exported model"):
            ExportedModel.load(path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_refused(model: Path, tmp_path: Path, share: float) -> None:
    content = model.read_bytes()
    path = tmp_path / "short.h5"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match="is not a whole exported model"):
        ExportedModel.load(path)


@pytest.mark.parametrize("library", ["h5py.File", "faiss.deserialize_index"])
def test_no_library_reads_what_is_edited(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    def parse(*content: object) -> None:
        raise AssertionError("a library was given bytes that nobody checked")

    changed = bytearray(model.read_bytes())
    changed[len(changed) // 2] ^= 1
    monkeypatch.setattr(library, parse)
    for content in (changed, changed[:-SEAL_BYTES], model.read_bytes()[:-SEAL_BYTES]):
        (tmp_path / "changed.h5").write_bytes(content)
        with pytest.raises(UserError, match="damaged, or edited"):
            ExportedModel.load(tmp_path / "changed.h5")


def test_a_file_that_is_sealed_anew_must_still_be_a_model(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "odd.h5"
    path.write_bytes(model.read_bytes()[:-SEAL_BYTES])
    with h5py.File(path, "r+") as file:
        file.attrs["weights_digest"] = "0" * 64
    seal(path)
    check_seal(path)
    with pytest.raises(UserError, match="its backbone and the digest of its weights do not belong together"):
        ExportedModel.load(path)


def test_other_files_are_named_for_what_they_are(line: object, model: Path, tmp_path: Path) -> None:
    files = line.sources("small", "quick", "f1_max")  # type: ignore[attr-defined]
    folder = line.folder  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"is no exported model: it is a bank, .* rule export_model"):
        ExportedModel.load(folder / files["bank"])
    with pytest.raises(UserError, match=r"is no exported model: give the file that rule export_model writes"):
        ExportedModel.load(folder / files["scores"])
    with pytest.raises(UserError, match=r"no exported model .*missing\.h5: make one with rule export_model"):
        ExportedModel.load(tmp_path / "missing.h5")
    (tmp_path / "text.h5").write_text("not HDF5")
    with pytest.raises(UserError, match="is not a whole exported model"):
        ExportedModel.load(tmp_path / "text.h5")
