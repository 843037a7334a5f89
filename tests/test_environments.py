"""The conda environments, the container and pyproject.toml name the same packages; constraints.txt has the versions."""

import re
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
ENVIRONMENTS = sorted((ROOT / "envs").glob("*.yaml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DOCKERFILE = (ROOT / "envs/Dockerfile").read_text(encoding="utf-8")


def plain(name: str) -> str:
    """A distribution's name as package indexes compare it, without extras, versions and markers."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;(]", name, maxsplit=1)[0]).lower()


PINS = {
    plain(name): version
    for name, version in (line.split("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").split())
}
EXTRAS = PROJECT["optional-dependencies"].values()
DECLARED = {plain(name) for names in (PROJECT["dependencies"], *EXTRAS) for name in names}


def listed(environment: Path) -> dict[str, str]:
    """Package -> version, of what an environment takes from the package index."""
    (packages,) = (
        entry["pip"]
        for entry in yaml.safe_load(environment.read_text(encoding="utf-8"))["dependencies"]
        if isinstance(entry, dict)
    )
    return {plain(name): version for name, version in (package.split("==") for package in packages)}


def test_all_that_the_project_needs_is_pinned() -> None:
    assert DECLARED - set(PINS) == set()


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda path: path.stem)
def test_an_environment_has_the_pins_of_the_constraints(environment: Path) -> None:
    assert {name: version for name, version in listed(environment).items() if PINS.get(name) != version} == {}


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda path: path.stem)
def test_an_environment_has_nothing_that_the_project_does_not_declare_or_bring(environment: Path) -> None:
    brought = {plain(name) for declared in DECLARED & set(listed(environment)) for name in requires(declared) or []}
    assert set(listed(environment)) - DECLARED - brought == set()


def test_environments_and_container_have_one_python_that_the_project_admits() -> None:
    versions = {
        entry
        for path in ENVIRONMENTS
        for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["dependencies"]
        if isinstance(entry, str) and entry.startswith("python")
    }
    assert versions == {"python=3.11"}
    assert PROJECT["requires-python"] == ">=3.11"
    assert DOCKERFILE.count("\nFROM ") == 1
    assert "\nFROM debian:bookworm-slim\n" in DOCKERFILE  # whose Python is 3.11


def test_the_container_installs_the_projects_dependencies_at_their_pins() -> None:
    copied = re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE)
    assert [name for names in copied for name in names.split()] == ["pyproject.toml", "constraints.txt"]
    assert "['project']['dependencies']" in DOCKERFILE
    (installed,) = re.findall(r"pip install ([^&]+)&&", DOCKERFILE)
    assert (
        installed.split(maxsplit=1)[1].strip(" \\\n") == "--constraint constraints.txt --requirement dependencies.txt"
    )
