"""Make random numbers, and what chooses algorithms at run time, the same in every process.

Tested in tests/runtime/test_seeds.py.
"""

import os
import random
import sys

import numpy as np

CUBLAS_WORKSPACE = ":4096:8"
"""Eight buffers of 4 MiB: one of the two settings with which cuBLAS sums in a fixed order (its documentation)."""


def set_seed(seed: int) -> None:
    """Seed the generators of Python, NumPy and torch, and let cuDNN and cuBLAS use only deterministic algorithms.

    Call it after torch is imported and before anything runs on CUDA: cuBLAS reads its setting once. Libraries draw from
    these global generators (initial weights do); code of this project takes a generator of its own.

    Args:
        seed: 0 <= seed < 2^32.
    """
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = CUBLAS_WORKSPACE
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (libraries that know no other generator draw from this one)
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        torch.manual_seed(seed)  # of all devices
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False  # it picks the algorithm that happened to be fastest
