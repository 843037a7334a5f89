import importlib.metadata
import json
from pathlib import Path

import numpy as np

from patchshift.runtime.files import digest_bytes
from patchshift.runtime.provenance import describe


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
