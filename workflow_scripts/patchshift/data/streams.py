"""Random streams that depend on what they are drawn for, not on the order in which they are.

Tested in tests/data/test_streams.py.
"""

import hashlib

import numpy as np


def draw_stream(*names: object) -> np.random.Generator:
    """A stream of random numbers of its own for what the names call: no order of calls changes it."""
    entropy = hashlib.sha256(" ".join(map(str, names)).encode()).digest()
    return np.random.default_rng(np.frombuffer(entropy, np.dtype("<u4")))
