import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from patchshift.errors import UserError
from patchshift.plan import Study
from patchshift.plan.weights import fetchable_weights, weight_file, weight_inputs, weight_receipt, weights_spec

Settings = dict[str, Any]
Load = Callable[[], Study]
FILE, RECEIPT = Path("weights/resnet.safetensors"), Path("weights/resnet.safetensors.receipt.json")
ORIGIN = {"address": "https://example.org/a", "checksum": "sha256:5c106cde", "licence": "BSD-3-Clause"}


@pytest.fixture
def resnet(catalog: Settings) -> Settings:
    backbone: Settings = catalog["backbones"]["resnet"]
    return backbone


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_extraction_depends_on_a_file_that_was_brought_by_hand(resnet: Settings, load: Load) -> None:
    assert weight_inputs(load(), "resnet") == []  # and the run is refused before its first job
    touch(FILE)
    for origin in ({}, ORIGIN):
        resnet |= origin
        assert weight_inputs(load(), "resnet") == [str(FILE)]


def test_extraction_depends_on_the_receipt_of_what_is_to_be_downloaded_and_of_what_was(
    resnet: Settings, load: Load
) -> None:
    resnet |= ORIGIN
    assert weight_inputs(load(), "resnet") == [str(RECEIPT)]
    touch(FILE)
    touch(RECEIPT)
    assert weight_inputs(load(), "resnet") == [str(RECEIPT)]
    for key in ORIGIN:
        del resnet[key]
    assert weight_inputs(load(), "resnet") == [str(RECEIPT)]


def test_random_weights_and_no_weights_have_no_file(resnet: Settings, load: Load) -> None:
    resnet["weights"] = "random"
    for backbone in ("resnet", "waves"):
        assert weight_file(load(), backbone) is None
        assert weight_inputs(load(), backbone) == []
    assert fetchable_weights(load()) == "(?!)"


def test_the_spec_of_a_download_holds_its_places_and_terms_alone(resnet: Settings, load: Load) -> None:
    resnet |= ORIGIN | {"mirrors": [{"address": "https://example.org/b", "checksum": "md5:" + "0" * 32}]}
    spec = weights_spec(load(), "resnet.safetensors")
    assert spec.model_dump() == {
        "weights": "resnet.safetensors",
        "licence": "BSD-3-Clause",
        "places": [
            {"address": "https://example.org/a", "checksum": "sha256:5c106cde"},
            {"address": "https://example.org/b", "checksum": "md5:" + "0" * 32},
        ],
    }
    with pytest.raises(UserError, match=r"no backbone says where weight file 'other\.pth' can be had"):
        weights_spec(load(), "other.pth")


def test_only_files_with_an_address_can_be_downloaded(catalog: Settings, resnet: Settings, load: Load) -> None:
    catalog["backbones"]["vit"] = resnet | {"weights": "timm/vit+b.pth", **ORIGIN}
    pattern = fetchable_weights(load())
    assert re.fullmatch(pattern, "timm/vit+b.pth")
    for other in ("resnet.safetensors", "vit+b.pth", "timm/vitxb.pth", "timm/vit+bb.pth", ""):
        assert not re.fullmatch(pattern, other)


def test_one_file_has_one_name(resnet: Settings, load: Load) -> None:
    resnet |= ORIGIN | {"weights": "./torch//resnet.pth"}
    study = load()
    assert weight_file(study, "resnet") == Path("weights/torch/resnet.pth")
    assert re.fullmatch(fetchable_weights(study), "torch/resnet.pth")
    assert weights_spec(study, "torch/resnet.pth").weights == "torch/resnet.pth"
    assert weight_inputs(study, "resnet") == [str(weight_receipt(study, "torch/resnet.pth"))]


def test_backbones_share_a_file_and_one_of_them_says_where_it_can_be_had(
    catalog: Settings, resnet: Settings, load: Load
) -> None:
    catalog["backbones"]["deep"] = resnet | {"layers": ["layer4"]} | ORIGIN
    assert weight_inputs(load(), "resnet") == weight_inputs(load(), "deep") == [str(RECEIPT)]


@pytest.mark.parametrize(
    "other",
    [
        {"address": "https://example.org/b"},
        {"checksum": "sha256:5c106cdf"},
        {"licence": "MIT"},
        {"mirrors": [{"address": "https://example.org/b"}]},
        {"address": "https://example.org/b", "weights": "./resnet.safetensors"},
    ],
)
def test_backbones_that_say_different_things_of_one_file_are_a_mistake(
    catalog: Settings, resnet: Settings, mistakes: Callable[[], list[str]], other: Settings
) -> None:
    resnet |= ORIGIN
    catalog["backbones"]["deep"] = resnet | other
    assert mistakes() == [
        "study.yaml: backbones 'deep' and 'resnet' name one weight file, 'resnet.safetensors', with different "
        "addresses, checksums or licences: say the same of it, or name another file"
    ]


def test_an_archive_is_no_weight_file(resnet: Settings, mistakes: Callable[[], list[str]]) -> None:
    resnet |= ORIGIN | {"mirrors": [{"address": "kaggle:owner/weights"}]}
    assert mistakes() == [
        "configs/catalog.yaml.backbones.resnet.mirrors.0: kaggle:owner/weights is an archive, not a weight file: give "
        "an address that begins with https:// or http:// (found {'address': 'kaggle:owner/weights'})"
    ]


@pytest.mark.parametrize("name", ["../a.pth", "/a.pth", "b/../../a.pth"])
def test_a_weight_file_never_lies_outside_its_folder(
    resnet: Settings, mistakes: Callable[[], list[str]], name: str
) -> None:
    resnet["weights"] = name
    (line,) = mistakes()
    assert "backbones.resnet.weights: must stay inside its folder" in line
