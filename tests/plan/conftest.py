"""A small catalog and study in a folder of their own; tests change the dicts, then load."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from patchshift.errors import UserError
from patchshift.plan import Study, load_study

CATALOG = """
datasets:
  parts: {adapter: mvtec_ad, categories: [bolt, nut], address: https://example.org/parts}
  cloth: {adapter: mvtec_ad, categories: [weave]}
pools:
  metal: [parts]
  mixed: [parts/bolt, cloth]
splits:
  plan: {protocol: source_plan, train_share: 0.8, val_anomalous_share: 0.3}
  published: {protocol: published}
domains:
  clean: {shift: none}
  dim: {shift: photometric, severity: moderate, seed: 0}
  turned: {shift: geometric, severity: moderate, seed: 0}
backbones:
  waves: {source: scattering, image_size: 64, octaves: 3, stride: 8}
  resnet: {source: torchvision, model: resnet18, weights: resnet.safetensors, layers: [layer2, layer3]}
detectors:
  plain: {method: patchcore, sampler: {method: greedy, share: 0.1}}
  top: {method: patchcore, sampler: {method: greedy, share: 0.1}, image_score: {method: top_share, share: 0.01}}
  logged: {method: patchcore, representation: {logarithm: [first_order]}, sampler: {method: greedy, share: 0.1}}
thresholds:
  f1_max: {policy: f1_max}
evaluation: {smoothing_sigma: 4.0}
"""

STUDY = """
study: trial
question: Does it work?
select: {splits: [plan], backbones: [waves], detectors: [plain], thresholds: [f1_max], seeds: [0]}
experiments:
  clean: {title: In domain, train: [parts]}
"""


@pytest.fixture
def catalog() -> dict[str, Any]:
    return yaml.safe_load(CATALOG)


@pytest.fixture
def study() -> dict[str, Any]:
    return yaml.safe_load(STUDY)


@pytest.fixture
def load(
    catalog: dict[str, Any], study: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Study]:
    """Load the study as it now is, against the catalog as it now is, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def load() -> Study:
        Path("configs").mkdir(exist_ok=True)
        Path("configs/catalog.yaml").write_text(yaml.safe_dump(catalog))
        return load_study(study, "study.yaml")

    return load


@pytest.fixture
def mistakes(load: Callable[[], Study]) -> Callable[[], list[str]]:
    """The lines of the message with which loading fails, without the first, which counts them."""

    def find() -> list[str]:
        with pytest.raises(UserError) as caught:
            load()
        head, *lines = [line.strip() for line in str(caught.value).split("\n")]
        assert head == f"{len(lines)} mistake{'s' * (len(lines) > 1)} in the config:"
        return lines

    return find
