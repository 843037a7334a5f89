import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from patchshift.plan import Study, licences_to_show, missing_inputs

Settings = dict[str, Any]
Load = Callable[[], Study]

FETCH = [("fetch_dataset", {"dataset": "parts"}), ("index_images", {"dataset": "parts", "category": "bolt"})]


def jobs(*categories: str, domain: str = "clean", backbone: str = "resnet") -> list[tuple[str, dict[str, str]]]:
    """The jobs that index and extract some categories."""
    places = [dict(zip(("dataset", "category"), category.split("/"), strict=True)) for category in categories]
    extractions = [("extract_features", {**place, "domain": domain, "backbone": backbone}) for place in places]
    return [*(("index_images", place) for place in places), *extractions, ("collect_study", {})]


def test_what_is_missing_is_named_with_its_folder_key_and_address(study: Settings, load: Load) -> None:
    study["data_dir"] = "images"
    Path("images/parts/bolt").mkdir(parents=True)
    needed = jobs("parts/bolt", "parts/nut")
    assert missing_inputs(load(), needed) == [
        "backbone 'resnet': weight file weights/resnet.safetensors does not exist. No address is known for it: bring "
        "'resnet.safetensors' there, or set `weights_dir` (now 'weights') to the folder that holds it",
        "dataset 'parts': folder images/parts/nut does not exist. Set `data_dir` (now 'images') to the folder that "
        "holds 'parts', or get it from https://example.org/parts",
    ]
    Path("images/parts/nut").mkdir()
    Path("weights").mkdir()
    Path("weights/resnet.safetensors").touch()
    assert missing_inputs(load(), needed) == []


def test_only_what_jobs_read_is_asked_for(load: Load) -> None:
    (line,) = missing_inputs(load(), jobs("cloth/weave", backbone="waves"))
    assert line.startswith("dataset 'cloth': folder data/cloth/weave does not exist")
    assert missing_inputs(load(), [("fit_detector", {"backbone": "resnet"})]) == []


def test_attention_needs_images_and_weights_as_extraction_does(load: Load) -> None:
    place = {"dataset": "cloth", "category": "weave", "domain": "clean", "split": "plan", "backbone": "resnet"}
    weights, folder = missing_inputs(load(), [("trace_attention", place)])
    assert weights.startswith("backbone 'resnet': weight file weights/resnet.safetensors does not exist")
    assert folder.startswith("dataset 'cloth': folder data/cloth/weave does not exist")


def test_the_built_in_dataset_misses_nothing(catalog: Settings, load: Load) -> None:
    catalog["datasets"]["parts"] = {"adapter": "mvtec_ad", "categories": ["weave"], "generate": {}}
    catalog["pools"] = {}
    assert missing_inputs(load(), jobs("parts/weave", backbone="waves")) == []
    assert load().image_root("parts", "weave") == "results/datasets/parts/weave"
    assert load().generated_images("parts", "weave") == ["results/datasets/parts/weave"]


def test_a_dataset_with_an_address_is_downloaded_only_where_its_folder_is_missing(
    catalog: Settings, load: Load
) -> None:
    assert load().download("parts") == ["data/parts.receipt.json"]
    assert load().download("cloth") == []
    Path("data/parts").mkdir(parents=True)
    assert load().download("parts") == []


def test_what_was_downloaded_keeps_depending_on_its_receipt(load: Load) -> None:
    Path("data/parts/bolt").mkdir(parents=True)
    Path("data/parts.receipt.json").touch()
    assert load().download("parts") == ["data/parts.receipt.json"]
    assert missing_inputs(load(), FETCH[1:]) == []


def test_a_download_that_was_deleted_can_be_had_again_without_its_receipt(load: Load) -> None:
    Path("data").mkdir()
    Path("data/parts.receipt.json").touch()
    (line,) = missing_inputs(load(), FETCH[1:])
    assert line == (
        "dataset 'parts': folder data/parts/bolt does not exist. It was downloaded once: delete "
        "data/parts.receipt.json to download it again, or bring it back"
    )


