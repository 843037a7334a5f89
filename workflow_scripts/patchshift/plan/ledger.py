"""Which sources a costly stage was last seen with: a fingerprint beside each number of `VERSIONS`.

A number is raised by hand when results change (`plan.stages`). The ledger notices an edit that forgot it: a fingerprint
covers a stage's script and all modules of the library that it imports, directly or not. Comments, docstrings and format
do not count.

Usage: python -m patchshift.plan.ledger
It writes the ledger anew: what costly stages make has not changed by a byte, or their numbers were raised.
Tested in tests/plan/test_ledger.py, which fails when the ledger and the sources differ.
"""

import ast
import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TypedDict

from patchshift.plan import stages

LEDGER = Path(__file__).parents[3] / "tests" / "plan" / "stage_sources.json"

ACCEPT = "python -m patchshift.plan.ledger"


class Ledger(TypedDict):
    """Stage -> `version` and the fingerprint of its `sources`; module -> the digest of what it says."""

    stages: dict[str, dict[str, str]]
    modules: dict[str, str]


def list_sources(stage: str) -> list[Path]:
    """A stage's script and the modules of the library that it imports, directly or not, and anywhere in their text."""
    scripts = stages.LIBRARY.parent
    left = [scripts / f"{stage}.py"]
    seen = set(left)
    while left:
        path = left.pop()
        names = _imported(path, path.stat().st_mtime_ns)
        new = {found for name in names for found in _find_files(scripts, name)} - seen
        seen |= new
        left += new
    return sorted(seen)


def digest_modules(stage: str) -> dict[str, str]:
    """Each of a stage's sources -> 12 hex digits of what it says, comments, docstrings and format aside."""
    scripts = stages.LIBRARY.parent
    return {
        path.relative_to(scripts).as_posix(): _digest(path, path.stat().st_mtime_ns) for path in list_sources(stage)
    }


def describe_stages() -> Ledger:
    """The ledger as the sources are now."""
    digests = {stage: digest_modules(stage) for stage in stages.VERSIONS}
    return {
        "stages": {
            stage: {"version": str(stages.VERSIONS[stage]), "sources": _fingerprint(modules)}
            for stage, modules in digests.items()
        },
        "modules": {name: digest for modules in digests.values() for name, digest in modules.items()},
    }


def find_changes(recorded: Ledger) -> list[str]:
    """What the ledger does not know yet, one line for each stage, with what to do; empty where it is up to date."""
    lines, now = [], describe_stages()
    for stage, entry in now["stages"].items():
        known = recorded["stages"].get(stage, {})
        if known.get("version") != entry["version"]:
            lines.append(f"{stage}: version {known.get('version', 'none')} is now {entry['version']}: run `{ACCEPT}`")
        elif known["sources"] != entry["sources"]:
            modules = digest_modules(stage)
            changed = [name for name in modules if recorded["modules"].get(name) != modules[name]]
            lines.append(
                f"{stage}: its version did not change, its sources did ({', '.join(changed) or 'it imports fewer'}): "
                f"raise VERSIONS['{stage}'] in plan/stages.py, unless no byte of what it makes has changed; then run "
                f"`{ACCEPT}`"
            )
    gone = recorded["stages"].keys() - now["stages"].keys()
    return lines + [f"{stage}: is no costly stage any more: run `{ACCEPT}`" for stage in sorted(gone)]


def _fingerprint(modules: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(modules, sort_keys=True).encode()).hexdigest()[:12]


@cache
def _imported(path: Path, _mtime_ns: int) -> list[str]:
    """What a module imports when it runs: not what only type checkers read. Its time tells another content."""
    names = []
    for node in _walk(_parse(path)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return names


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    only_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    for child in node.orelse if only_types else ast.iter_child_nodes(node):  # type: ignore[attr-defined]
        yield from _walk(child)


def _find_files(scripts: Path, name: str) -> Iterator[Path]:
    """The file of a module or of what holds a name, and those of the packages that it is in."""
    parts = name.split(".")
    if parts[0] != stages.LIBRARY.name:
        return
    for length in range(1, len(parts) + 1):
        place = scripts.joinpath(*parts[:length])
        found = [path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()]
        found = found or [home for home in [_find_home(place)] if home]
        yield from (path for path in found if path != stages.LIBRARY / "plan" / "stages.py")  # numbers, no results


def _find_home(place: Path) -> Path | None:
    """The module whose name a package passes on when it is asked for, as `HOMES` in its `__init__` says."""
    package = place.parent / "__init__.py"
    if not package.is_file():
        return None
    for node in ast.walk(_parse(package)):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "HOMES":
            homes = ast.literal_eval(node.value)
            return place.with_name(f"{homes[place.name]}.py") if place.name in homes else None
    return None


@cache
def _digest(path: Path, _mtime_ns: int) -> str:
    """Of a module without its docstrings; its time tells another content."""
    tree = _parse(path)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:12]


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def main() -> None:
    """Write the ledger anew."""
    text = json.dumps(describe_stages(), indent=1, sort_keys=True) + "\n"
    LEDGER.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
