import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from patchshift.errors import UserError
from patchshift.features.weights import fill_weights, load_weights
from patchshift.runtime.files import digest_file, write_json

WEIGHTS = {"conv.weight": torch.arange(12.0).view(2, 6), "conv.bias": torch.tensor([-1.0, 0.5])}


def save_zip(content: object, path: Path) -> None:
    torch.save(content, path)


def save_legacy(content: object, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value)


def test_safetensors_come_back_as_saved(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "weights.safetensors")
    assert_equal(load_weights(tmp_path / "weights.safetensors"), WEIGHTS)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
@pytest.mark.parametrize("save", [save_zip, save_legacy])
@pytest.mark.parametrize("nest", [lambda w: w, lambda w: {"state_dict": w, "epoch": 3}, lambda w: {"model": w}])
def test_pickled_tensors_come_back_from_both_formats_of_torch(
    tmp_path: Path, suffix: str, save: Callable[[object, Path], None], nest: Callable[[dict[str, Tensor]], object]
) -> None:
    path = tmp_path / f"weights{suffix}"
    save(nest(WEIGHTS), path)
    assert_equal(load_weights(path), WEIGHTS)


def test_parameters_of_a_network_are_plain_tensors_enough(tmp_path: Path) -> None:
    parameters = dict(nn.Linear(3, 2).named_parameters())
    torch.save(parameters, tmp_path / "weights.pth")
    assert_equal(load_weights(tmp_path / "weights.pth"), {name: value.detach() for name, value in parameters.items()})


