"""What tests of exported models share: a tiny production line, from images to two models."""

import os
from collections.abc import Iterator, Sequence
from contextlib import chdir
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file

from patchshift.plan import Study, load_study, predictions
from patchshift.runtime import threads
from patchshift.runtime.torchvision_guard import make_torchvision_importable

STUDY = """
study: line
question: Does the exported model say what the workflow says?
data_dir: data
predict_on: new/today
add:
  datasets:
    line:
      adapter: mvtec_ad
      categories: [casting]
      generate: {train_good: 10, test_good: 3, test_per_defect: 2}
  splits: {half: {protocol: source_plan, train_share: 0.5, val_anomalous_share: 0.5, seed: 42}}
  backbones:
    small: {source: scattering, image_size: 64, octaves: 2, orientations: 2, stride: 8, batch_size: 4}
    resnet: {source: timm, model: resnet10t, weights: resnet.safetensors, image_size: 64, layers: [layer1],
             batch_size: 4}
  detectors:
    quick: {method: patchcore, sampler: {share: 0.2}}
    top: {method: padim, representation: {reduction: {method: channel_subset, dimension: 5}},
          image_score: {method: top_share, share: 0.1}}
  thresholds:
    everywhere:
      policy: f1_max
      pixels: {policy: normal_quantile, quantile: 0.9}
      zones: {rows: 2, columns: 3}
select: {splits: [half], backbones: [small], detectors: [quick], thresholds: [f1_max]}
experiments: {clean: {title: Clean, train: [line]}}
"""

ROOT = "results/datasets/line/casting"
TARGET = "line/casting/clean"


@dataclass(frozen=True)
class Line:
    """A folder in which the stages of a study have run; paths are relative to it."""

    folder: Path
    study: Study

    def bank(self, backbone: str, detector: str) -> str:
        return f"{TARGET}/half/{backbone}/{detector}/seed0"

    def sources(self, backbone: str, detector: str, policy: str) -> dict[str, Any]:
        """The options of `export_model` that name files."""
        bank = self.bank(backbone, detector)
        files = {
            "bank": f"results/banks/{bank}.h5",
            "features": f"results/features/{TARGET}/{backbone}.h5",
            "scores": f"results/scores/{bank}/on/{TARGET}.h5",
            "pack": f"results/packs/{TARGET}.h5",
            "split": "results/splits/line/casting/half.csv",
            "threshold": f"results/thresholds/{bank}/from/{TARGET}/{policy}.json",
        }
        return files | ({"weights": "weights/resnet.safetensors"} if backbone == "resnet" else {})

    def export(self, backbone: str, detector: str, policy: str, model: Path, **others: Any) -> Path:
        """Run `export_model` in this folder."""
        with chdir(self.folder):
            run(
                "export_model",
                **{**self.sources(backbone, detector, policy), **others},
                backbone=predictions.export_spec(self.study, backbone),
                domain=self.study.domain_spec("clean"),
                spec=self.study.evaluation_spec(),
                stage=1,
                model=model,
            )
        return model

    @property
    def images(self) -> Path:
        """The folder of test images, a folder for each kind."""
        return self.folder / ROOT / "test"

    @property
    def weights(self) -> Path:
        return self.folder / "weights"


def run(script: str, **options: Any) -> None:
    """Call a script's `main` with `--name value ...` for each option."""
    arguments: list[str] = []
    for name, value in options.items():
        arguments += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
    import_module(script).main(arguments)


def _run_stages(line: Line, banks: Sequence[tuple[str, str, str]]) -> None:
    study, index, split = line.study, "results/images/line/casting.csv", "results/splits/line/casting/half.csv"
    run("generate_dataset", category="casting", spec=study.generator_spec("line"), images=ROOT)
    run("index_images", root=ROOT, spec=study.dataset_spec("line"), index=index)
    run("split_images", index=index, spec=study.split_spec("half"), split=split)
    run("pack_images", index=index, root=ROOT, stage=1, pack=f"results/packs/{TARGET}.h5")
    make_torchvision_importable()
    import timm

    Path("weights").mkdir()
    network = timm.create_model("resnet10t", pretrained=False)
    save_file(network.state_dict(), "weights/resnet.safetensors")
    for backbone in dict.fromkeys(backbone for backbone, _, _ in banks):
        features = f"results/features/{TARGET}/{backbone}.h5"
        spec = study.backbone_spec(backbone)
        run("extract_features", index=index, root=ROOT, weights_dir="weights", spec=spec, stage=1, features=features)
    for backbone, detector, policy in (*banks, ("small", "quick", "everywhere")):
        files = {name: path for name, path in line.sources(backbone, detector, policy).items() if name != "weights"}
        threshold, scores = files.pop("threshold"), files["scores"]
        options = {"features": files["features"], "bank": files["bank"]}
        spec = study.fit_spec(detector)
        run("fit_detector", members="line/casting", splits=split, spec=spec, seed=0, stage=1, **options)
        run("score_images", split=split, spec=study.score_spec(detector), stage=1, scores=scores, **options)
        options = {"scores": scores, "pack": files["pack"], "split": split}
        options["smoothing_sigma"] = study.catalog.evaluation.smoothing_sigma
        run("calibrate_threshold", spec=study.threshold_spec(policy), stage=1, threshold=threshold, **options)


@pytest.fixture(scope="session")
def line(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """All stages up to four thresholds."""
    folder = tmp_path_factory.mktemp("line")
    config = {**yaml.safe_load(STUDY), "catalog": str(repository / "configs" / "catalog.yaml")}
    line = Line(folder, load_study(config, "line.yaml", ids=folder / "ids.json"))
    environment, count = dict(os.environ), torch.get_num_threads()
    torch.manual_seed(0)
    with chdir(folder):
        _run_stages(line, [("small", "quick", "f1_max"), ("small", "top", "normal_p95"), ("resnet", "quick", "f1_max")])
    yield line
    while threads._limits:  # scripts fix the number of threads of their process, which here is that of all tests
        threads._limits.pop().restore_original_limits()
    torch.set_num_threads(count)
    os.environ.clear()
    os.environ.update(environment)


@pytest.fixture(scope="session")
def zoned(line: Line, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same bank with thresholds of pixels and zones."""
    return line.export("small", "quick", "everywhere", tmp_path_factory.mktemp("models") / "zoned.h5")


@pytest.fixture(scope="session")
def model(line: Line, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported model of the scattering backbone and a coreset."""
    return line.export("small", "quick", "f1_max", tmp_path_factory.mktemp("models") / "small.h5")
