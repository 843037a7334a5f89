"""What the report says about making: ids with settings, artifacts.

Tested in tests/report/test_background.py.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from patchshift.plan.cells import Cell
from patchshift.runtime.files import digest_file
from patchshift.runtime.provenance import read_provenance


@dataclass(frozen=True)
class Artifact:
    """A scores file and what it was made from, by digest (SHA-256, the first 12 of 64 hex digits)."""

    path: str
    digest: str
    made_from: dict[str, str]


@dataclass(frozen=True)
class Making:
    """How the results were made.

    Attributes:
        patchshift: this program's version.
        libraries: distribution -> the versions that scored.
        artifacts: the scores that everything in the report follows from.
    """

    patchshift: str
    libraries: dict[str, str]
    artifacts: list[Artifact]


def describe_making(cells: Sequence[Cell]) -> Making:
    """Read what the scores say about themselves."""
    libraries: dict[str, set[str]] = {}
    artifacts = []
    for path in dict.fromkeys(cell.scores for cell in cells):
        provenance = read_provenance(Path(path))
        for name, number in provenance["libraries"].items():
            libraries.setdefault(name, set()).add(number)
        made_from = {
            role: ", ".join(_short(each) for each in (digests if isinstance(digests, list) else [digests]))
            for role, digests in provenance["inputs"].items()
        }
        artifacts.append(Artifact(path, _short(digest_file(Path(path))), made_from))
    versions = {name: ", ".join(sorted(numbers)) for name, numbers in sorted(libraries.items())}
    return Making(version("patchshift"), versions, artifacts)


def list_settings(provenance: dict[str, object]) -> dict[str, dict[str, str]]:
    """Kind of id -> id -> its settings, one `key: value` per line; only of kinds that are used."""
    return {
        kind: {name: "\n".join(list_lines(settings)) for name, settings in ids.items()}
        for kind, ids in provenance.items()
        if isinstance(ids, dict) and ids and all(isinstance(settings, dict) for settings in ids.values())
    }


def list_lines(settings: Mapping[str, object], indent: str = "") -> list[str]:
    """Settings, one `key: value` per line; what is empty is left out."""
    lines = []
    for key, value in settings.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}:", *list_lines(value, indent + "  ")]
        elif value not in ("", None, []):
            lines.append(f"{indent}{key}: {_show(value)}")
    return lines


def flatten_settings(settings: Mapping[str, object], within: str = "") -> dict[str, str]:
    """Settings as `outer.inner` -> value; what is empty is left out."""
    flat: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            flat |= flatten_settings(value, f"{within}{key}.")
        elif value not in ("", None, []):
            flat[f"{within}{key}"] = _show(value)
    return flat


def _show(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _short(digest: str) -> str:
    return digest[:12]
