import importlib.metadata
import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from patchshift.errors import UserError
from patchshift.runtime.files import digest_bytes
from patchshift.runtime.provenance import describe, read_provenance


def test_inputs_are_known_by_their_content_not_by_their_place(tmp_path: Path) -> None:
    descriptions = []
    for place in ("here", "elsewhere"):
        folder = tmp_path / place
        folder.mkdir()
        for name in ("a", "b"):
            (folder / name).write_text(name)
        inputs: dict[str, Path | list[Path]] = {"splits": [folder / "a", folder / "b"], "bank": folder / "a"}
        descriptions.append(describe("score_images", version="3", inputs=inputs, spec='{"threads":2}', seed=7))
    assert descriptions[0] == descriptions[1]
    first = descriptions[0]
    assert first["inputs"] == {"bank": digest_bytes(b"a"), "splits": [digest_bytes(b"a"), digest_bytes(b"b")]}
    assert (first["stage"], first["version"], first["spec"], first["seed"]) == ("score_images", "3", {"threads": 2}, 7)
    assert str(tmp_path) not in json.dumps(first)


def test_versions_of_the_libraries_in_use_are_kept() -> None:
    libraries = describe("evaluate", version="1", inputs={})["libraries"]
    assert libraries["numpy"] == np.__version__
    assert all(importlib.metadata.version(name) == version for name, version in libraries.items())


def test_what_an_artifact_says_of_itself_is_read_back(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"provenance": {"stage": "evaluate"}}')
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.attrs["provenance"] = '{"stage": "fit_detector"}'
    for name in ("c.json", "d.csv"):
        (tmp_path / name).write_text("[]")
    names = ("a.json", "b.h5", "c.json", "d.csv")
    found = [read_provenance(tmp_path / name).get("stage") for name in names]
    assert found == ["evaluate", "fit_detector", None, None]


def test_a_damaged_artifact_is_named(tmp_path: Path) -> None:
    (tmp_path / "b.h5").write_bytes(b"no HDF5")
    with pytest.raises(UserError, match=r"b\.h5 is damaged"):
        read_provenance(tmp_path / "b.h5")
