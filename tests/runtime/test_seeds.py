import os
import random
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from patchshift.runtime.seeds import set_seed


@pytest.fixture(autouse=True)
def _restored_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    settings = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    torch.set_rng_state(states[2])
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = settings


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.random()), float(torch.rand(()))  # noqa: NPY002


def test_every_global_generator_repeats_after_the_same_seed_and_not_after_another() -> None:
    set_seed(3)
    first, second = draw(), draw()
    set_seed(3)
    assert draw() == first
    set_seed(4)
    other = draw()
    assert all(a != b for a, b in zip(first, other, strict=True))
    assert all(a != b for a, b in zip(first, second, strict=True))


def test_the_largest_seed_of_a_config_is_taken() -> None:
    set_seed(2**32 - 1)


def test_cuda_libraries_are_held_to_deterministic_algorithms() -> None:
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = False, True
    set_seed(0)
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_generators_of_cuda_devices_repeat_too() -> None:
    draws = []
    for _ in range(2):
        set_seed(3)
        draws.append(torch.rand(8, device="cuda").cpu())
    assert torch.equal(*draws)


def test_torch_is_not_loaded_for_it() -> None:
    program = "import sys; from patchshift.runtime.seeds import set_seed; set_seed(0); sys.exit('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", program], env=environment).returncode == 0
