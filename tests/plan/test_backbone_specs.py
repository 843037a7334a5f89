import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from patchshift.plan.backbone_specs import BACKBONE, FileSpec, PretrainedSpec, ScatteringSpec
from patchshift.plan.catalog import Ids, check_entries
from patchshift.plan.loading import read_yaml

ROOT = Path(__file__).parents[2]
BACKBONES = {
    name: BACKBONE.validate_python(entry)
    for name, entry in read_yaml(ROOT / "configs" / "catalog.yaml")["backbones"].items()
}
PAGE = (ROOT / "docs" / "backbones.md").read_text(encoding="utf-8")
VIT = {"source": "timm", "model": "test_vit", "weights": "vit.safetensors", "layers": [5, 11]}
MODULE = {"source": "file", "weights": "network.pt2", "layers": ["deep"]}
ADDRESS = "https://example.org/model.safetensors"


def validate(settings: dict[str, Any]) -> ScatteringSpec | PretrainedSpec | FileSpec:
    return BACKBONE.validate_python(settings)


def table() -> dict[str, list[str]]:
    """The table of ready ids: id -> the other cells of its row."""
    rows = [line.strip("|").split("|") for line in PAGE.splitlines() if re.match(r"\| [a-z]+[a-z0-9_]* \|", line)]
    cells = [[cell.strip() for cell in row] for row in rows]
    return {name: rest for name, *rest in cells if name != "id"}


def test_the_page_lists_the_ids_of_the_catalog_in_its_order() -> None:
    assert list(table()) == list(BACKBONES)


@pytest.mark.parametrize("name", BACKBONES)
def test_the_page_says_of_each_id_what_the_catalog_says(name: str) -> None:
    spec = BACKBONES[name]
    source_and_weights, layers, strides, shapes, size, licence, speed = table()[name]
    assert source_and_weights == f"{spec.source}, {spec.weights}"
    assert layers == ", ".join(spec.layers)
    assert len(strides.split(",")) == len(shapes.split(",")) == len(spec.layers)
    assert size == "{} x {}".format(*spec.input_size)
    if isinstance(spec, ScatteringSpec):
        assert licence == "needs none"
    else:
        assert spec.licence.startswith(licence)
        assert licence
    assert speed == "-" or float(speed) > 0


def test_every_config_that_the_page_shows_is_valid() -> None:
    examples = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)]
    assert examples
    mistakes: list[str] = []
    for example in examples:
        check_entries(example["add"], "docs/backbones.md", mistakes, Ids)
    assert mistakes == []


def test_ids_that_share_a_weight_file_have_it_from_the_same_places() -> None:
    places = defaultdict(list)
    for spec in BACKBONES.values():
        if isinstance(spec, PretrainedSpec):
            places[spec.weights].append(spec.places)
    assert len(places["resnet50-0676ba61.pth"]) == 2
    assert all(each == shared[0] for shared in places.values() for each in shared)


def test_every_network_of_the_catalog_can_be_downloaded_and_names_its_licence() -> None:
    networks = [spec for spec in BACKBONES.values() if not isinstance(spec, ScatteringSpec)]
    assert len(networks) >= 18
    assert all(spec.address and spec.licence for spec in networks)


def test_blocks_are_named_by_index() -> None:
    assert validate(VIT).layers == ["block5", "block11"]
    assert validate(VIT | {"layers": ["block5", 11]}) == validate(VIT)
    assert validate(VIT | {"layers": ["layer2"]}).layers == ["layer2"]
    with pytest.raises(ValidationError, match="layer 'block5' is named twice"):
        validate(VIT | {"layers": [5, "block5"]})


@pytest.mark.parametrize("layer", [-1, True, 2.0, None])
def test_what_is_no_index_and_no_name_is_no_layer(layer: object) -> None:
    with pytest.raises(ValidationError, match="layers"):
        validate(VIT | {"layers": [layer]})


def test_canonical_json_is_read_back_as_the_same_spec() -> None:
    for spec in [*BACKBONES.values(), validate(VIT | {"image_size": [224, 448], "tiling": {"tile": 64, "overlap": 8}})]:
        assert BACKBONE.validate_json(spec.canonical()) == spec


def test_sizes_are_squares_or_height_and_width() -> None:
    assert validate(VIT).input_size == (224, 224)
    assert validate(VIT | {"image_size": [630, 224]}).input_size == (630, 224)
    for size in (16, [224], [224, 224, 3], [224, 16], 10_000):
        with pytest.raises(ValidationError, match="image_size"):
            validate(VIT | {"image_size": size})


def test_weights_are_a_file_of_a_known_kind_or_random() -> None:
    for name in ("a.safetensors", "sub/a.pth", "a.pt", "a.bin", "random"):
        assert validate(VIT | {"weights": name}).weights == name
    for name in ("a.h5", "a", "Random", ""):
        with pytest.raises(ValidationError, match=r"must be a weight file \(.*\) or 'random'"):
            validate(VIT | {"weights": name})
    with pytest.raises(ValidationError, match="must stay inside its folder"):
        validate(VIT | {"weights": "../a.pth"})


def test_modules_are_scripted_or_exported() -> None:
    for name in ("a.pt", "a.pts", "a.pt2"):
        assert validate(MODULE | {"weights": name}).weights == name
    for name in ("a.safetensors", "random"):
        with pytest.raises(ValidationError, match="must be a TorchScript file"):
            validate(MODULE | {"weights": name})


def test_random_weights_come_from_nowhere() -> None:
    validate(VIT | {"weights": "random"})
    with pytest.raises(ValidationError, match="weights 'random' are not downloaded: remove address and mirrors"):
        validate(VIT | {"weights": "random", "address": ADDRESS})


def test_a_checksum_belongs_to_an_address() -> None:
    spec = validate(VIT | {"address": ADDRESS, "checksum": "sha256:0123abcd", "mirrors": [{"address": ADDRESS}]})
    assert isinstance(spec, PretrainedSpec)
    assert [(place.address, place.checksum) for place in spec.places] == [(ADDRESS, "sha256:0123abcd"), (ADDRESS, None)]
    with pytest.raises(ValidationError, match="checksum belongs to an address"):
        validate(VIT | {"checksum": "sha256:0123abcd"})


def test_tiles_are_no_larger_than_the_image_and_larger_than_their_overlap() -> None:
    spec = validate(VIT | {"image_size": [448, 896], "tiling": {"tile": [224, 448], "overlap": 32}})
    assert isinstance(spec, PretrainedSpec)
    assert spec.tiling is not None
    assert spec.tiling.tile_size == (224, 448)
    for tiling in ({"tile": 256, "overlap": 0}, {"tile": [224, 256], "overlap": 0}, {"tile": 64, "overlap": 64}):
        with pytest.raises(ValidationError, match=r"tiling: a tile of \d+ pixels must be larger than the overlap"):
            validate(VIT | {"tiling": tiling})
