"""What every backbone of the catalog promises, with random weights."""

import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from patchshift.features.backbones import build_backbone
from patchshift.plan.backbone_specs import BACKBONE, BackboneSpec, PretrainedSpec
from patchshift.plan.catalog import Catalog
from patchshift.plan.loading import read_yaml
from patchshift.runtime.torchvision_guard import make_torchvision_importable

make_torchvision_importable()

import timm  # noqa: E402
import torchvision  # noqa: E402
from torchvision.ops import SqueezeExcitation  # noqa: E402

ROOT = Path(__file__).parents[2]
CATALOG = Catalog.model_validate(read_yaml(ROOT / "configs" / "catalog.yaml")).backbones
NETWORKS = {name: spec for name, spec in CATALOG.items() if isinstance(spec, PretrainedSpec)}
CNNS = [name for name, spec in NETWORKS.items() if not spec.layers[0].startswith("block")]
TRANSFORMERS = [name for name in NETWORKS if name not in CNNS]

ACTIVATIONS = (nn.ReLU, nn.SiLU)
HEIGHT, WIDTHS = 32, {"efficientnet_b5": 1280}
"""Of an image wider than the receptive fields of the layers, and no higher than it must be; other networks: 512."""

PIXEL = (17, 100)

Check = Callable[[Tensor, Tensor], None]


class Promise(NamedTuple):
    """What docs/backbones.md says of a layer."""

    stride: int
    channels: int
    rows: int
    columns: int


@dataclass(frozen=True)
class Built:
    """A backbone at a small size, and what it gives for two images."""

    name: str
    spec: BackboneSpec
    backbone: nn.Module
    images: Tensor
    maps: dict[str, Tensor]


def promises(name: str) -> dict[str, Promise]:
    """A row of the table in docs/backbones.md."""
    page = (ROOT / "docs" / "backbones.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| {name} \|.*$", page, re.MULTILINE)
    _, _, layers, strides, shapes, *_ = (cell.strip() for cell in row.strip("|").split("|"))
    dimensions = [map(int, shape.split("x")) for shape in shapes.split(",")]
    return {
        layer.strip(): Promise(int(stride), *sizes)
        for layer, stride, sizes in zip(layers.split(","), strides.split(","), dimensions, strict=True)
    }


def small_size(name: str) -> tuple[int, int]:
    """Two strides of the coarsest layer by four, in whole patches: enough to tell rows from columns."""
    stride = max(promise.stride for promise in promises(name).values())
    return {8: (64, 128), 14: (42, 56), 16: (32, 64)}.get(stride if name not in CNNS else 8, (2 * stride, 4 * stride))


def small(name: str, size: tuple[int, int]) -> BackboneSpec:
    entry = CATALOG[name].model_dump() | {"image_size": size}
    if name in NETWORKS:
        entry |= {"weights": "random", "address": None, "checksum": None, "mirrors": [], "licence": ""}
    return BACKBONE.validate_python(entry)


def make_lively(backbone: nn.Module) -> None:
    """Give an untrained network values that hide nothing.

    Initial biases are 0 and layer scales nearly so; and without statistics of its signals a deep network gives nearly
    the same for every image.
    """
    torch.manual_seed(0)
    for parameter in backbone.parameters():
        if parameter.ndim == 1:
            parameter.add_(torch.rand(parameter.shape) / 2)
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    if norms:
        backbone(torch.rand(4, 3, 64, 128))
    backbone.eval()


def run(backbone: nn.Module, images: Tensor) -> dict[str, Tensor]:
    with torch.inference_mode():
        return backbone(images)  # type: ignore[no-any-return]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def built(request: pytest.FixtureRequest) -> Built:
    name = str(request.param)
    spec = small(name, small_size(name))
    backbone = build_backbone(spec)
    make_lively(backbone)
    torch.manual_seed(1)
    images = torch.rand(2, 3, *spec.input_size)
    return Built(name, spec, backbone, images, run(backbone, images))


every_backbone = pytest.mark.parametrize("built", CATALOG, indirect=True)
every_network = pytest.mark.parametrize("built", NETWORKS, indirect=True)
every_cnn = pytest.mark.parametrize("built", CNNS, indirect=True)


