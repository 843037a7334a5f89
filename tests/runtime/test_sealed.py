"""Seals of HDF5 artifacts; banks and exported models in tests/detectors/test_bank.py and tests/app/test_models.py."""

import hashlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from patchshift.errors import UserError
from patchshift.runtime.provenance import describe
from patchshift.runtime.sealed import BROKEN, SEAL_BYTES, check_seal, check_seal_if_any, digest_sealed


def test_every_hdf5_artifact_is_sealed_and_hdf5_reads_it_as_ever(artifact: Path) -> None:
    check_seal(artifact)
    with h5py.File(artifact) as file:
        np.testing.assert_array_equal(file["values"][:], np.arange(9000.0))


def test_the_digest_of_an_input_is_that_of_the_whole_file(artifact: Path) -> None:
    expected = hashlib.sha256(artifact.read_bytes()).hexdigest()
    assert digest_sealed(artifact) == expected
    assert describe("fit_detector", version="1", inputs={"features": [artifact]})["inputs"] == {"features": [expected]}


@pytest.mark.parametrize("place", [0.001, 0.5, 0.99])
def test_a_byte_that_changed_is_told_by_whoever_uses_the_file(artifact: Path, place: float) -> None:
    content = bytearray(artifact.read_bytes())
    content[int(place * (len(content) - SEAL_BYTES))] ^= 1
    artifact.write_bytes(content)
    for check in (check_seal, check_seal_if_any, digest_sealed):
        with pytest.raises(ValueError, match=BROKEN):
            check(artifact)
    with pytest.raises(UserError, match=r"artifact\.h5 is damaged \(its content is not what was written.*delete it"):
        describe("fit_detector", version="1", inputs={"features": artifact})


def test_a_file_without_a_seal_is_taken_as_it_is_unless_it_must_have_one(artifact: Path) -> None:
    with h5py.File(artifact, "r+") as file:  # which cuts the seal off
        file["values"][0] = 1
    check_seal_if_any(artifact)
    assert digest_sealed(artifact) == hashlib.sha256(artifact.read_bytes()).hexdigest()
    with pytest.raises(ValueError, match="it has no seal"):
        check_seal(artifact)


@pytest.mark.parametrize("content", [b"", b"short"])
def test_files_shorter_than_a_seal_have_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.h5").write_bytes(content)
    check_seal_if_any(tmp_path / "a.h5")
    assert digest_sealed(tmp_path / "a.h5") == hashlib.sha256(content).hexdigest()
