import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from patchshift.plan.backbone_specs import BACKBONE, BackboneSpec, PretrainedSpec, ScatteringSpec
from patchshift.plan.catalog import Catalog, Ids, check_entries
from patchshift.plan.loading import read_yaml

ROOT = Path(__file__).parents[2]
BACKBONES = Catalog.model_validate(read_yaml(ROOT / "configs" / "catalog.yaml")).backbones
PAGE = (ROOT / "docs" / "backbones.md").read_text(encoding="utf-8")
VIT = {"source": "timm", "model": "test_vit", "weights": "vit.safetensors", "layers": [5, 11]}
MODULE = {"source": "file", "weights": "network.pt2", "layers": ["deep"]}
ADDRESS = "https://example.org/model.safetensors"


def validate(settings: dict[str, Any]) -> BackboneSpec:
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
    with pytest.raises(ValidationError, match="'block5' is named twice"):
        validate(VIT | {"layers": [5, "block5"]})


@pytest.mark.parametrize("layer", [-1, True, 2.0, None])
def test_what_is_no_index_and_no_name_is_no_layer(layer: object) -> None:
    with pytest.raises(ValidationError, match="layers"):
        validate(VIT | {"layers": [layer]})


@pytest.mark.parametrize("layer", ["", ".", "enc/1", "/"])
def test_layers_that_a_feature_store_cannot_keep_are_refused(layer: str) -> None:
    for settings in (VIT, MODULE):
        with pytest.raises(ValidationError, match=f"'{re.escape(layer)}' cannot name a layer: take a name without '/'"):
            validate(settings | {"layers": ["deep", layer]})


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
    for origin in ({"address": ADDRESS}, {"mirrors": [{"address": ADDRESS}]}, {"licence": "MIT"}):
        with pytest.raises(ValidationError, match="'random' are not downloaded: remove address, mirrors and licence"):
            validate(VIT | {"weights": "random"} | origin)


@pytest.mark.parametrize("settings", [VIT, MODULE])
def test_weights_come_from_no_archive(settings: dict[str, Any]) -> None:
    archive = "kaggle:owner/weights"
    for origin in ({"address": archive}, {"mirrors": [{"address": archive}]}):
        with pytest.raises(ValidationError, match=f"{archive} is an archive, not a weight file: give an address that"):
            validate(settings | origin)


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


def test_one_tile_alone_has_no_overlap() -> None:
    validate(VIT | {"tiling": {"tile": 224, "overlap": 0}})
    validate(VIT | {"image_size": [224, 448], "tiling": {"tile": 224, "overlap": 32}})
    with pytest.raises(ValidationError, match="tiling: one tile as large as the image overlaps no other"):
        validate(VIT | {"tiling": {"tile": 224, "overlap": 32}})


def test_patches_that_a_models_name_tells_divide_the_image_and_its_tiles() -> None:
    dino = VIT | {"model": "vit_small_patch14_dinov2.lvd142m"}
    validate(dino | {"image_size": [630, 224], "tiling": {"tile": [210, 224], "overlap": 14}})
    with pytest.raises(ValidationError, match=r"14 x 14 pixels, so image_size .* 224 or 238 instead of 230 \(height\)"):
        validate(dino | {"image_size": [230, 630]})
    with pytest.raises(ValidationError, match=r"so tiling\.tile must .*: take 98 or 112 instead of 100 \(width\)"):
        validate(dino | {"image_size": 448, "tiling": {"tile": [224, 100], "overlap": 0}})
    for other in ({"layers": ["layers.1"]}, {"source": "torchvision"}, {"model": "test_vit"}):  # not by patch, unknown
        validate(dino | {"image_size": 230} | other)
