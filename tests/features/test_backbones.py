import copy
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from patchshift.errors import UserError
from patchshift.features.backbones import BUILDERS, build_backbone
from patchshift.plan.backbone_specs import BACKBONE_SOURCES, PretrainedSpec, ScatteringSpec
from patchshift.plan.catalog import Catalog
from patchshift.plan.loading import read_yaml
from patchshift.runtime.torchvision_guard import make_torchvision_importable

make_torchvision_importable()

import timm  # noqa: E402
import torchvision  # noqa: E402

SOURCES = {
    "timm": ("test_resnet", ["layer2", "layer3"]),
    "torchvision": ("squeezenet1_1", ["features.4", "features.7"]),
}
SIZE = 64


def spec_of(source: str, **changes: Any) -> PretrainedSpec:
    model, layers = SOURCES[source]
    values = {"source": source, "model": model, "weights": "weights.safetensors", "layers": layers, "image_size": SIZE}
    return PretrainedSpec.model_validate(values | changes)


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def network(source: str, full_network: Callable[..., nn.Module]) -> nn.Module:
    return full_network(source, SOURCES[source][0])


@pytest.fixture
def weights(network: nn.Module, tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    save_file(network.state_dict(), path)
    return path


def edit(path: Path, **changes: torch.Tensor | None) -> None:
    state = load_file(path) | changes
    save_file({name: value for name, value in state.items() if value is not None}, path)


def first_convolution(network: nn.Module) -> str:
    return next(name for name, value in network.state_dict().items() if value.ndim == 4)


def test_weights_are_those_of_the_file(source: str, weights: Path) -> None:
    state = load_file(weights)
    kept = {
        name.removeprefix("layers."): value
        for name, value in build_backbone(spec_of(source), weights_dir=weights.parent).state_dict().items()
        if name.startswith("layers.")
    }
    assert len(kept) > 10
    assert all(torch.equal(value, state[name]) for name, value in kept.items())


@pytest.mark.parametrize("size", [(SIZE, SIZE), (SIZE, 180)])
def test_weights_and_images_lie_in_memory_channels_last(source: str, size: tuple[int, int]) -> None:
    backbone = build_backbone(spec_of(source, weights="random", image_size=size))
    seen = []
    backbone.layers.register_forward_pre_hook(lambda _module, inputs: seen.extend(inputs))  # type: ignore[union-attr]
    backbone(torch.rand(2, 3, *size))
    filters = [weight for weight in backbone.parameters() if weight.ndim == 4 and min(weight.shape[1:]) > 1]
    assert len(filters) > 1
    assert all(values.is_contiguous(memory_format=torch.channels_last) for values in [*seen, *filters])
    assert not any(values.is_contiguous() for values in [*seen, *filters])
    assert len(seen) == 1


def test_files_need_only_the_layers_kept(source: str, weights: Path) -> None:
    whole = build_backbone(spec_of(source), weights_dir=weights.parent)
    kept = {name.removeprefix("layers.") for name in whole.state_dict()}
    state = load_file(weights)
    assert not state.keys() <= kept
    save_file({name: value for name, value in state.items() if name in kept}, weights)
    images = torch.rand(1, 3, SIZE, SIZE)
    for layer, values in build_backbone(spec_of(source), weights_dir=weights.parent)(images).items():
        assert torch.equal(values, whole(images)[layer])


def test_maps_come_in_the_order_in_which_the_spec_names_them(source: str, weights: Path) -> None:
    layers = [*spec_of(source).layers]
    for order in (layers, layers[::-1]):
        backbone = build_backbone(spec_of(source, layers=order), weights_dir=weights.parent)
        assert list(backbone(torch.rand(1, 3, SIZE, SIZE))) == order


def test_missing_weights_are_named(source: str, weights: Path, network: nn.Module) -> None:
    name = first_convolution(network)
    edit(weights, **{name: None})
    with pytest.raises(UserError, match=f"weights.safetensors does not fit .* lacks {name}"):
        build_backbone(spec_of(source), weights_dir=weights.parent)


def test_weights_of_the_wrong_shape_are_named(source: str, weights: Path, network: nn.Module) -> None:
    name = first_convolution(network)
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
    with pytest.raises(
        UserError, match=rf"no weight file .*weights\.safetensors: put the {source} weights of .* there"
    ):
        build_backbone(spec_of(source), weights_dir=tmp_path)
    with pytest.raises(UserError, match="set weights_dir"):
        build_backbone(spec_of(source))


def test_unknown_models_and_layers_get_a_hint(source: str, weights: Path) -> None:
    model, layers = SOURCES[source]
    with pytest.raises(UserError, match=rf"no model '{model}x' \(did you mean '{model}'"):
        build_backbone(spec_of(source, model=f"{model}x"), weights_dir=weights.parent)
    with pytest.raises(UserError, match=rf"no layer '{layers[0]}x' \(did you mean '{layers[0]}"):
        build_backbone(spec_of(source, layers=[f"{layers[0]}x"]), weights_dir=weights.parent)


def test_layers_that_give_no_map_are_refused() -> None:
    with pytest.raises(UserError, match=r"layer 'fc' of test_resnet gives \(1000,\), not a map"):
        build_backbone(spec_of("timm", layers=["fc"], weights="random"))


def test_every_source_of_the_specs_has_a_builder() -> None:
    assert BUILDERS.keys() == BACKBONE_SOURCES.keys()


def test_scattering_needs_no_weights() -> None:
    maps = build_backbone(ScatteringSpec(source="scattering", image_size=64))(torch.rand(1, 3, 64, 64))
    assert list(maps) == ["colour", "first_order", "second_order"]


def test_backbones_are_ready_for_inference(source: str, weights: Path) -> None:
    backbone = build_backbone(spec_of(source), weights_dir=weights.parent)
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def test_copies_of_a_backbone_are_as_ready_as_the_first(source: str, weights: Path) -> None:
    backbone = build_backbone(spec_of(source), weights_dir=weights.parent)
    copied = copy.deepcopy(backbone)
    assert not any(module.training for module in copied.modules())
    images = torch.rand(2, 3, SIZE, SIZE)
    for layer, values in copied(images).items():
        assert torch.equal(values, backbone(images)[layer])


def test_scattering_loads_neither_timm_nor_torchvision() -> None:
    code = (
        "import sys, patchshift.features.backbones as b; from patchshift.plan.backbone_specs import ScatteringSpec; "
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


@pytest.mark.parametrize(("model", "layers"), [("test_resnet", ["layer2"]), ("test_vit", [2])])
def test_random_weights_are_the_same_everywhere_and_say_so(
    model: str, layers: list[str | int], caplog: pytest.LogCaptureFixture
) -> None:
    spec = spec_of("timm", model=model, weights="random", layers=layers)
    states = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        expected = torch.Generator().manual_seed(seed)
        states.append(build_backbone(spec).state_dict())
        assert torch.equal(torch.rand(3), torch.rand(3, generator=expected))  # the global generator is as it was
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert caplog.messages == [f"{model} has random weights, as its config says: it is untrained"] * 2


def test_weights_from_a_file_leave_the_global_generator_alone_and_warn_of_nothing(
    source: str, weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(3)
    build_backbone(spec_of(source), weights_dir=weights.parent)
    assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(3)))
    assert caplog.messages == []


def test_pickled_weights_give_the_same_network_as_safetensors(source: str, weights: Path) -> None:
    torch.save(load_file(weights), weights.with_suffix(".pth"))
    images = torch.rand(1, 3, SIZE, SIZE)
    expected = build_backbone(spec_of(source), weights_dir=weights.parent)(images)
    maps = build_backbone(spec_of(source, weights="weights.pth"), weights_dir=weights.parent)(images)
    assert all(torch.equal(values, expected[layer]) for layer, values in maps.items())


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ([128, 384], (32, 96, 96)),  # 32 rows, 96 columns, 96 channels: could be 32 channels
        (384, (96, 96, 96)),
        (224, (56, 56, 96)),
    ],
)
def test_maps_with_channels_last_are_refused(size: int | list[int], shape: tuple[int, ...]) -> None:
    spec = spec_of("torchvision", model="swin_t", weights="random", layers=["features.1"], image_size=size)
    with pytest.raises(UserError, match=rf"layer 'features\.1' of swin_t gives {re.escape(str(shape))}, not a map"):
        build_backbone(spec)


