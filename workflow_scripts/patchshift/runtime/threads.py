"""Fix the number of numerical threads.

Floating-point sums depend on it, so it comes from the spec and never from the scheduler.
"""

import os
import sys

from threadpoolctl import threadpool_limits

_limits: list[threadpool_limits] = []  # a dropped controller would restore the old limits


def limit_threads(count: int) -> None:
    """Let BLAS, OpenMP, torch and faiss use exactly `count` threads in this process."""
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(count)
    _limits.append(threadpool_limits(count))
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
    if "faiss" in sys.modules:
        sys.modules["faiss"].omp_set_num_threads(count)