def test_nothing_is_downloaded_before_its_licence_is_accepted(catalog: Settings, study: Settings, load: Load) -> None:
    catalog["datasets"]["parts"]["licence"] = "CC BY 4.0"
    (line,) = missing_inputs(load(), FETCH)
    assert line.startswith(
        "dataset 'parts': folder data/parts does not exist. Its licence: CC BY 4.0. Read it, and set"
    )
    assert "`accept_licence: true`" in line
    assert "https://example.org/parts" in line
    assert "`data_dir` (now 'data')" in line
    study["accept_licence"] = True
    assert missing_inputs(load(), FETCH) == []
    (shown,) = licences_to_show(load(), FETCH)
    assert "CC BY 4.0" in shown
    assert "data/parts" in shown


def test_a_folder_that_is_there_needs_no_consent(load: Load) -> None:
    Path("data/parts/bolt").mkdir(parents=True)
    assert missing_inputs(load(), FETCH) == []
    assert licences_to_show(load(), FETCH) == []


FETCH_WEIGHTS = [("fetch_weights", {"weights": "resnet.safetensors"})]


@pytest.fixture
def from_the_web(catalog: Settings, load: Load) -> None:
    """The backbone's weights can be had from an address, the images are there."""
    Path("data/parts/bolt").mkdir(parents=True)
    catalog["backbones"]["resnet"] |= {"address": "https://example.org/resnet.pth", "licence": "BSD-3-Clause"}


@pytest.mark.usefixtures("from_the_web")
def test_no_weights_are_downloaded_before_their_licence_is_accepted(study: Settings, load: Load) -> None:
    needed = [*FETCH_WEIGHTS, *jobs("parts/bolt")]
    assert missing_inputs(load(), needed) == [
        "backbone 'resnet': weight file weights/resnet.safetensors does not exist. Its licence: BSD-3-Clause. Read it, "
        "and set `accept_licence: true` (or --config accept_licence=true) to download it from "
        "https://example.org/resnet.pth; or bring 'resnet.safetensors' from there by hand, as "
        "weights/resnet.safetensors; or set `weights_dir` (now 'weights') to the folder that holds it"
    ]
    study["accept_licence"] = True
    assert missing_inputs(load(), needed) == []
    assert licences_to_show(load(), needed) == [
        "downloading weight file 'resnet.safetensors' to weights/resnet.safetensors; its licence, as you accept it: "
        "BSD-3-Clause"
    ]


@pytest.mark.usefixtures("from_the_web")
def test_consent_names_the_backbones_that_run_and_else_all_that_share_the_file(catalog: Settings, load: Load) -> None:
    catalog["backbones"]["deep"] = catalog["backbones"]["resnet"] | {"layers": ["layer4"]}
    catalog["backbones"]["shallow"] = catalog["backbones"]["resnet"] | {"layers": ["layer1"]}
    (line,) = missing_inputs(load(), [*FETCH_WEIGHTS, *jobs("parts/bolt"), *jobs("parts/bolt", backbone="deep")])
    assert line.startswith("backbones 'deep', 'resnet': weight file weights/resnet.safetensors does not exist")
    (line,) = missing_inputs(load(), FETCH_WEIGHTS)
    assert line.startswith("backbones 'deep', 'resnet', 'shallow': weight file")


@pytest.mark.usefixtures("from_the_web")
def test_weights_that_are_there_need_no_consent(load: Load) -> None:
    Path("weights").mkdir()
    Path("weights/resnet.safetensors").touch()
    needed = [*FETCH_WEIGHTS, *jobs("parts/bolt")]
    assert missing_inputs(load(), needed) == licences_to_show(load(), needed) == []


@pytest.mark.usefixtures("from_the_web")
def test_weights_that_were_deleted_can_be_had_again_without_their_receipt(load: Load) -> None:
    Path("weights").mkdir()
    Path("weights/resnet.safetensors.receipt.json").touch()
    (line,) = missing_inputs(load(), jobs("parts/bolt"))
    assert line == (
        "backbone 'resnet': weight file weights/resnet.safetensors does not exist. It was downloaded once: delete "
        "weights/resnet.safetensors.receipt.json to download it again, or bring it back"
    )


