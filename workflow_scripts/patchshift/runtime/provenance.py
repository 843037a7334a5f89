"""What an artifact says about itself: stage, version, spec, seed, library versions, digests of its inputs.

Tested in tests/runtime/test_provenance.py.
"""

import importlib.metadata
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from patchshift.errors import UserError
from patchshift.plan.stages import stage_version
from patchshift.runtime.files import digest_file, read_json, write_json
from patchshift.runtime.sealed import Check, digest_sealed, leave_seal

LIBRARIES = {  # imported name -> distribution
    "PIL": "pillow",
    "faiss": "faiss-cpu",
    "h5py": "h5py",
    "numpy": "numpy",
    "scipy": "scipy",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "timm": "timm",
    "torch": "torch",
    "torchvision": "torchvision",
    "umap": "umap-learn",
}


def describe(
    stage: str, *, version: str, inputs: Mapping[str, Path | list[Path]], spec: str = "null", **more: Any
) -> dict[str, Any]:
    """Provenance of an artifact, JSON-ready, without times or absolute paths.

    Args:
        stage: the rule's name.
        version: the stage version.
        inputs: role -> file or files read; only the digests of their content are kept.
        spec: canonical JSON of the sub-config the stage used.
        more: further fields, e.g. `seed=0`.

    Raises:
        UserError: if an input is not there, or is an HDF5 artifact that is not what was written.
    """
    return {
        "stage": stage,
        "version": version,
        "spec": json.loads(spec),
        "inputs": {
            role: [_digest_input(path) for path in files] if isinstance(files, list) else _digest_input(files)
            for role, files in sorted(inputs.items())
        },
        "libraries": {
            distribution: importlib.metadata.version(distribution)
            for name, distribution in LIBRARIES.items()
            if name in sys.modules
        },
        **more,
    }


def _digest_input(path: Path) -> str:
    """The digest of an input; as all of it is read, its seal is checked as well."""
    if path.suffix != ".h5" or not path.exists():
        return digest_file(path)
    try:
        return digest_sealed(path)
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): delete it and run again to rebuild it") from error


NOTE = ".provenance.json"
"""What folders and tables say of themselves: this file in a folder, `.{name}.provenance.json` beside a table.

Snakemake does not know of it and no digest covers it, so it makes nothing anew.
"""


def note_origin(artifact: Path, stage: str, *, spec: str, **inputs: Path) -> None:
    """Write beside a table, or into a folder that is there, how it was made by the code that is running.

    Of a table before it is written: a job that is killed between the two leaves no table that says nothing.

    Args:
        artifact: a folder, or the table that is written next.
        stage: the rule's name.
        spec: canonical JSON of the sub-config the stage used.
        inputs: role -> file read.
    """
    described = describe(stage, version=stage_version(stage), spec=spec, inputs=inputs)
    write_json(_find_note(artifact), {"provenance": described})


def _find_note(artifact: Path) -> Path:
    return artifact / NOTE if artifact.is_dir() else artifact.with_name(f".{artifact.name}{NOTE}")


def read_provenance(path: Path, *, check: Check = leave_seal) -> dict[str, Any]:
    """What an artifact says about itself, in it, or of a table and a folder in a note; empty where it says nothing.

    Args:
        path: of the artifact.
        check: what is done about the seal of an HDF5 file. By default nothing: much is asked of what nobody reads.

    Raises:
        UserError: if the file is damaged.
    """
    if path.is_dir() or path.suffix == ".csv":
        note = _find_note(path)
        return read_provenance(note) if note.is_file() else {}
    if path.suffix == ".json":
        content = read_json(path)
        found = content.get("provenance") if isinstance(content, dict) else None
    elif path.suffix == ".h5":
        from patchshift.runtime.hdf5 import open_hdf5  # not above: Snakemake's handlers read few files, or none

        with open_hdf5(path, check=check) as file:
            found = json.loads(file.attrs.get("provenance", "{}"))
    else:
        found = None
    return found if isinstance(found, dict) else {}


def demand_provenance(path: Path, *, check: Check) -> dict[str, Any]:
    """What an artifact says about itself, which cannot be done without.

    Raises:
        UserError: if the file is damaged, or says nothing.
    """
    found = read_provenance(path, check=check)
    if not found:
        raise UserError(f"{path} does not say how it was made: delete it and run again")
    return found
