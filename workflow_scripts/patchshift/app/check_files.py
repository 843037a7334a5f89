"""Whether a study's files are there, whole, without an error in the log, and made from each other as they are now.

Tested in tests/workflow/test_closing.py and tests/app/test_check.py.
"""

import io
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from PIL import Image

from patchshift.errors import UserError
from patchshift.plan import Study, analyses, exhibits, external, stage_version, targets
from patchshift.plan.cells import Cell
from patchshift.runtime.files import digest_file, read_json
from patchshift.runtime.manifest import digest_artifact, list_files, measure_artifact, read_manifest
from patchshift.runtime.provenance import read_provenance
from patchshift.runtime.run_log import MARGIN

HANDLED = ("summary.json", "run.log", "manifest.json", "rules.csv")
"""What a run's handlers write, in a study's folder."""

_ERROR = re.compile(rf"^((?:{re.escape(MARGIN)})?(?:error: |Error in |Traceback |\S+ \S+ ERROR ).*)$", re.MULTILINE)

Planned = tuple[str, str, str]
"""Path of an artifact, its stage, and the spec that it should have been made with."""


def check_presence(study: Study) -> tuple[str, list[str]]:
    """All that a study leaves in its folder is there, and not empty."""
    folder = study.folder
    wanted = [
        *targets.list_targets(study),
        *(f"{folder}/experiments/{name}/costs.csv" for name in study.cells),
        *(f"{folder}/{name}" for name in ("results.txt", *HANDLED)),
    ]
    wanted = list(dict.fromkeys(wanted))
    problems = [f"{path} is missing" for path in wanted if not Path(path).exists()]
    problems += [f"{path} is empty" for path in wanted if Path(path).is_file() and not Path(path).stat().st_size]
    return f"{len(wanted)} files and folders", problems


def check_figures(study: Study) -> tuple[str, list[str]]:
    """Every figure opens as what its name says, and those of the figure folders have their numbers beside them."""
    folders = [Path(folder) for folder in analyses.list_figure_folders(study)]
    drawn = [file for folder in folders if folder.is_dir() for file in list_files(folder)]
    shown = [Path(path) for path in exhibits.list_figures(study) if path.endswith((".png", ".svg"))]
    problems = []
    for path in (*drawn, *shown):
        try:
            _open_figure(path)
        except (OSError, ElementTree.ParseError, SyntaxError, ValueError, UserError) as error:
            problems.append(f"{path} cannot be opened: {error}")
    for path in drawn:
        lacking = [suffix for suffix in (".png", ".svg", ".csv") if not path.with_suffix(suffix).exists()]
        if lacking and path.suffix == ".png":
            problems.append(f"{path} has no {' and no '.join(lacking)} beside it")
    problems += [f"{folder} has no figure" for folder in folders[:-1] if folder.is_dir() and not list_files(folder)]
    return f"{sum(path.suffix == '.png' for path in (*drawn, *shown))} figures", problems


def check_run(study: Study) -> tuple[str, list[str]]:
    """The last run finished every experiment that it was to make, and its log has no error."""
    summary = read_json(Path(study.folder, "summary.json"))
    problems = []
    if summary["status"] != "finished":
        reason = f": {summary['reason']}" if summary.get("reason") else ""
        problems.append(f"the run of {summary['execution_timestamp']} is '{summary['status']}'{reason}")
    problems += [
        f"experiment {each['name']}: {each['status']}"
        for each in summary["experiments"]
        if each["status"] != "finished"
    ]
    problems += [f"{job['rule']} failed: {job['reason']} ({job['output']})" for job in summary.get("failed_jobs", [])]
    log = Path(study.folder, "run.log")
    if not log.is_file():
        raise UserError(f"{log} does not exist: run the study again")
    errors = _ERROR.findall(log.read_text(encoding="utf-8", errors="replace"))
    problems += [f"{log}: {line.removeprefix(MARGIN)}" for line in dict.fromkeys(errors)]
    return f"run of {summary['execution_timestamp']}", problems


