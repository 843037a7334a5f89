"""A small finished study, made once for all workers, to be copied and harmed."""

import os
import re
import shlex
from collections.abc import Callable
from contextlib import chdir
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from patchshift.runtime.locks import one_process
from tests.workflow.conftest import Checkout, make_checkout

__all__ = ["make_checkout"]

STUDY = """\
study: harmed
question: What is <i>left</i> of a study <img src=x onerror=alert(1)>?
add:
  datasets:
    harmed:
      adapter: mvtec_ad
      categories: [weave]
      licence: <a href="javascript:alert(3)">free</a>
      generate: {train_good: 5, test_good: 3, test_per_defect: 1}
  splits:
    harmed_split: {protocol: source_plan, train_share: 0.8, val_anomalous_share: 0.3}
  domains:
    turned: {shift: geometric, severity: moderate, seed: 0}
    around_harmed_split: {turns: {split: harmed_split, angles: [90]}}
    drawn_harmed_split: {synthesis: {split: harmed_split, part: val, count: 1}}
  backbones:
    harmed_scattering: {source: scattering, image_size: 64, octaves: 3, orientations: 2, stride: 8, threads: 1}
  detectors:
    harmed_patchcore:
      method: patchcore
      representation: {normalise: standardise}
      sampler: {share: 0.1}
      image_score: {method: max}
      threads: 1
  thresholds:
    harmed_quantile: {policy: normal_quantile, quantile: 0.9}
select:
  splits: [harmed_split]
  backbones: [harmed_scattering]
  detectors: [harmed_patchcore]
  thresholds: [harmed_quantile]
experiments:
  shifted:
    title: Clean bank <script>alert(2)</script> on shifted images
    train: [harmed]
    target_domains: [clean, turned]
"""


@pytest.fixture(scope="session")
def finished(make_checkout: Callable[[Path, str], Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The whole study, from data to report. Never to be changed: all tests copy it."""
    own = tmp_path_factory.getbasetemp()
    base = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    folder, done = base / "harmed/checkout", base / "harmed/done"
    folder.parent.mkdir(exist_ok=True)
    with one_process(base / "harmed.lock", "making the study"):
        if not done.exists():
            run = make_checkout(folder, STUDY).run("--cores", "2", "all")
            assert run.returncode == 0, run.stderr
            done.touch()
    return Checkout(folder)


@pytest.fixture
def checkout(finished: Any, tmp_path: Path) -> Any:
    """A copy of it, of this test alone."""
    return finished.copy(tmp_path / "checkout")


BANK = "harmed/weave/clean/harmed_split/harmed_scattering/harmed_patchcore/seed0"
MORE = """\
inspection: {}
deliverables:
  results.csv: {columns: {category: target_category, auroc: image_auroc}}
"""
"""What adds rules to the study; nothing of it is run."""

WANTED = (
    *("all", "heatmaps", f"results/exports/{BANK}/from/harmed/weave/clean/harmed_quantile.h5"),
    *(f"results/domains/harmed/weave/{domain}" for domain in ("around_harmed_split", "drawn_harmed_split")),
)


@dataclass(frozen=True)
class Stage:
    """A job: its script's arguments, what it reads and writes."""

    folder: Path
    arguments: list[str]
    inputs: list[str]
    outputs: list[str]

    @property
    def size(self) -> int:
        """Bytes of what it writes, where the finished study has it; 0 where it writes several artifacts."""
        path = self.folder / self.outputs[0]
        files = [path, *path.rglob("*")] if len(self.outputs) == 1 else []
        return sum(file.stat().st_size for file in files if file.is_file())

    def run(self, script: str, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Run the script in this process, its outputs on the disk, its inputs those of the finished study."""
        module = import_module(script)
        monkeypatch.setattr(module, "limit_threads", lambda count: None, raising=False)  # it would be that of all tests
        with chdir(self.folder):
            module.main([str(disk / word) if word in self.outputs else word for word in self.arguments])


@pytest.fixture(scope="session")
def stages(finished: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Stage]]:
    """Script -> its jobs, as dry runs of the study print them."""
    config = tmp_path_factory.mktemp("config") / "more.yaml"
    config.write_text((finished.folder / "config.yaml").read_text() + MORE)
    dry = ("--dry-run", "--forceall", "--printshellcmds", *WANTED)
    told = finished.run(*dry).stdout + finished.run(*dry, "--configfile", str(config)).stdout
    found: dict[str, list[Stage]] = {}
    for job in re.split(r"^(?:local)?rule \w+:\n", told, flags=re.MULTILINE)[1:]:
        inputs, outputs = (re.search(rf"^    {kind}: (.+)$", job, re.MULTILINE) for kind in ("input", "output"))
        command = re.search(
            r"^Shell command: python workflow_scripts/(\w+)\.py (.+) > results/logs/", job, re.MULTILINE
        )
        if outputs and command:
            named = [each[1].split(", ") if each else [] for each in (inputs, outputs)]
            stage = Stage(finished.folder, shlex.split(command[2]), *named)
            assert set(stage.outputs) <= set(stage.arguments), command[1]
            found.setdefault(command[1], []).append(stage)
    return found
