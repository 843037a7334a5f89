from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from patchshift.features.store import FeatureRows, LayerMaps
from patchshift.runtime.torchvision_guard import make_torchvision_importable


class RowsInMemory(FeatureRows):
    """Training features that need no file, and may hold any float32 numbers."""

    def __init__(self, maps: LayerMaps) -> None:
        super().__init__([])
        self.__dict__["maps"] = {layer: values.astype(np.float32) for layer, values in maps.items()}
        self.__dict__["sizes"] = []

    def __len__(self) -> int:
        return len(next(iter(self.maps.values())))

    @property
    def layer_shapes(self) -> dict[str, tuple[int, int, int]]:
        return {layer: values.shape[1:] for layer, values in self.maps.items()}

    def chunks(self, layers: Sequence[str], size: int) -> Iterator[LayerMaps]:
        self.sizes.append(min(size, len(self)))
        for start in range(0, len(self), size):
            yield {layer: self.maps[layer][start : start + size] for layer in layers}


@pytest.fixture(scope="session")
def keep() -> Callable[[LayerMaps], RowsInMemory]:
    """Maps of training images as features."""
    return RowsInMemory


@pytest.fixture(scope="session")
def draw_maps() -> Callable[..., LayerMaps]:
    """Maps of a fine and a coarse layer that vary unlike each other, positive and smooth like those of a network."""

    def draw(images: int = 6, *, seed: int = 0, fine: int = 4, coarse: int = 6) -> LayerMaps:
        random = np.random.default_rng(seed)

        def layer(rows: int, columns: int, channels: int, spread: float) -> np.ndarray:
            values = random.lognormal(0, spread, (images, rows, columns, channels)) @ random.uniform(
                size=(channels, channels)
            )
            return np.asarray(values, np.float32)

        return {"fine": layer(8, 6, fine, 1.0), "coarse": layer(4, 3, coarse, 0.4)}

    return draw


@pytest.fixture(scope="session")
def golden_folder() -> Path:
    return Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="session")
def full_network() -> Callable[..., nn.Module]:
    """A whole network of a library in which no weight has a value that would hide a mistake, such as 0 or 1."""

    def create(source: str, model: str) -> nn.Module:
        make_torchvision_importable()
        import timm
        import torchvision

        torch.manual_seed(0)
        network: nn.Module = (timm.create_model if source == "timm" else torchvision.models.get_model)(model)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape))
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean, -0.5, 0.5)
                nn.init.uniform_(module.running_var, 0.5, 2)
        return network.eval()

    return create


@pytest.fixture(scope="session")
def assert_close() -> Callable[[Tensor, Tensor], None]:
    """Equal to 1e-5 of the largest value, since sums of other layouts are rounded otherwise; and not constant."""

    def check(found: Tensor, expected: Tensor) -> None:
        assert found.shape == expected.shape
        assert expected.std() > 0
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()

    return check
