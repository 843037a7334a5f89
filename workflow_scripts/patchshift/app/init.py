"""Look at a folder of images and write a study for it.

Tested in tests/app/test_init.py.
"""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from patchshift.app.advice import Advice, Findings, advise, examine
from patchshift.app.layouts import OWN_LIST, Layout, folder_id, recognise
from patchshift.data.adapters import list_images, require_masks
from patchshift.data.adapters.tree import name_some
from patchshift.errors import UserError
from patchshift.plan import load_study, read_yaml
from patchshift.runtime.files import atomic_path, write_text

CATALOG = Path("configs/catalog.yaml")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("folder", type=Path, help="folder with your images (layouts: docs/data.md)")
    parser.add_argument("--name", help="the study's name; default: the folder's")
    parser.add_argument("--config", type=Path, help="file to write; default: configs/NAME.yaml")
    parser.add_argument("--overwrite", action="store_true", help="replace a config that is there")


def run(args: argparse.Namespace) -> None:
    """Write the study, and say what was found and what to do next. What is refused leaves no file behind.

    Raises:
        UserError: if the layout is not known, images cannot be read, or the config exists.
    """
    if not CATALOG.is_file():
        raise UserError(f"{CATALOG} is not here: run this in the folder of patchshift's Snakefile")
    folder = args.folder.expanduser().resolve()
    name = folder_id(args.name or folder.name)
    config = args.config or Path("configs") / f"{name}.yaml"
    if config.exists() and not args.overwrite:
        raise UserError(f"{config} exists: choose another --name or --config, or replace it with --overwrite")
    with _as_it_was_if_refused(folder / OWN_LIST):
        layout = recognise(folder)
        findings = {}
        for category in layout.categories:
            root = layout.root(category)
            rows = list_images(root, layout.adapter, manifest=layout.manifest)
            require_masks(rows, root, name, required=False)  # none at all are accepted, some are not
            findings[category] = examine(rows, root)
        advice = advise(findings)
        text = write_study(name, layout, findings, advice)
        _require_plan(text, config)
        write_text(config, text)
    print("\n".join([*_describe(layout, findings), *(f"note: {line}" for line in _warnings(layout, advice))]))
    print(f"\nWrote {config}. Run it:\n\n  snakemake --cores {os.cpu_count() or 2} --configfile {config} all")


def write_study(name: str, layout: Layout, findings: dict[str, Findings], advice: Advice) -> str:
    """The text of the config, with a reason beside each choice."""
    dataset = name if name not in read_yaml(CATALOG)["datasets"] else f"{name}_own"
    larger = advice.image_size != 224
    backbone = f"scattering_{advice.image_size}" if larger else "scattering"
    lines = [
        f"# Written by `patchshift init`: {layout.data_dir / layout.folder}, recognised by {layout.reason}.",
        *(f"# {line}" for line in _describe(layout, findings)),
        *(f"# Note: {line}." for line in _warnings(layout, advice)),
        f"study: {_id(name)}",
        "question: >-",
        "  Which image score finds the defects of my images, and what is left of it when light or pose change?",
        "",
        f"data_dir: {_quoted(str(layout.data_dir))}",
        "",
        "add:",
        "  datasets:",
        f"    {_id(dataset)}:",
        *(f"      {key}: {_quoted(value)}" for key, value in layout.settings.items()),
        f"      masks: {advice.masks}  # {advice.reasons['masks']}",
    ]
    if larger:
        settings = f"{{source: scattering, image_size: {advice.image_size}, octaves: 4, orientations: 4, stride: 8}}"
        lines += ["  backbones:", f"    {backbone}: {settings}"]
    lines += [
        "",
        "select:",
        f"  # {advice.reasons['splits']}",
        f"  splits: [{', '.join(advice.splits)}]",
        f"  # {advice.reasons['backbones']}",
        f"  backbones: [{backbone}]  # needs no weights; pretrained networks: docs/backbones.md",
        "  # the largest patch distance, and the mean of the largest hundredth",
        "  detectors: [patchcore_whitened, patchcore_whitened_top]",
        f"  # {advice.reasons['thresholds']}",
        f"  thresholds: [{', '.join(advice.thresholds)}]",
        "",
        "experiments:",
        "  clean:",
        '    title: "In domain: my images as they are"',
        f"    train: [{_id(dataset)}]",
        "  other_light:",
        '    title: "Another light and camera, nothing adapted"',
        f"    train: [{_id(dataset)}]",
        "    target_domains: [photometric_moderate]",
        "  other_pose:",
        '    title: "Another pose, nothing adapted"',
        f"    train: [{_id(dataset)}]",
        "    target_domains: [geometric_moderate]",
        "",
    ]
    return "\n".join(lines)


def _require_plan(text: str, config: Path) -> None:
    """Refuse a text of `config` that does not plan, before it is written."""
    with TemporaryDirectory() as folder:
        draft = Path(folder) / config.name
        draft.write_text(text, encoding="utf-8")
        load_study(read_yaml(draft), str(config))


@contextmanager
def _as_it_was_if_refused(path: Path) -> Iterator[None]:
    """Give a file the content it had, or none, if the block fails."""
    before = _content(path)
    try:
        yield
    except BaseException:
        if before is None:
            if _content(path) is not None:
                path.unlink()
        elif before != _content(path):
            with atomic_path(path) as partial:
                partial.write_bytes(before)
        raise


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _warnings(layout: Layout, advice: Advice) -> list[str]:
    if not layout.left_out:
        return advice.warnings
    places = " ".join(name_some(layout.left_out).split())
    return [f"the images in {places} are left out: their layout is none that is known (docs/data.md)", *advice.warnings]


def _describe(layout: Layout, findings: dict[str, Findings]) -> list[str]:
    lines = []
    for category, found in findings.items():
        defects = ", ".join(f"{count} {defect}" for defect, count in found.defects.items()) or "none"
        masks = f", {found.with_mask} with a mask" if found.with_mask else ""
        parts = "; train and test as the dataset has them" if found.official else ""
        lines.append(f"{category}: {found.good} good images, {found.defective} defective ({defects}{masks}){parts}")
    return [" ".join(line.split()) for line in (f"layout {layout.adapter} ({layout.reason})", *lines)]


def _id(name: str) -> str:
    """An id as YAML: in quotes only where it would be read as something else than text, such as `01` or `no`."""
    return str(yaml.safe_dump(name)).splitlines()[0]


def _quoted(value: object) -> str:
    """A value as YAML: text in quotes, so that names like `01` or `no` stay text."""
    if isinstance(value, list):
        return f"[{', '.join(map(_quoted, value))}]"
    return "'" + str(value).replace("'", "''") + "'"
