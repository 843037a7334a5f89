"""Attention of a class token to the patches of some images, on disk; reading needs no torch.

Layout: dataset `images` with the image keys, `maps` [n, heads, rows, columns] and `others` [n, heads] float32;
attributes `block`, `undefined` (why there is none, empty if there is) and `provenance` (JSON).
Tested in tests/features/test_attention_store.py.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
import numpy.typing as npt

from patchshift.runtime.files import atomic_path
from patchshift.runtime.hdf5 import create_hdf5, open_hdf5
from patchshift.runtime.sealed import check_seal_if_any

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class AttentionMaps:
    """Attention of the class token in one block.

    Attributes:
        images: the n image keys.
        block: name of the block.
        maps: [n, heads, rows, columns] attention to each patch.
        others: [n, heads] attention to the class token itself and to registers.
        undefined: why there is no attention; then the arrays are empty.
    """

    images: list[str]
    block: str
    maps: Float32
    others: Float32
    undefined: str = ""

    def save(self, path: Path, provenance: Mapping[str, Any]) -> None:
        """Write the maps atomically."""
        with atomic_path(path) as partial, create_hdf5(partial) as file:
            file.create_dataset("images", data=self.images, dtype=h5py.string_dtype(), track_times=False)
            for name in ("maps", "others"):
                file.create_dataset(name, data=getattr(self, name), track_times=False)
            for name in ("block", "undefined"):
                file.attrs[name] = getattr(self, name)
            file.attrs["provenance"] = json.dumps(provenance, sort_keys=True)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read saved maps.

        Raises:
            UserError: if the file is damaged.
        """
        with open_hdf5(path, "file of attention maps", check=check_seal_if_any) as file:
            return cls(
                images=[str(name) for name in file["images"].asstr()[:]],
                block=str(file.attrs["block"]),
                maps=file["maps"][:],
                others=file["others"][:],
                undefined=str(file.attrs["undefined"]),
            )
