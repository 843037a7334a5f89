"""A copy of the workflow to run `snakemake` in, as a user would, and a study small enough to run in a test."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

import pytest

from patchshift.app.main import main
from patchshift.runtime.locks import one_process

ROOT = Path(__file__).parents[1]
PATIENCE = 1200  # seconds: what hangs for good, not what is slow on a busy machine
PARTS = ["Snakefile", "rules", "workflow_scripts", "configs", "envs", "profiles"]

TINY_STUDY = """\
study: tiny
question: Does <i>everything</i> fit together, even <img src=x onerror=alert(1)>?
add:
  datasets:
    tiny:
      adapter: mvtec_ad
      categories: [weave]
      licence: <a href="javascript:alert(3)">free</a>
      generate: {train_good: 5, test_good: 3, test_per_defect: 1}
  splits:
    tiny_split: {protocol: source_plan, train_share: 0.8, val_anomalous_share: 0.3}
  domains:
    turned: {shift: geometric, severity: moderate, seed: 0}
  backbones:
    tiny_scattering: {source: scattering, image_size: 64, octaves: 3, orientations: 2, stride: 8, threads: 1}
  detectors:
    tiny_patchcore:
      method: patchcore
      representation: {normalise: standardise}
      sampler: {share: 0.1}
      image_score: {method: max}
      threads: 1
  thresholds:
    tiny_quantile: {policy: normal_quantile, quantile: 0.9}
select:
  splits: [tiny_split]
  backbones: [tiny_scattering]
  detectors: [tiny_patchcore]
  thresholds: [tiny_quantile]
experiments:
  shifted:
    title: Clean bank <script>alert(2)</script> on shifted images
    train: [tiny]
    target_domains: [clean, turned]
"""
"""Its free text is markup, for tests/faults/test_names.py."""


@dataclass(frozen=True)
class Checkout:
    """A copy of the workflow with a study of its own."""

    folder: Path

    def start(self, *arguments: str, **options: bool) -> subprocess.Popen[str]:
        program = str(Path(sys.executable).with_name("snakemake"))
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        own = {"PATH": path, "PYTHONPATH": str(self.folder / "workflow_scripts"), "NO_PROXY": "*"}
        own["PYTHONDONTWRITEBYTECODE"] = ""  # else each job compiles the library anew
        return subprocess.Popen([program, *arguments], cwd=self.folder, env=os.environ | own, text=True, **options)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        out, error = Path(f"{self.folder}.out"), Path(f"{self.folder}.error")
        with out.open("w") as seen, error.open("w") as told:
            program = self.start(*arguments, stdout=seen, stderr=told)
            code = program.wait(PATIENCE)
        return subprocess.CompletedProcess(program.args, code, out.read_text(), error.read_text())

    def plan(self, *targets: str) -> set[tuple[str, str]]:
        """Rule and first output of the jobs that a run would start, from a dry run."""
        output = self.run("--dry-run", *targets or ("all",)).stdout
        jobs = re.findall(r"^(?:local)?rule ([\w.-]+):\n(?:    \w+:.*\n)*?    output: ([^\s,]+)", output, re.MULTILINE)
        assert jobs or "Nothing to be done" in output, output
        return set(jobs)

    def plan_rules(self, *targets: str) -> set[str]:
        return {rule for rule, _ in self.plan(*targets)}

    def plan_command(self, command: str) -> set[tuple[str, str]]:
        """The same of a command as it is pasted into a shell; of several calls of Snakemake of the last one."""
        shell = f"""snakemake() {{ printf '%s\\n' "$@"; }}; {command.rpartition(" && ")[2]}"""
        words = subprocess.run(["bash", "-c", shell], cwd=self.folder, capture_output=True, text=True, check=True)
        return self.plan(*words.stdout.splitlines())

    def plan_what_check_tells(self, capsys: pytest.CaptureFixture[str]) -> set[tuple[str, str]]:
        """The jobs of the command that `patchshift check tiny` ends with, which has to find something."""
        with chdir(self.folder):
            assert main(["check", "tiny"]) == 1
        return self.plan_command(capsys.readouterr().out.splitlines()[-1])

    def copy_without_records(self, folder: Path) -> "Checkout":
        """A copy as it is on another machine: nothing of Snakemake's."""
        copied = self.copy(folder)
        shutil.rmtree(copied.folder / ".snakemake")
        return copied

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text()
        assert text.count(old) == 1, f"{file}: {old}"
        path.write_text(text.replace(old, new))

    def copy(self, folder: Path) -> "Checkout":
        """The same with all results, to damage; times are kept."""
        shutil.copytree(self.folder, folder)
        return Checkout(folder)


def copy_workflow(folder: Path, study: str) -> Checkout:
    """Copy the workflow to a new folder, with the study given as config.yaml."""
    folder.mkdir()
    for part in PARTS:
        source, ignore = ROOT / part, shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, folder / part, ignore=ignore) if source.is_dir() else shutil.copy(source, folder)
    (folder / "config.yaml").write_text(study)
    return Checkout(folder)


@pytest.fixture(scope="session")
def make_checkout() -> Callable[[Path, str], Checkout]:
    return copy_workflow


@pytest.fixture(scope="session")
def finished_tiny(make_checkout: Callable[[Path, str], Checkout], tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The tiny study, run to its report on two cores; tests that change anything take a copy.

    It is run once, also where several processes share the tests.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with one_process(folder / "tiny.lock", "running the tiny study"):
        if not (folder / "tiny.done").exists():
            run = make_checkout(folder / "tiny", TINY_STUDY).run("--cores", "2", "all")
            assert run.returncode == 0, run.stderr
            assert "Report: results/studies/tiny/report.html" in run.stdout
            (folder / "tiny.done").touch()
    return Checkout(folder / "tiny")
