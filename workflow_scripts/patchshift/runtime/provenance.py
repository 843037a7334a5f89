"""What an artifact says about itself: stage, version, spec, seed, library versions, digests of its inputs."""

import importlib.metadata
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from patchshift.runtime.files import digest_file

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
