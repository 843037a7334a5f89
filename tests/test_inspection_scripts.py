"""Scripts that look inside features, as the rules call them, on the built-in dataset."""

import csv
import json
import os
from collections.abc import Iterator
from contextlib import chdir
from importlib import import_module
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from patchshift.evaluation.inspection_store import Inspection
from patchshift.features.attention_store import AttentionMaps
from patchshift.plan.backbone_specs import PretrainedSpec, ScatteringSpec
from patchshift.plan.data_specs import SplitSpec
from patchshift.plan.inspections import UNTRACED, ChoiceSpec, LookSpec
from patchshift.runtime import threads
from patchshift.runtime.files import digest_file

LOOK = LookSpec(maps=["tsne"], patches=100, images=1, resamples=50, confidence=0.95, seed=0)
CHOICE = ChoiceSpec(images=1, seed=0)
SPLIT = SplitSpec(protocol="source_plan", train_share=0.8, val_anomalous_share=0.3, seed=0)
TRANSFORMER = PretrainedSpec.model_validate(
    {"source": "timm", "model": "test_vit", "weights": "random", "layers": [1, 3], "image_size": 64, "threads": 1}
)
SCATTERING = ScatteringSpec.model_validate(
    {"source": "scattering", "image_size": 64, "octaves": 2, "orientations": 2, "threads": 1}
)
GENERATE = '{"seed": 0, "image_size": 256, "train_good": 6, "test_good": 4, "test_per_defect": 2}'


@pytest.fixture(scope="module", autouse=True)
def _restored_threads() -> Iterator[None]:
    """Scripts fix the number of threads of their process, which here is that of all tests."""
    environment, count = dict(os.environ), torch.get_num_threads()
    yield
    while threads._limits:
        threads._limits.pop().restore_original_limits()
    torch.set_num_threads(count)
    os.environ.clear()
    os.environ.update(environment)


