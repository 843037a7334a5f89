import re
from pathlib import Path

import yaml

from patchshift.plan import documentation


def test_the_config_page_is_what_the_models_generate() -> None:
    assert (documentation.DOCS / "config.md").read_text(encoding="utf-8") == documentation.markdown(), "run make docs"


def test_the_config_schema_is_what_the_models_generate() -> None:
    text = (documentation.DOCS / "config.schema.json").read_text(encoding="utf-8")
    assert text == documentation.schema(), "run make docs"


def test_every_key_of_every_model_is_explained() -> None:
    undocumented = [
        f"{model.__name__}.{name}"
        for _, model in documentation.SECTIONS
        for name, field in model.model_fields.items()
        if not field.description and name != "source"
    ]
    assert undocumented == []


def test_environments_pin_what_the_constraints_pin(repository: Path) -> None:
    lines = (repository / "constraints.txt").read_text().split()
    pins = {name.lower().replace("_", "-"): version for name, version in (line.split("==") for line in lines)}
    for path in sorted((repository / "envs").glob("*.yaml")):
        dependencies = yaml.safe_load(path.read_text())["dependencies"]
        assert "python=3.11" in dependencies
        for package in next(entry["pip"] for entry in dependencies if isinstance(entry, dict)):
            name, version = package.split("==")
            assert pins[re.sub("_", "-", name.lower())] == version, f"{path.name}: {package}"