@every_backbone
def test_layers_come_in_order_with_the_stride_and_channels_that_the_docs_promise(built: Built) -> None:
    expected = promises(built.name)
    assert list(built.maps) == built.spec.layers == list(expected)
    height, width = built.spec.input_size
    for layer, values in built.maps.items():
        assert values.dtype == torch.float32
        assert values.shape[:2] == (2, expected[layer].channels)
        # A border may be lost (SqueezeNet pads little), so the stride is what a larger image adds.
        assert (values.shape[3] - values.shape[2]) * expected[layer].stride == width - height


@every_backbone
def test_maps_at_the_default_input_have_the_rows_and_columns_that_the_docs_promise(built: Built) -> None:
    sides = CATALOG[built.name].input_size
    for layer, promise in promises(built.name).items():
        if built.name in CNNS:  # shapes alone, without the work
            state = {name: value.to("meta") for name, value in built.backbone.state_dict().items()}
            images = torch.empty(1, 3, *sides, device="meta")
            shape = tuple(torch.func.functional_call(built.backbone, state, images)[layer].shape[2:])
        else:  # exact multiples
            shape = (sides[0] // promise.stride, sides[1] // promise.stride)
            assert all(side % promise.stride == 0 for side in sides)
        assert shape == (promise.rows, promise.columns)


@every_backbone
def test_the_same_images_give_the_same_maps(built: Built) -> None:
    again = run(built.backbone, built.images)
    for layer, values in built.maps.items():
        assert torch.equal(values, again[layer])


@every_backbone
def test_an_image_has_the_same_maps_alone_and_among_others(built: Built, assert_close: Check) -> None:
    for layer, values in run(built.backbone, built.images[1:]).items():
        assert_close(values[0], built.maps[layer][1])


@every_backbone
def test_different_images_have_different_maps(built: Built) -> None:
    for values in built.maps.values():
        assert (values[0] - values[1]).abs().max() > 1e-4 * values.abs().max()


class SeenEnough(Exception):
    """The layers wanted have been seen: what comes behind them need not run."""


def whole_network(built: Built) -> nn.Module:
    """The whole network of the library, with the backbone's weights where it has them and none behind."""
    spec = built.spec
    assert isinstance(spec, PretrainedSpec)
    with torch.device("meta"):  # no time for initial values
        if spec.source == "torchvision":
            network = torchvision.models.get_model(spec.model)
        elif built.name in TRANSFORMERS:
            network = timm.create_model(spec.model, img_size=spec.input_size)
        else:
            network = timm.create_model(spec.model)
    if getattr(network, "rope", None) is not None:  # computed, not stored
        network.rope.to_empty(device="cpu").init_non_persistent_buffers()
    prefix = "layers.network." if built.name in TRANSFORMERS else "layers."
    weights = {name.removeprefix(prefix): value for name, value in built.backbone.state_dict().items()}
    foreign = network.load_state_dict(weights, strict=False, assign=True).unexpected_keys
    assert foreign == ["mean", "std"]
    evaluated: nn.Module = network.eval()
    return evaluated


@every_network
def test_the_truncated_network_equals_the_whole_one(built: Built, assert_close: Check) -> None:
    spec, network = built.spec, whole_network(built)
    assert isinstance(spec, PretrainedSpec)
    seen: dict[str, Tensor] = {}

    def see(layer: str, output: Tensor) -> None:
        seen[layer] = output.clone()  # before an operation in place can change it
        if seen.keys() == set(spec.layers):
            raise SeenEnough

    for layer in spec.layers:
        module = network.get_submodule(layer.replace("block", "blocks.") if built.name in TRANSFORMERS else layer)
        module.register_forward_hook(lambda _module, _inputs, output, layer=layer: see(layer, output))
    normalised = (built.images - torch.tensor(spec.mean).view(3, 1, 1)) / torch.tensor(spec.std).view(3, 1, 1)
    with torch.inference_mode(), pytest.raises(SeenEnough):
        network(normalised)
    rows = built.spec.input_size[0] // max(promise.stride for promise in promises(built.name).values())
    for layer, values in built.maps.items():
        expected = seen[layer]
        if built.name in TRANSFORMERS:
            with torch.inference_mode():
                tokens = network.norm(expected) if spec.final_norm else expected  # type: ignore[operator]
            special = 5 if "registers" in built.name or "dinov3" in built.name else 1  # class token, four registers
            expected = tokens[:, special:].unflatten(1, (rows, -1)).movedim(-1, 1)
        assert_close(values, expected)


def replace(network: nn.Module, kinds: tuple[type[nn.Module], ...] | type[nn.Module], make: Any) -> nn.Module:
    """Replace, in place, all modules of some kinds by what `make` makes of them."""
    for name, module in list(network.named_modules()):
        if isinstance(module, kinds):
            network.set_submodule(name, make(module))
    return network


def without_gates(network: nn.Module) -> nn.Module:
    return replace(copy.deepcopy(network), SqueezeExcitation, lambda _: nn.Identity())


def linearised(network: nn.Module) -> nn.Module:
    """A copy of a network in which all that an output can depend on reaches it, and nothing cancels.

    All weights are positive, statistics those of the identity, activations are gone, and the largest value of a window
    has become its mean. Its response to one bright pixel in a black image is positive exactly where the receptive field
    of the network's structure contains that pixel: strides, padding, branches and all.
    """
    copied = without_gates(network)
    replace(copied, ACTIVATIONS, lambda _: nn.Identity())
    replace(
        copied,
        nn.MaxPool2d,
        lambda pool: nn.AvgPool2d(pool.kernel_size, pool.stride, pool.padding, ceil_mode=pool.ceil_mode),
    )
    for module in copied.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.fill_(1 / module.weight[0].numel())
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.weight.fill_(1)
        if getattr(module, "bias", None) is not None:
            module.bias.zero_()
    return copied


def differences(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """By how much a change of one pixel changes the features at each place: layer -> [h, w]."""
    changed = images.clone()
    changed[:, :, *PIXEL] += 100
    before, after = run(network, images), run(network, changed)
    return {layer: (after[layer] - values)[0].abs().amax(0) for layer, values in before.items()}


@every_cnn
def test_a_pixel_changes_only_features_whose_receptive_field_holds_it(built: Built) -> None:
    torch.manual_seed(2)
    width = WIDTHS.get(built.name, 512)
    images = torch.rand(1, 3, HEIGHT, width)
    # Squeeze-and-excitation multiplies by a function of the mean over the whole image: with it every pixel reaches
    # every feature, by design. Without its gates there are only convolutions, held to their windows like all others.
    gated = any(isinstance(module, SqueezeExcitation) for module in built.backbone.modules())
    assert gated == (built.name == "efficientnet_b5")
    local = without_gates(built.backbone) if gated else built.backbone
    flash = torch.zeros_like(images)
    flash[:, :, *PIXEL] = 1
    reached = {layer: values[0].amax(0) > 0 for layer, values in run(linearised(built.backbone.layers), flash).items()}
    for layer, change in differences(local, images).items():
        field = reached[layer]
        assert field.any()
        assert not field.all()
        assert change[~field].max() <= 1e-6 * change.max()
        assert (change[field] > 1e-6 * change.max()).float().mean() > 0.2
        assert (change > 0)[:, PIXEL[1] * change.shape[1] // width].any()
    if gated:
        assert all((change > 0).all() for change in differences(built.backbone, images).values())


def build(name: str, size: int | tuple[int, int]) -> nn.Module:
    return build_backbone(small(name, (size, size) if isinstance(size, int) else size))


def test_layer4_of_resnet50_is_49_places_of_2048_channels() -> None:
    maps = run(build("resnet50_layer4", 224), torch.rand(1, 3, 224, 224))
    assert {layer: tuple(values.shape) for layer, values in maps.items()} == {"layer4": (1, 2048, 7, 7)}


@pytest.mark.parametrize("name", ["dinov2_vits14", "dinov2_vits14_registers"])
def test_dinov2_has_256_places_with_and_without_registers(name: str) -> None:
    (values,) = run(build(name, 224), torch.rand(1, 3, 224, 224)).values()
    assert values.shape == (1, 384, 16, 16)


@pytest.mark.parametrize(("name", "size"), [("squeezenet1_1", (224, 630)), ("dinov2_vits14", (224, 616))])
def test_rectangles_keep_their_shape(name: str, size: tuple[int, int]) -> None:
    for layer, values in run(build(name, size), torch.rand(1, 3, *size)).items():
        stride = promises(name)[layer].stride
        rows, columns = values.shape[2:]
        assert abs(rows - size[0] / stride) <= 1.5
        assert abs(columns - size[1] / stride) <= 1.5