def run(script: str, **options: Any) -> None:
    arguments: list[str] = []
    for name, value in options.items():
        arguments += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
    import_module(script).main(arguments)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn category with its pack, its split, and what two backbones make of it, looked into."""
    folder = tmp_path_factory.mktemp("look")
    with chdir(folder):
        run("generate_dataset", category="casting", spec=GENERATE, images="images")
        index = {"adapter": "mvtec_ad", "dataset": "demo", "masks": "required", "max_per_class": None}
        run("index_images", root="images", spec=json.dumps(index), index="index.csv")
        run("split_images", index="index.csv", spec=SPLIT.canonical(), split="split.csv")
        run("pack_images", index="index.csv", root="images", stage=1, pack="pack.h5")
        for name, spec in (("transformer", TRANSFORMER), ("scattering", SCATTERING)):
            features = f"{name}.h5"
            run("extract_features", index="index.csv", root="images", spec=spec.canonical(), stage=1, features=features)
            inspect(name, f"look-{name}.h5")
        trace("attention.h5")
    return folder


def inspect(backbone: str, inspection: str) -> None:
    run(
        "inspect_features", features=f"{backbone}.h5", pack="pack.h5", split="split.csv", spec=LOOK.canonical(),
        stage=1, inspection=inspection,
    )  # fmt: skip


def trace(attention: str, **changes: Any) -> None:
    options = {"index": "index.csv", "root": "images", "pack": "pack.h5", "split": "split.csv"}
    options |= {"spec": TRANSFORMER.canonical(), "choice": CHOICE.canonical(), "stage": 1, "attention": attention}
    run("trace_attention", **options | changes)


NAMES = {"pack": "pack.h5", "category": "demo/casting", "backbone": "vit", "weights": "random"}


def test_looking_and_tracing_again_give_the_same_bytes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for name in ("transformer", "scattering"):
        inspect(name, "again.h5")
        assert Path("again.h5").read_bytes() == Path(f"look-{name}.h5").read_bytes()
    torch.manual_seed(5)
    trace("again.h5")
    assert torch.initial_seed() == 0  # the script seeds whatever draws
    assert Path("again.h5").read_bytes() == Path("attention.h5").read_bytes()


def test_attention_is_traced_on_the_images_whose_energy_is_shown(folder: Path) -> None:
    inspection = Inspection.read(folder / "look-transformer.h5")
    attention = AttentionMaps.read(folder / "attention.h5")
    assert attention.images == inspection.shown
    assert attention.block == "block3"
    assert attention.maps.shape == (len(inspection.shown), 2, 4, 4)
    np.testing.assert_allclose(attention.maps.sum(axis=(2, 3)) + attention.others, 1, rtol=1e-5)
    assert {each.layer for each in inspection.separations} == {"block1", "block3", "all layers"}


def test_files_say_what_they_were_made_from(folder: Path) -> None:
    for name, inputs in {
        "look-scattering.h5": {"features": "scattering.h5", "pack": "pack.h5", "split": "split.csv"},
        "attention.h5": {"index": "index.csv", "pack": "pack.h5", "split": "split.csv"},
    }.items():
        with h5py.File(folder / name, "r") as file:
            provenance = json.loads(file.attrs["provenance"])
        assert provenance["inputs"] == {role: digest_file(folder / path) for role, path in inputs.items()}
    assert provenance["choice"] == {"images": 1, "seed": 0}
    assert provenance["spec"] == TRANSFORMER.model_dump(mode="json", exclude=UNTRACED)


def test_attention_depends_neither_on_the_batch_size_nor_on_the_precision_on_cuda(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    changed = TRANSFORMER.model_copy(update={"batch_size": 3, "precision": "float16"})
    trace("again.h5", spec=changed.canonical())
    assert Path("again.h5").read_bytes() == Path("attention.h5").read_bytes()
    trace("again.h5", spec=changed.canonical(exclude=UNTRACED))  # as the rule passes it
    assert Path("again.h5").read_bytes() == Path("attention.h5").read_bytes()


def test_figures_and_table_are_written_and_name_an_untrained_backbone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    titles = []
    for script, function in (("plot_inspection", "draw_patch_map"), ("plot_attention", "draw_attention")):
        module = import_module(script)
        draw = getattr(module, function)

        def note(*arguments: Any, draw: Any = draw) -> Any:
            titles.append(arguments[-1])
            return draw(*arguments)

        monkeypatch.setattr(module, function, note)
    figures = {name: tmp_path / f"{name}.png" for name in ("patch_map", "separability", "energy")}
    run("plot_inspection", inspection="look-transformer.h5", **NAMES, **figures, table=tmp_path / "table.csv")
    run("plot_attention", attention="attention.h5", **NAMES, figure=tmp_path / "attention.png")
    assert titles == ["demo/casting, vit (random weights)"] * 2
    for path in (*figures.values(), tmp_path / "attention.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    separations = Inspection.read(Path("look-transformer.h5")).separations
    assert [(row["layer"], row["defect"]) for row in rows] == [(each.layer, each.defect) for each in separations]
    assert [float(row["image_auroc"]) for row in rows] == [each.image_auroc for each in separations]


def test_a_backbone_that_is_no_transformer_leaves_the_reason(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    trace(str(tmp_path / "none.h5"), spec=SCATTERING.canonical())
    assert "vision transformer" in AttentionMaps.read(tmp_path / "none.h5").undefined


def test_a_model_without_class_token_is_said_in_file_and_figure(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(folder)
    without = TRANSFORMER.model_copy(update={"model": "test_vit2"})
    trace(str(tmp_path / "none.h5"), spec=without.canonical())
    assert "test_vit2: no attention to show: the model has no class token" in caplog.text
    assert AttentionMaps.read(tmp_path / "none.h5").undefined == "the model has no class token"
    run("plot_attention", attention=tmp_path / "none.h5", **NAMES, figure=tmp_path / "none.png")
    assert (tmp_path / "none.png").read_bytes().startswith(b"\x89PNG")