@pytest.mark.usefixtures("from_the_web")
def test_nothing_is_asked_for_where_weights_are_random_or_there_are_none(catalog: Settings, load: Load) -> None:
    catalog["backbones"]["untrained"] = {
        "source": "torchvision",
        "model": "resnet18",
        "weights": "random",
        "layers": ["layer2"],
    }
    for backbone in ("untrained", "waves"):
        assert missing_inputs(load(), jobs("parts/bolt", backbone=backbone)) == []


def set_time(path: Path, seconds: int) -> None:
    os.utime(path, (seconds, seconds))


def test_the_fingerprint_of_a_category_follows_its_folders_and_its_lists(catalog: Settings, load: Load) -> None:
    catalog["datasets"]["own"] = {"adapter": "folder", "categories": ["knob"], "manifest": "list.csv"}
    catalog["datasets"]["shop"] = {"adapter": "visa", "categories": ["candle"]}
    study = load()
    watched = {
        ("own", "knob"): ["data/own", "data/own/good", "data/own/list.csv"],
        ("shop", "candle"): [
            "data/shop/candle/Data",
            "data/shop/split_csv/1cls.csv",
            "data/shop/candle/image_anno.csv",
        ],
    }
    for (dataset, category), paths in watched.items():
        for path in map(Path, paths):
            (path.parent if path.suffix else path).mkdir(parents=True, exist_ok=True)
            if path.suffix:
                path.touch()
        for path in map(Path, paths):
            set_time(path, 1_000_000)
        before = study.folders_fingerprint(dataset, category)
        assert before == study.folders_fingerprint(dataset, category)
        for path in map(Path, paths):
            set_time(path, 2_000_000)  # as the file system does when a file comes or goes
            assert study.folders_fingerprint(dataset, category) != before, path
            set_time(path, 1_000_000)
        assert study.folders_fingerprint(dataset, category) == before


def test_a_folder_that_is_not_there_yet_has_a_fingerprint(load: Load) -> None:
    assert load().folders_fingerprint("parts", "bolt")


def test_the_fingerprint_follows_links_to_folders_and_ends_in_circles(load: Load) -> None:
    real = Path("elsewhere/good")
    real.mkdir(parents=True)
    Path("data/parts").mkdir(parents=True)
    Path("data/parts/bolt").symlink_to(Path("elsewhere").resolve())
    (real / "circle").symlink_to(real.resolve())
    set_time(real, 1_000_000)
    before = load().folders_fingerprint("parts", "bolt")
    set_time(real, 2_000_000)
    assert load().folders_fingerprint("parts", "bolt") != before


def test_a_dataset_without_an_address_cannot_be_downloaded(load: Load) -> None:
    (line,) = missing_inputs(load(), [("fetch_dataset", {"dataset": "cloth"})])
    assert line.startswith("dataset 'cloth': folder data/cloth does not exist, and no address is known")


def test_a_domain_of_own_crops_follows_their_folder(catalog: Settings, load: Load) -> None:
    catalog["domains"] |= {"own_plan": {"crops": {"split": "plan", "crops_path": "mine"}}}
    folder = Path("data/mine")
    folder.mkdir(parents=True)
    set_time(folder, 1_000_000)
    before = load().own_defects_fingerprint("own_plan")
    set_time(folder, 2_000_000)
    assert load().own_defects_fingerprint("own_plan") != before
    crop = folder / "scratch.png"
    crop.write_bytes(b"old")
    set_time(crop, 1_000_000)
    before = load().own_defects_fingerprint("own_plan")
    crop.write_bytes(b"drawn anew")  # in place: the folder's time stays
    set_time(crop, 1_000_000)
    assert load().own_defects_fingerprint("own_plan") != before
    assert load().own_defects_fingerprint("dim") == ""
