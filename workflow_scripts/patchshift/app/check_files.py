"""Whether a study's files are there, whole, without an error in the log, and made from each other as they are now.

Tested in tests/workflow/test_closing.py and tests/app/test_check.py.
"""

import io
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from PIL import Image

from patchshift.data.index import read_index
from patchshift.errors import UserError
from patchshift.plan import Study, analyses, exhibits, targets
from patchshift.plan.records import list_artifacts
from patchshift.runtime.files import digest_file, read_json
from patchshift.runtime.manifest import digest_artifact, list_files, measure_artifact, read_manifest
from patchshift.runtime.provenance import read_provenance
from patchshift.runtime.run_log import MARGIN
from patchshift.runtime.sealed import digest_sealed

HANDLED = ("summary.json", "run.log", "manifest.json", "rules.csv")
"""What a run's handlers write, in a study's folder."""

UNPLANNED = ", and the config plans it no more: the next run takes it off the list"

REMEDY = " (if that was meant, run again with --forcerun index_images)"

_ERROR = re.compile(rf"^((?:{re.escape(MARGIN)})?(?:error: |Error in |Traceback |\S+ \S+ ERROR ).*)$", re.MULTILINE)


def check_presence(study: Study) -> tuple[str, list[str], list[str]]:
    """All that a study leaves in its folder is there, and not empty.

    The third result is what has to be made; what handlers write is made by any run.
    """
    made = dict.fromkeys([*targets.list_targets(study), *targets.list_beside(study)])
    wanted = [*made, *(f"{study.folder}/{name}" for name in HANDLED)]
    missing = [path for path in wanted if not Path(path).exists()]
    empty = [path for path in wanted if Path(path).is_file() and not Path(path).stat().st_size]
    problems = [*(f"{path} is missing" for path in missing), *(f"{path} is empty" for path in empty)]
    return f"{len(wanted)} files and folders", problems, [path for path in (*missing, *empty) if path in made]


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


def check_digests(study: Study) -> tuple[str, list[str], list[str]]:
    """Every artifact that the manifest lists is what it was, byte for byte; and it lists what results come from.

    The third result is what has to be made anew: not what the config plans no more, which Snakemake might not know.
    """
    listed, planned = _listed(study), set(list_artifacts(study))

    def compare(path: str) -> tuple[str, bool]:
        """What is wrong with an artifact, and whether it has to be made anew."""
        try:
            if not Path(path).exists():
                return f"{path} is gone", True
            measured, entry = measure_artifact(Path(path)), listed[path]
            changed = measured["size"] != entry["size"] or measured.get("files") != entry.get("files")
            if not changed:
                digest, damage = _digest(Path(path))
                changed = bool(damage) or digest != entry["sha256"]
        except OSError as error:
            return tell_unreadable(path, error), False
        return f"{path} has changed" if changed else "", changed

    with ThreadPoolExecutor(4) as pool:
        found = dict(zip(listed, pool.map(compare, listed), strict=True))
    needed = dict.fromkeys(path for cell in study.all_cells() for path in cell.artifacts)
    unlisted = [path for path in needed if path not in listed]
    problems = [told + ("" if path in planned else UNPLANNED) for path, (told, _) in found.items() if told]
    problems += [f"{path} is not in the manifest" for path in unlisted]
    rebuild = [path for path, (_, stale) in found.items() if stale and path in planned]
    rebuild += [path for path in unlisted if not Path(path).exists()]
    size = sum(entry["size"] for entry in listed.values())
    return f"{len(listed)} artifacts, {size / 1e6:.0f} MB", problems, rebuild


def check_images(study: Study) -> tuple[str, list[str]]:
    """Every image of the study is the one that was indexed, where its folder is here."""
    targets_of = ((*cell.calibrated_on, *cell.bank.members, cell.target) for cell in study.all_cells())
    places = dict.fromkeys((target.dataset, target.category) for each in targets_of for target in each)
    here = [place for place in places if Path(study.image_root(*place)).is_dir()]
    problems: list[str] = []
    count = 0

    def compare(image: tuple[Path, str]) -> str:
        path, digest = image
        try:
            if not path.is_file():
                return f"{path} is gone{REMEDY}"
            return f"{path} changed since it was indexed{REMEDY}" if digest_file(path) != digest else ""
        except OSError as error:
            return tell_unreadable(path, error)

    for place in here:
        root, index = Path(study.image_root(*place)), Path("results/images", place[0], f"{place[1]}.csv")
        images = [(root / row.image, row.digest) for row in read_index(index)]
        with ThreadPoolExecutor(4) as pool:
            problems += filter(None, pool.map(compare, images))
        count += len(images)
    away = f", those of {len(places) - len(here)} categories are not here" if len(here) < len(places) else ""
    return f"{count} images{away}", problems


def check_origins(study: Study) -> tuple[str, list[str], list[str]]:
    """Artifacts recorded the digests of what they were made from: those files are still the same.

    Only what records anything is asked, and only of inputs that are still there; images by their folder's index.
    The third result is what has to be made anew, from what is there now.
    """
    listed, planned, asked = _listed(study), set(list_artifacts(study)), 0
    problems: list[str] = []
    rebuild: list[str] = []
    for path, entry in listed.items():
        if path not in planned or "inputs" not in entry or not Path(path).exists():
            continue
        try:
            recorded = _flatten(read_intact(Path(path)).get("inputs", {}))
        except UserError as error:
            problems.append(str(error))
            rebuild.append(path)
            continue
        except OSError as error:
            problems.append(tell_unreadable(path, error))
            continue
        for source in entry["inputs"] if recorded else []:
            digest = _digest_source(source, listed)
            if digest:
                asked += 1
                if digest not in recorded:
                    problems.append(f"{path} was made from another {source}")
                    rebuild.append(path)
    return f"{asked} inputs", problems, rebuild


def tell_unreadable(path: str | Path, error: OSError) -> str:
    """That a file is there and cannot be read, which is no reason to make it anew."""
    return f"{error.filename or path} cannot be read ({error.strerror or error}); it may be whole: make it readable"


def _listed(study: Study) -> dict[str, dict[str, Any]]:
    path = Path(study.folder, "manifest.json")
    listed = read_manifest(path)
    if not listed:
        raise UserError(f"{path} is missing, damaged or empty: any run of the study writes it anew")
    return listed


def _digest(path: Path) -> tuple[str, str]:
    """The digest of an artifact and, of an HDF5 file that does not fit its seal, what is wrong instead."""
    if path.suffix != ".h5" or path.is_dir():
        return digest_artifact(path), ""
    try:
        return digest_sealed(path), ""
    except ValueError as error:
        return "", str(error)


def read_intact(path: Path) -> dict[str, Any]:
    """What an artifact says about itself; HDF5 does not see a damaged one, in which it might not find its way out.

    Raises:
        UserError: if the file is damaged.
        OSError: if it cannot be read.
    """
    damage = _digest(path)[1] if path.suffix == ".h5" else ""
    if damage:
        raise UserError(f"{path} is damaged ({damage}): delete it and run again to rebuild it")
    return read_provenance(path)


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
