"""The tiny study, to be copied and harmed, and its jobs one by one, with those of every stage that it does without."""

import re
import shlex
import shutil
from collections.abc import Mapping
from contextlib import chdir
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from patchshift.data.index import read_index


@pytest.fixture
def checkout(finished_tiny: Any, tmp_path: Path) -> Any:
    """A copy of it, of this test alone."""
    return finished_tiny.copy(tmp_path / "checkout")


PLACE = "tiny/weave/clean/tiny_split/tiny_scattering"
OWN = ("all", "heatmaps", f"results/exports/{PLACE}/tiny_patchcore/seed0/from/tiny/weave/clean/tiny_quantile.h5")
"""Targets of the tiny study."""

MORE = """\
study: more
predict_on: new
inspection: {backbones: [attentive], patches: 50, resamples: 20}
deliverables:
  results.csv: {experiments: [shifted], columns: {category: target_category, auroc: image_auroc}}
add:
  domains:
    around_tiny_split: {turns: {split: tiny_split, angles: [90]}}
    drawn_tiny_split: {synthesis: {split: tiny_split, part: val, count: 1}}
    crops_tiny_split: {crops: {split: tiny_split, crops_path: own}}
  backbones:
    parts: {source: scattering, image_size: 64, octaves: 2, orientations: 2, stride: 8, threads: 1, shards: 2}
    attentive: {source: timm, model: test_vit, weights: random, layers: [1, 3], image_size: 64, threads: 1}
  detectors:
    shared: {method: patchcore, representation: {normalise: standardise}, sampler: {count: 20}, shards: 2, threads: 1}
    other: {method: external, folder: scores}
  pools:
    pooled: [tiny/weave]
experiments:
  together: {title: A pool and its member, train: [pools/pooled, tiny], backbones: [attentive]}
"""
"""What adds all other stages to the study. Of them only the jobs are run that make what a test needs."""

OTHERS = (
    *(f"results/domains/tiny/weave/{kind}_tiny_split" for kind in ("around", "drawn", "crops")),
    "results/features/tiny/weave/clean/parts.h5",
    f"results/banks/{PLACE}/shared/seed0.h5",
    f"results/scores/{PLACE}/other/seed0/on/tiny/weave/clean.h5",
    f"results/predicted/{PLACE}/tiny_patchcore/seed0/from/tiny/weave/clean/tiny_quantile",
    *(f"results/studies/more/inspections/tiny/weave/attentive/{name}.png" for name in ("patch_map", "attention")),
    *(f"results/studies/more/{name}" for name in ("distances.csv", "deliverables/results.csv")),
    "results/studies/more/experiments/together/pools.csv",
)


@dataclass(frozen=True)
class Stage:
    """A job: its script and arguments, what it reads and writes.

    Attributes:
        folder: the study's.
        makers: artifact -> the job that makes it.
    """

    folder: Path
    script: str
    arguments: list[str]
    inputs: list[str]
    outputs: list[str]
    makers: Mapping[str, "Stage"]

    @property
    def size(self) -> int:
        """Bytes of what it writes, where the study has it; 0 where it writes several artifacts."""
        path = self.folder / self.outputs[0]
        files = [path, *path.rglob("*")] if len(self.outputs) == 1 else []
        return sum(file.stat().st_size for file in files if file.is_file())

    def prepare(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make the inputs that are missing."""
        for path in self.inputs:
            if not (self.folder / path).exists():
                self.makers[path].prepare(monkeypatch)
                self.makers[path].run(self.folder, monkeypatch)

    def run(self, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Run the script in this process, its outputs on the disk, its inputs those of the study."""
        module = import_module(self.script)
        monkeypatch.setattr(module, "limit_threads", lambda count: None, raising=False)  # it would be that of all tests
        with chdir(self.folder):
            module.main([str(disk / word) if word in self.outputs else word for word in self.arguments])


@pytest.fixture(scope="session")
def stages(finished_tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Stage]]:
    """Script -> its jobs, as dry runs print them: first those of the tiny study. All share a copy of it."""
    checkout = finished_tiny.copy(tmp_path_factory.mktemp("stages") / "checkout")
    bring_data(checkout.folder)
    (checkout.folder / "more.yaml").write_text(MORE)
    dry = ("--dry-run", "--forceall", "--printshellcmds")
    told = [checkout.run(*dry, *OWN), checkout.run(*dry, *OTHERS, "--configfile", "config.yaml", "more.yaml")]
    assert [run.returncode for run in told] == [0, 0], told[1].stdout + told[1].stderr
    found: dict[str, list[Stage]] = {}
    makers: dict[str, Stage] = {}
    for job in re.split(r"^(?:local)?rule \w+:\n", "".join(run.stdout for run in told), flags=re.MULTILINE)[1:]:
        inputs, outputs = (re.search(rf"^    {kind}: (.+)$", job, re.MULTILINE) for kind in ("input", "output"))
        command = re.search(
            r"^Shell command: python workflow_scripts/(\w+)\.py (.+) > results/logs/", job, re.MULTILINE
        )
        if outputs and command:
            named = [re.sub(r" \(\w.*?\)", "", each[1]).split(", ") if each else [] for each in (inputs, outputs)]
            stage = Stage(checkout.folder, command[1], shlex.split(command[2]), *named, makers)
            assert set(stage.outputs) <= set(stage.arguments), stage.script
            found.setdefault(stage.script, []).append(stage)
            for path in stage.outputs:
                makers.setdefault(path, stage)
    return found


def bring_data(folder: Path) -> None:
    """What a study is given beside its images: another method's scores, an image to predict, a crop of a defect."""
    table = folder / "data/scores/tiny/weave/clean.csv"
    table.parent.mkdir(parents=True)
    rows = read_index(folder / "results/images/tiny/weave.csv")
    table.write_text("\n".join(["image,score", *(f"{row.key},{row.label}" for row in rows), ""]))
    for name in ("new", "own"):
        (folder / "data" / name).mkdir()
        shutil.copy(folder / "results/datasets/tiny/weave/train/good/000.png", folder / "data" / name)