def check_digests(study: Study) -> tuple[str, list[str]]:
    """Every artifact that the manifest lists is what it was, byte for byte; and it lists what results come from."""
    listed = _listed(study)

    def compare(path: str) -> str:
        if not Path(path).exists():
            return f"{path} is gone"
        measured, entry = measure_artifact(Path(path)), listed[path]
        changed = measured["size"] != entry["size"] or measured.get("files") != entry.get("files")
        return f"{path} has changed" if changed or digest_artifact(Path(path)) != entry["sha256"] else ""

    with ThreadPoolExecutor(4) as pool:
        problems = list(filter(None, pool.map(compare, listed)))
    needed = dict.fromkeys(path for cell in study.all_cells() for path in cell.artifacts)
    problems += [f"{path} is not in the manifest" for path in needed if path not in listed]
    size = sum(entry["size"] for entry in listed.values())
    return f"{len(listed)} artifacts, {size / 1e6:.0f} MB", problems


def check_origins(study: Study) -> tuple[str, list[str]]:
    """Artifacts recorded the digests of what they were made from: those files are still the same.

    Only what records anything is asked, and only of inputs that are still there; images by their folder's index.
    """
    listed, problems, asked = _listed(study), [], 0
    for path, entry in listed.items():
        if "inputs" not in entry or not Path(path).exists():
            continue
        try:
            recorded = _flatten(read_provenance(Path(path)).get("inputs", {}))
        except UserError as error:
            problems.append(str(error))
            continue
        for source in entry["inputs"] if recorded else []:
            digest = _digest_source(source, listed)
            if digest:
                asked += 1
                problems += [] if digest in recorded else [f"{path} was made from another {source}"]
    return f"{asked} inputs", problems


def check_settings(study: Study) -> tuple[str, list[str]]:
    """What results come from was made with the settings that the config has now, and by the code that is here now."""
    stale: dict[tuple[str, str], list[str]] = {}
    problems = []
    planned = dict.fromkeys(each for cell in study.all_cells() for each in _plan_settings(study, cell))
    for path, stage, spec in planned:
        if not Path(path).exists():
            continue  # told by another check
        try:
            made = read_provenance(Path(path))
        except UserError as error:
            problems.append(str(error))
            continue
        if made.get("stage") != stage or made.get("spec") != json.loads(spec):
            stale.setdefault((stage, "with other settings"), []).append(path)
        elif made.get("version") != stage_version(stage):
            stale.setdefault((stage, "by other code"), []).append(path)
    problems += [
        f"{stage}: {len(paths)} made {how}, such as {paths[0]} (a dry run with the study's config says what runs again)"
        for (stage, how), paths in stale.items()
    ]
    return f"{len(planned)} artifacts", problems


def _plan_settings(study: Study, cell: Cell) -> Iterator[Planned]:
    bank, evaluation = cell.bank, study.evaluation_spec()
    scored = [cell.target, *cell.calibrated_on]
    if bank.is_fitted:
        features = study.backbone_spec(bank.backbone)
        for target in (*scored, *bank.fitted_on):
            yield f"results/features/{target.path}/{bank.backbone}.h5", "extract_features", features
        yield f"results/banks/{bank.path}.h5", "fit_detector", study.fit_spec(bank.detector)
        scoring = "score_images", study.score_spec(bank.detector)
    else:
        scoring = "import_scores", external.import_spec(study, bank.detector)
    for target in scored:
        yield f"results/scores/{bank.path}/on/{target.path}.h5", *scoring
    yield cell.pack, "pack_images", "null"
    yield cell.threshold_file, "calibrate_threshold", study.threshold_spec(cell.threshold)
    yield cell.metrics, "evaluate", evaluation
    yield cell.decisions, "decide", evaluation


def _listed(study: Study) -> dict[str, dict[str, Any]]:
    path = Path(study.folder, "manifest.json")
    listed = read_manifest(path)
    if not listed:
        raise UserError(f"{path} is missing, damaged or empty: any run of the study writes it anew")
    return listed


def _digest_source(source: str, listed: dict[str, dict[str, Any]]) -> str | None:
    """The digest by which an artifact knows an input; None of what is gone, and of folders without an index."""
    if Path(source).is_dir():
        index = Path(source, "index.csv")
        return digest_file(index) if index.is_file() else None
    return listed[source]["sha256"] if source in listed else None


def _flatten(recorded: dict[str, Any]) -> set[str]:
    return {each for digests in recorded.values() for each in ([digests] if isinstance(digests, str) else digests)}


def _open_figure(path: Path) -> None:
    content = path.read_bytes()
    if path.suffix == ".png":
        Image.open(io.BytesIO(content)).load()
    elif path.suffix == ".svg":
        ElementTree.fromstring(content)
    elif not content:
        raise UserError("it is empty")
