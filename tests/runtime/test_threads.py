import os
import subprocess
import sys
from pathlib import Path


def test_every_library_uses_the_number_of_threads_asked_for(repository: Path) -> None:
    program = """
import faiss, numpy, torch
from threadpoolctl import threadpool_info
from patchshift.runtime.threads import limit_threads
limit_threads(1)
print({pool["num_threads"] for pool in threadpool_info()}, torch.get_num_threads(), faiss.omp_get_max_threads())
limit_threads(2)
print({pool["num_threads"] for pool in threadpool_info()}, torch.get_num_threads(), faiss.omp_get_max_threads())
"""
    environment = {**os.environ, "PYTHONPATH": str(repository / "workflow_scripts"), "OMP_NUM_THREADS": "3"}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert run.stdout == "{1} 1 1\n{2} 2 2\n"
