"""What a study consists of: `manifest.json`, every artifact with its size and digest.

Written by Snakemake's handlers, so it imports nothing heavy, and must not take long: what has not changed since the
last manifest is not read again, and of a large file the digest is taken that a later artifact recorded of it.
Tested in tests/runtime/test_manifest.py.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from patchshift.errors import UserError
from patchshift.runtime.files import digest_file, read_json, write_json
from patchshift.runtime.jobs import ALL, Job
from patchshift.runtime.provenance import read_provenance

RESULTS = "results/"
LARGE = 16_000_000
"""Bytes from which a digest is rather looked up in the artifacts that were made from a file."""

Entry = dict[str, Any]
"""`stage`, `size`, `mtime_ns`, `sha256`; `files` of a folder; `benchmark`; `inputs` of what records their digests."""


def update_manifest(path: Path, jobs: Iterable[Job]) -> dict[str, Entry]:
    """Write the manifest of a study after a run.

    A run for everything lists what its jobs make; a run for a part keeps what was listed before and is still there.

    Args:
        path: of the manifest.
        jobs: of the run.

    Returns:
        Path of each artifact that is there -> what the manifest says of it.
    """
    jobs = list(jobs)
    makers = {made: job for job in jobs for made in job.outputs if made.startswith(RESULTS) and Path(made).exists()}
    earlier = read_manifest(path)
    kept = {} if any(job.stage == ALL for job in jobs) else {name: earlier[name] for name in earlier.keys() - makers}
    consumers = _list_consumers(jobs)

    def describe(name: str) -> Entry:
        return _describe(name, makers[name], earlier.get(name, {}), consumers.get(name, []))

    with ThreadPoolExecutor(4) as pool:  # digesting leaves Python's lock
        made = dict(zip(makers, pool.map(describe, makers), strict=True))
    entries = made | {name: entry for name, entry in kept.items() if Path(name).exists()}
    write_json(path, {"artifacts": entries})
    return entries


def read_manifest(path: Path) -> dict[str, Entry]:
    """Path of each artifact -> what the manifest says of it; empty where there is no manifest, or it is damaged."""
    try:
        entries: dict[str, Entry] = read_json(path)["artifacts"] if path.exists() else {}
    except (UserError, KeyError, TypeError):  # it is written anew after every run
        return {}
    return entries


def measure_artifact(path: Path) -> Entry:
    """How large a file or a folder is, and when it last changed: `size` in bytes, `mtime_ns`, of a folder also `files`.

    Raises:
        UserError: if it is not there.
    """
    if path.is_dir():
        times = [file.stat() for file in list_files(path)]
        return {
            "files": len(times),
            "size": sum(each.st_size for each in times),
            "mtime_ns": max((each.st_mtime_ns for each in times), default=0),
        }
    if not path.exists():
        raise UserError(f"{path} does not exist: run again to make it")
    return {"size": path.stat().st_size, "mtime_ns": path.stat().st_mtime_ns}


def digest_artifact(path: Path) -> str:
    """SHA-256 of a file; of a folder that of its list of files, one line `{sha256}  {path in the folder}` for each."""
    if not path.is_dir():
        return digest_file(path)
    lines = [f"{digest_file(file)}  {file.relative_to(path).as_posix()}\n" for file in list_files(path)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def list_files(folder: Path) -> list[Path]:
    """The files in a folder and below it, sorted; without hidden ones, such as Snakemake leaves."""
    found = [Path(place, name) for place, _, names in os.walk(folder) for name in names if not name.startswith(".")]
    return sorted(found)


def _describe(name: str, maker: Job, earlier: Mapping[str, Any], consumers: list[tuple[Job, str, int]]) -> Entry:
    path = Path(name)
    measured = measure_artifact(path)
    if all(earlier.get(key) == value for key, value in measured.items()) and "sha256" in earlier:
        digest = earlier["sha256"]
    else:
        digest = _look_up(path, measured, consumers) or digest_artifact(path)
    described: Entry = {"stage": maker.stage, **measured, "sha256": digest}
    if maker.benchmark:
        described["benchmark"] = maker.benchmark
    if path.suffix in (".h5", ".json"):
        described["inputs"] = maker.inputs_of(name)
    return described


def _list_consumers(jobs: Iterable[Job]) -> dict[str, list[tuple[Job, str, int]]]:
    """Path of an input -> the jobs that read it, each with the input's role and its place among those of the role."""
    found: dict[str, list[tuple[Job, str, int]]] = {}
    for job in jobs:
        for role, paths in job.inputs.items():
            for place, path in enumerate(paths):
                found.setdefault(path, []).append((job, role, place))
    return found


def _look_up(path: Path, measured: Mapping[str, Any], consumers: Iterable[tuple[Job, str, int]]) -> str | None:
    """The digest that an artifact recorded of a large file that it was made from, and that is older than it."""
    if path.is_dir() or measured["size"] < LARGE:
        return None
    for job, role, place in consumers:
        for made in map(Path, job.outputs):
            if made.is_file() and made.stat().st_mtime_ns > measured["mtime_ns"]:
                try:
                    recorded = read_provenance(made).get("inputs", {}).get(role, [])
                except UserError:  # damaged: `patchshift check` says so
                    continue
                digests = [recorded] if isinstance(recorded, str) else recorded
                if place < len(digests):
                    return str(digests[place])
    return None
