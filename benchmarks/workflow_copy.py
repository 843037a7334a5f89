"""A copy of the workflow with a study of its own, for benchmarks that run it whole."""

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARTS = ("Snakefile", "rules", "workflow_scripts", "configs", "envs", "profiles")


def copy_workflow(folder: Path, config: str) -> None:
    """Copy the workflow to a folder, which is made where it is missing, with the config given."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in PARTS:
        source, ignore = ROOT / name, shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, folder / name, ignore=ignore) if source.is_dir() else shutil.copy(source, folder)
    (folder / "config.yaml").write_text(config, encoding="utf-8")