def test_networks_of_one_square_size_are_taken_there_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    spec = spec_of("torchvision", model="maxvit_t", weights="random", layers=["blocks.0"], image_size=224)
    assert build_backbone(spec)(torch.rand(1, 3, 224, 224))["blocks.0"].shape == (1, 64, 56, 56)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("model", "layer", "deeper"),
    [("resnet18", "bn1", "layer1"), ("squeezenet1_1", "features.0", "features.4")],
)
def test_a_map_is_the_same_beside_a_deeper_one(model: str, layer: str, deeper: str) -> None:
    """Behind each of these layers an operation in place overwrites what they gave."""
    images = torch.rand(1, 3, SIZE, SIZE)
    alone, beside = (
        build_backbone(spec_of("torchvision", model=model, weights="random", layers=layers))(images)[layer]
        for layers in ([layer], [layer, deeper])
    )
    assert alone.min() < 0
    assert torch.equal(alone, beside)


@pytest.mark.parametrize("model", ["deeplabv3_resnet50", "fasterrcnn_resnet50_fpn", "quantized_resnet18", "r3d_18"])
def test_models_that_classify_no_images_are_unknown_and_nothing_is_downloaded(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Any] = []
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *args, **_: loaded.append(args))
    with pytest.raises(UserError, match=f"torchvision has no model '{model}'"):
        build_backbone(spec_of("torchvision", model=model, weights="random"))
    assert loaded == []