class Malicious:
    """What an attacker would put into a weight file: unpickled, it makes a folder."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.trace),)


def save_bare(content: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("save", [save_zip, save_legacy, save_bare])
@pytest.mark.parametrize("hidden", [False, True])
def test_code_in_a_pickle_is_refused_and_never_runs(
    tmp_path: Path, save: Callable[[object, Path], None], hidden: bool
) -> None:
    path, trace = tmp_path / "weights.pth", tmp_path / "trace"
    attack = Malicious(trace)
    save({"state_dict": WEIGHTS, "hyperparameters": attack} if hidden else attack, path)
    with pytest.raises(UserError, match=r"nothing in it was run: fetch it again|no file of torch"):
        load_weights(path)
    assert not trace.exists()
    if save is save_bare:  # the attack is a real one
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert trace.is_dir()


class Settings:
    """What a training may have left in a checkpoint: harmless, but no tensor."""


@pytest.mark.parametrize("content", [Malicious(Path("trace")), {"state_dict": WEIGHTS, "settings": Settings()}])
def test_errors_name_what_is_refused_and_never_advise_to_run_it(tmp_path: Path, content: object) -> None:
    save_zip(content, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"\(unsupported GLOBAL .*(mkdir|Settings)|global: .*Settings") as caught:
        load_weights(tmp_path / "weights.pth")
    assert not any(word in str(caught.value) for word in ("weights_only", "safe_globals", "\n"))


@pytest.mark.parametrize("content", [[*WEIGHTS.values()], {"epoch": 3}, {"state_dict": {"a": 1}}, {3: torch.zeros(1)}])
def test_what_is_no_dict_of_tensors_by_name_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"weights\.pth holds no plain dict of tensors by name: convert its weights"):
        load_weights(tmp_path / "weights.pth")


@pytest.mark.parametrize("save", [save_zip, save_legacy])
@pytest.mark.parametrize("kept", [0, 1, 100, -40])
def test_damaged_pickles_are_refused(tmp_path: Path, save: Callable[[object, Path], None], kept: int) -> None:
    path = tmp_path / "weights.pth"
    save(WEIGHTS, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"no file of torch|its end is missing|fetch it again from where you trust it"):
        load_weights(path)


@pytest.mark.parametrize("kept", [0, 1, 40, -4])
def test_damaged_safetensors_are_refused(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(WEIGHTS, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"weights\.safetensors is not a whole safetensors file"):
        load_weights(path)


@pytest.mark.filterwarnings("ignore")
def test_a_scripted_module_is_no_weight_file(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(3, 2)), tmp_path / "weights.pt")
    with pytest.raises(UserError, match="cannot be read as plain tensors"):
        load_weights(tmp_path / "weights.pt")


def test_a_zip_file_of_other_things_is_no_weight_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "weights.pth", "w") as archive:
        archive.writestr("readme.txt", "no weights here")
    with pytest.raises(UserError, match="a zip file of something else than torch"):
        load_weights(tmp_path / "weights.pth")


def test_other_formats_are_told_to_become_safetensors(tmp_path: Path) -> None:
    (tmp_path / "weights.h5").write_bytes(b"HDF")
    with pytest.raises(UserError, match=r"weights\.h5 is no weight file .*convert it to safetensors"):
        load_weights(tmp_path / "weights.h5")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no weight file .*weights\.pth"):
        load_weights(tmp_path / "weights.pth")


def test_a_file_must_still_be_the_one_that_was_downloaded(tmp_path: Path) -> None:
    path, receipt = tmp_path / "weights.safetensors", tmp_path / "weights.safetensors.receipt.json"
    save_file(WEIGHTS, path)
    write_json(receipt, {"sha256": digest_file(path), "address": "https://example.org/model.safetensors"})
    assert_equal(load_weights(path), WEIGHTS)
    save_file({name: value + 1 for name, value in WEIGHTS.items()}, path)
    with pytest.raises(UserError, match=r"delete .*receipt\.json to use the file as it is, or both to download"):
        load_weights(path)
    receipt.unlink()
    load_weights(path)


@pytest.mark.parametrize("content", [{}, [], {"sha256": None}])
def test_a_receipt_without_a_digest_vouches_for_nothing(tmp_path: Path, content: object) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(WEIGHTS, path)
    write_json(tmp_path / "weights.safetensors.receipt.json", content)
    with pytest.raises(UserError, match="or both to download it again"):
        load_weights(path)


def fill(tmp_path: Path, network: nn.Module, weights: dict[str, Tensor], **more: Any) -> nn.Module:
    save_file(weights, tmp_path / "weights.safetensors")
    known = more.pop("known", network.state_dict().keys())
    fill_weights(network, tmp_path / "weights.safetensors", known=known, model="tiny", **more)
    return network


def test_every_parameter_and_buffer_comes_from_the_file(tmp_path: Path) -> None:
    source, network = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    for value in source.state_dict().values():
        value.copy_(torch.rand(value.shape) * 10)
    assert_equal(fill(tmp_path, network, source.state_dict()).state_dict(), source.state_dict())


def test_weights_in_half_precision_become_float32(tmp_path: Path) -> None:
    source, network = nn.Linear(3, 2), nn.Linear(3, 2)
    fill(tmp_path, network, {name: value.half() for name, value in source.state_dict().items()})
    assert network.weight.dtype == torch.float32
    assert torch.equal(network.weight, source.weight.half().float())


def test_weights_do_not_change_when_their_file_does_later(tmp_path: Path) -> None:
    source, network = nn.Linear(3, 2), nn.Linear(3, 2)
    fill(tmp_path, network, source.state_dict())
    path = tmp_path / "weights.safetensors"
    with path.open("r+b") as file:  # the same file, which may be mapped into memory
        file.seek(-16, os.SEEK_END)
        file.write(bytes(16))
    assert_equal(network.state_dict(), source.state_dict())


def test_computed_values_may_be_in_the_file_or_lack(tmp_path: Path) -> None:
    state = nn.BatchNorm2d(3).state_dict()
    counter = state.pop("num_batches_tracked")
    fill(tmp_path, nn.BatchNorm2d(3), state)
    fill(tmp_path, nn.BatchNorm2d(3), state | {"other.num_batches_tracked": counter, "rope.periods": torch.ones(4)})


def test_faults_name_the_weights_and_only_the_first_ten(tmp_path: Path) -> None:
    network = nn.Sequential(*(nn.Linear(1, 1) for _ in range(8)))
    with pytest.raises(UserError, match=r"does not fit tiny: it lacks 0\.weight, .*4\.bias and 6 more; bring"):
        fill(tmp_path, network, {})
    state = network.state_dict()
    with pytest.raises(UserError, match=r"it has the wrong shape of 0\.weight \[4\] instead of \[1, 1\]; bring"):
        fill(tmp_path, network, state | {"0.weight": torch.zeros(4)})
    with pytest.raises(UserError, match=r"it has unknown weights 9\.weight; bring"):
        fill(tmp_path, network, state | {"9.weight": torch.zeros(4)})
    fill(tmp_path, network, state | {"9.weight": torch.zeros(4)}, known=[*state, "9.weight"])


def test_a_refused_file_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    network = nn.Linear(3, 2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(UserError):
        fill(tmp_path, network, {"weight": torch.ones(2, 3)})
    assert_equal(network.state_dict(), before)
