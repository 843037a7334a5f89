"""What tests of the runtime share."""

from pathlib import Path

import numpy as np
import pytest

from patchshift.runtime.hdf5 import create_hdf5


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """A sealed HDF5 file of 9,000 numbers."""
    path = tmp_path / "artifact.h5"
    with create_hdf5(path) as file:
        file.create_dataset("values", data=np.arange(9000.0), track_times=False)
    return path