def test_no_model_of_torchvision_that_is_known_has_pretrained_parts_by_default() -> None:
    names = torchvision.models.list_models(module=torchvision.models)
    assert {"resnet18", "vgg16", "swin_t"} <= set(names)
    for name in names:
        builder = torchvision.models.get_model_builder(name)
        assert [key for key in inspect.signature(builder).parameters if key.startswith("weights")] == ["weights"]


def test_tags_are_those_that_timm_knows() -> None:
    with pytest.raises(UserError, match=r"timm has no weights 'foo' of resnet18 \(known: .*resnet18\.tv_in1k\)"):
        build_backbone(spec_of("timm", model="resnet18.foo", weights="random"))
    with pytest.raises(UserError, match=r"torchvision has no model 'resnet18\.tv_in1k' \(did you mean 'resnet18'\?\)"):
        build_backbone(spec_of("torchvision", model="resnet18.tv_in1k", weights="random"))
    build_backbone(spec_of("timm", model="resnet18.tv_in1k", weights="random"))


@pytest.mark.parametrize(("library", "model"), [("torchvision", "resnet18"), ("timm", "beit_base_patch16_224")])
def test_block_indices_are_explained_where_there_are_none(library: str, model: str) -> None:
    with pytest.raises(
        UserError, match=f"layer 2: block indices are for timm's ViT, .*; {model} is none of them: name a"
    ):
        build_backbone(spec_of(library, model=model, weights="random", layers=[2], image_size=224))


CATALOG = Catalog.model_validate(read_yaml(Path(__file__).parents[2] / "configs" / "catalog.yaml")).backbones
LIBRARIES = {library: {name: spec for name, spec in CATALOG.items() if spec.source == library} for library in SOURCES}


@pytest.mark.parametrize("name", LIBRARIES["torchvision"])
def test_the_catalog_agrees_with_torchvision_about_its_weights(name: str) -> None:
    spec = LIBRARIES["torchvision"][name]
    assert isinstance(spec, PretrainedSpec)
    weights = torchvision.models.get_model_weights(spec.model).IMAGENET1K_V1
    assert spec.address == weights.url
    assert spec.weights == weights.url.rsplit("/", 1)[1]
    assert spec.checksum == f"sha256:{re.search('-([0-9a-f]{8}).pth$', weights.url)[1]}"  # type: ignore[index]
    assert (spec.mean, spec.std) == (tuple(weights.transforms().mean), tuple(weights.transforms().std))


@pytest.mark.parametrize("name", LIBRARIES["timm"])
def test_the_catalog_agrees_with_timm_about_its_weights(name: str) -> None:
    spec = LIBRARIES["timm"][name]
    assert isinstance(spec, PretrainedSpec)
    config = timm.get_pretrained_cfg(spec.model, allow_unregistered=False)
    assert spec.address == f"https://huggingface.co/{config.hf_hub_id}/resolve/main/model.safetensors"
    assert config.hf_hub_filename is None
    assert spec.weights == f"{config.hf_hub_id.removeprefix('timm/')}.safetensors"
    assert (spec.mean, spec.std) == (config.mean, config.std)
    assert spec.licence.lower().startswith(config.license)
    if name.endswith("_timm"):  # what timm, and so anomalib, takes where no tag is given
        assert timm.get_pretrained_cfg(spec.model.split(".")[0]).tag == spec.model.split(".")[1]
    if "dinov2" not in name:  # those of 518 pixels cost too much to be a default
        assert spec.input_size == config.input_size[1:]


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
