import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from patchshift.errors import UserError
from patchshift.features.backbones import BUILDERS, build_backbone
from patchshift.plan.backbone_specs import PretrainedSpec, ScatteringSpec
from patchshift.runtime.torchvision_guard import make_torchvision_importable

make_torchvision_importable()

import timm  # noqa: E402
import torchvision  # noqa: E402

SOURCES = {
    "timm": ("test_resnet", ["layer2", "layer3"]),
    "torchvision": ("squeezenet1_1", ["features.4", "features.7"]),
}
SIZE = 64


def full_network(source: str) -> nn.Module:
    torch.manual_seed(0)
    model = SOURCES[source][0]
    network = timm.create_model(model) if source == "timm" else torchvision.models.get_model(model)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics that are not the identity
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
    evaluated: nn.Module = network.eval()
    return evaluated


def spec_of(source: str, **changes: Any) -> PretrainedSpec:
    model, layers = SOURCES[source]
    values = {"source": source, "model": model, "weights": "weights.safetensors", "layers": layers, "image_size": SIZE}
    return PretrainedSpec.model_validate(values | changes)


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def weights(source: str, tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    save_file(full_network(source).state_dict(), path)
    return path


def edit(path: Path, **changes: torch.Tensor | None) -> None:
    state = load_file(path) | changes
    save_file({name: value for name, value in state.items() if value is not None}, path)


def first_convolution(source: str) -> str:
    return next(name for name, value in full_network(source).state_dict().items() if value.ndim == 4)


def test_truncated_networks_equal_the_full_ones(source: str, weights: Path) -> None:
    spec, network = spec_of(source), full_network(source)
    expected: dict[str, torch.Tensor] = {}
    for layer in spec.layers:
        network.get_submodule(layer).register_forward_hook(
            lambda _module, _inputs, output, layer=layer: expected.update({layer: output})
        )
    images = torch.rand(2, 3, SIZE, SIZE)
    with torch.inference_mode():
        maps = build_backbone(spec, weights_dir=weights.parent)(images)
        network((images - torch.tensor(spec.mean).view(3, 1, 1)) / torch.tensor(spec.std).view(3, 1, 1))
    assert list(maps) == spec.layers
    for layer, values in maps.items():
        assert values.shape == expected[layer].shape
        torch.testing.assert_close(values, expected[layer], rtol=1e-5, atol=1e-5)


def test_files_need_only_the_layers_kept(source: str, weights: Path) -> None:
    whole = build_backbone(spec_of(source), weights_dir=weights.parent)
    kept = {name.removeprefix("layers.") for name in whole.state_dict()}
    state = load_file(weights)
    assert not state.keys() <= kept
    save_file({name: value for name, value in state.items() if name in kept}, weights)
    images = torch.rand(1, 3, SIZE, SIZE)
    for layer, values in build_backbone(spec_of(source), weights_dir=weights.parent)(images).items():
        assert torch.equal(values, whole(images)[layer])


def test_missing_weights_are_named(source: str, weights: Path) -> None:
    name = first_convolution(source)
    edit(weights, **{name: None})
    with pytest.raises(UserError, match=f"weights.safetensors does not fit .* lacks {name}"):
        build_backbone(spec_of(source), weights_dir=weights.parent)


def test_weights_of_the_wrong_shape_are_named(source: str, weights: Path) -> None:
    name = first_convolution(source)
    edit(weights, **{name: torch.zeros(1, 2)})
    with pytest.raises(UserError, match=rf"wrong shape of {name} \[1, 2\] instead of"):
        build_backbone(spec_of(source), weights_dir=weights.parent)


def test_weights_of_another_model_are_refused(source: str, weights: Path) -> None:
    edit(weights, **{"layer9.weight": torch.zeros(1)})
    with pytest.raises(UserError, match=r"unknown weights layer9\.weight"):
        build_backbone(spec_of(source), weights_dir=weights.parent)


def test_damaged_weight_files_are_refused(source: str, weights: Path) -> None:
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="not a whole safetensors file"):
        build_backbone(spec_of(source), weights_dir=weights.parent)


def test_absent_weight_files_are_never_replaced_by_random_weights(source: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no weight file .*weights\.safetensors: put a safetensors file"):
        build_backbone(spec_of(source), weights_dir=tmp_path)
    with pytest.raises(UserError, match="set weights_dir"):
        build_backbone(spec_of(source))


def test_unknown_models_and_layers_get_a_hint(source: str, weights: Path) -> None:
    model, layers = SOURCES[source]
    with pytest.raises(UserError, match=rf"no model '{model}x' \(did you mean '{model}'"):
        build_backbone(spec_of(source, model=f"{model}x"), weights_dir=weights.parent)
    with pytest.raises(UserError, match=rf"no layer '{layers[0]}x' \(did you mean '{layers[0]}"):
        build_backbone(spec_of(source, layers=[f"{layers[0]}x"]), weights_dir=weights.parent)


def test_layers_that_give_no_map_are_refused(tmp_path: Path) -> None:
    save_file(full_network("timm").state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(UserError, match=r"layer 'fc' of test_resnet gives \(1000,\), not a map"):
        build_backbone(spec_of("timm", layers=["fc"]), weights_dir=tmp_path)


def test_every_source_of_the_specs_has_a_builder() -> None:
    sources = [PretrainedSpec, ScatteringSpec]
    named = {name for spec in sources for name in spec.model_fields["source"].annotation.__args__}  # type: ignore[union-attr]
    assert named == BUILDERS.keys()


def test_scattering_needs_no_weights() -> None:
    maps = build_backbone(ScatteringSpec(source="scattering", image_size=64))(torch.rand(1, 3, 64, 64))
    assert list(maps) == ["colour", "first_order", "second_order"]


def test_backbones_are_ready_for_inference(source: str, weights: Path) -> None:
    backbone = build_backbone(spec_of(source), weights_dir=weights.parent)
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def test_scattering_loads_neither_timm_nor_torchvision() -> None:
    code = (
        "import sys, patchshift.features.backbones as b; from patchshift.plan.specs import ScatteringSpec; "
        "b.build_backbone(ScatteringSpec(source='scattering')); "
        "sys.exit(str({'timm', 'torchvision'} & sys.modules.keys() or ''))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert not result.stderr.strip()


def test_torchvision_guard_can_run_again_and_leaves_models_usable() -> None:
    make_torchvision_importable()
    make_torchvision_importable()
    assert hasattr(torch.ops.torchvision, "nms")
    assert torchvision.models.get_model("squeezenet1_1") is not None


@pytest.mark.skipif("PATCHSHIFT_SHARED" not in os.environ, reason="PATCHSHIFT_SHARED (folder of real weights) is unset")
@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_real_truncated_resnet_weights_load_from_both_sources(library: str) -> None:
    spec = PretrainedSpec(
        source=library,  # type: ignore[arg-type]
        model="resnet18",
        weights="resnet18_layer3.safetensors",
        layers=["layer2", "layer3"],
    )
    backbone = build_backbone(spec, weights_dir=Path(os.environ["PATCHSHIFT_SHARED"]) / "weights")
    maps = backbone(torch.rand(1, 3, 224, 224))
    assert {layer: tuple(values.shape) for layer, values in maps.items()} == {
        "layer2": (1, 128, 28, 28),
        "layer3": (1, 256, 14, 14),
    }
