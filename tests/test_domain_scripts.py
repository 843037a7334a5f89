"""Views and turned images on their way through the scripts that make, pack, extract and fit them."""

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import h5py
import pytest

from patchshift.data.images import read_size
from patchshift.data.index import read_index
from patchshift.data.packs import Pack
from patchshift.data.splits import read_split
from patchshift.detectors.bank import Bank
from patchshift.errors import UserError
from patchshift.features.store import FeatureStore
from patchshift.plan.backbone_specs import BACKBONE
from patchshift.plan.data_specs import DatasetSpec, SplitSpec
from patchshift.plan.detector_specs import PatchCoreSpec
from patchshift.plan.domain_specs import DomainSpec
from patchshift.runtime.files import digest_file

DATASET = DatasetSpec(adapter="mvtec_ad", categories=["category"])
SPLIT = SplitSpec(protocol="published", train_limit=2, seed=0)
BACKBONE_SPEC = BACKBONE.validate_python(
    {"source": "scattering", "image_size": 32, "octaves": 2, "orientations": 2, "stride": 8}
)
ALL_PATCHES: dict[str, Any] = {"method": "patchcore", "sampler": {"method": "none"}, "threads": 1}
VIEW = DomainSpec.model_validate({"view": {"short_side": 36, "centre_crop": 32}})
TURNED = DomainSpec.model_validate({"turns": {"split": "few", "angles": [90, 135]}})
PATCHES = 4 * 4  # of an image


def run(script: str, **options: Any) -> None:
    arguments = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    import_module(script).main(arguments)


@pytest.fixture(autouse=True)
def root(tmp_path: Path, make_mvtec_ad: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A category, indexed and split, in the current folder."""
    monkeypatch.chdir(tmp_path)
    for script in ("extract_features", "fit_detector"):  # the limits would be those of all tests
        monkeypatch.setattr(import_module(script), "limit_threads", lambda count: None)
    root = make_mvtec_ad({"crack": 2}, good=2)
    spec = DATASET.canonical(include={"adapter", "masks", "max_per_class", "manifest", "ignore_mask"})
    run("index_images", root=root, spec=spec.replace("{", '{"dataset":"mine",', 1), index="index.csv")
    run("split_images", index="index.csv", spec=SPLIT.canonical(), split="split.csv")
    return root


def extract(index: str, root: Path | str, features: str) -> None:
    options = {"weights_dir": "none", "spec": BACKBONE_SPEC.canonical(), "stage": 1, "device": "cpu", "threads": 1}
    run("extract_features", index=index, root=root, features=features, **options)


def fit(bank: str, settings: dict[str, Any], **options: Any) -> Bank:
    spec = PatchCoreSpec.model_validate(ALL_PATCHES | settings).fit_spec()
    common = {"members": "mine/category", "features": "features.h5", "splits": "split.csv", "seed": 0, "stage": 1}
    run("fit_detector", **common, spec=spec, bank=bank, **options)
    return Bank.load(Path(bank))


def test_a_view_is_packed_and_extracted_as_any_domain(root: Path) -> None:
    run("synthesize_shift", index="index.csv", root=root, spec=VIEW.canonical(), images="view")
    run("pack_images", index="view/index.csv", root="view", stage=1, pack="view.h5")
    extract("view/index.csv", "view", "view_features.h5")
    keys = [row.key for row in read_index(Path("index.csv"))]
    with Pack(Path("view.h5")) as pack, FeatureStore(Path("view_features.h5")) as store:
        assert pack.images == store.images == keys
        masks = [pack.mask(row) for row, label in enumerate(pack.labels) if label]
    assert len(masks) == 2
    assert all(mask.shape == (32, 32) and mask.any() for mask in masks)
    assert {read_size(Path("view") / row.image) for row in read_index(Path("view/index.csv"))} == {(32, 32)}


def test_a_bank_is_fitted_on_turned_images_beside_those_as_taken(root: Path) -> None:
    run("turn_images", index="index.csv", split="split.csv", root=root, spec=TURNED.canonical(), images="turned")
    extract("index.csv", root, "features.h5")
    extract("turned/index.csv", "turned", "turned_features.h5")
    few = read_split(Path("split.csv")).taken_for_good
    with FeatureStore(Path("turned_features.h5")) as store:
        assert store.images == [f"{key}#turn{angle}" for key in few for angle in (90, 135)]
    plain = fit("plain.h5", {})
    turned = fit("bank.h5", {"turned": ["turned_few"]}, turned="turned_features.h5")
    assert len(few) == 2
    assert plain.model.size == 2 * PATCHES
    assert turned.model.size == 3 * plain.model.size
    with h5py.File("bank.h5") as file:
        inputs = json.loads(file.attrs["provenance"])["inputs"]
    assert inputs["turned"] == [digest_file(Path("turned_features.h5"))]


def test_turned_images_of_test_images_fit_no_bank_even_where_a_store_has_some(root: Path) -> None:
    """The split that the bank is fitted by decides, whatever was turned."""
    whole = SplitSpec(protocol="published", seed=0)
    run("split_images", index="index.csv", spec=whole.canonical(), split="whole.csv")
    run("turn_images", index="index.csv", split="whole.csv", root=root, spec=TURNED.canonical(), images="turned")
    extract("index.csv", root, "features.h5")
    extract("turned/index.csv", "turned", "turned_features.h5")
    with FeatureStore(Path("turned_features.h5")) as store:
        assert len(store.images) == 5 * 2
    bank = fit("bank.h5", {"turned": ["turned_few"]}, turned="turned_features.h5")
    assert bank.model.size == 2 * 3 * PATCHES


@pytest.mark.parametrize(
    ("script", "spec", "fault"),
    [
        ("turn_images", VIEW, "'view' has no turned images"),
        ("synthesize_shift", TURNED, "'turns' is neither a shift nor a view"),
        ("synthesize_shift", DomainSpec(), "'clean' is neither a shift nor a view"),
    ],
)
def test_a_domain_of_another_kind_is_refused(root: Path, script: str, spec: DomainSpec, fault: str) -> None:
    split = {"split": "split.csv"} if script == "turn_images" else {}
    with pytest.raises(UserError, match=fault):
        run(script, index="index.csv", **split, root=root, spec=spec.canonical(), images="made")
    assert not Path("made").exists()
