import re
from pathlib import Path
from typing import Any

import yaml

from patchshift.plan import documentation
from patchshift.plan.catalog import Ids, check_entries


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


def examples(page: str) -> list[dict[str, Any]]:
    """The configs that a page shows."""
    text = (documentation.DOCS / page).read_text(encoding="utf-8")
    return [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)]


def test_every_config_that_the_data_page_shows_is_valid() -> None:
    shown = examples("data.md")
    mistakes: list[str] = []
    for example in shown:
        added = example.get("add", {"datasets": example})
        check_entries(added, "docs/data.md", mistakes, Ids)
    assert mistakes == []
    assert {key for example in shown for key in example} >= {"add", "experiments"}


def test_the_data_page_shows_every_dataset_as_the_catalog_has_it(repository: Path) -> None:
    catalog = yaml.safe_load((repository / "configs/catalog.yaml").read_text())["datasets"]
    shown = {name: entry for example in examples("data.md") if "add" not in example for name, entry in example.items()}
    assert {name: entry for name, entry in shown.items() if name in catalog} == {
        name: entry for name, entry in catalog.items() if "generate" not in entry
    }
