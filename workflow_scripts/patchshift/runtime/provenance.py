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
from patchshift.runtime.files import digest_file, read_json

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
    """
    return {
        "stage": stage,
        "version": version,
        "spec": json.loads(spec),
        "inputs": {
            role: [digest_file(path) for path in files] if isinstance(files, list) else digest_file(files)
            for role, files in sorted(inputs.items())
        },
        "libraries": {
            distribution: importlib.metadata.version(distribution)
            for name, distribution in LIBRARIES.items()
            if name in sys.modules
        },
        **more,
    }


def read_provenance(path: Path) -> dict[str, Any]:
    """What an artifact says about itself; empty where it says nothing, or is no HDF5 and no JSON file.

    Raises:
        UserError: if the file is damaged.
    """
    if path.suffix == ".json":
        content = read_json(path)
        found = content.get("provenance") if isinstance(content, dict) else None
    elif path.suffix == ".h5":
        import h5py  # not above: Snakemake's handlers read few files, or none

        try:
            with h5py.File(path, "r") as file:
                found = json.loads(file.attrs.get("provenance", "{}"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is damaged ({error}): delete it and run again to rebuild it") from error
    else:
        found = None
    return found if isinstance(found, dict) else {}
