"""docs/troubleshooting.md quotes messages; each is one that can be met."""

import argparse
import ast
import re
from functools import cache
from pathlib import Path

import pytest
import snakemake

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/troubleshooting.md"
LEFT_OUT = re.compile(r"\.\.\.|\b[NML]\b(?: x \b[NML]\b)?|\b[Ch]\b(?:, w\b)?")
"""What stands for names and numbers in a quoted message."""

VALUE = "\0"
"""Stands for a value in a message of the sources."""


def rows() -> list[str]:
    """The first column of the page's tables."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    cells = [line[2:].split(" | ")[0] for line in lines if line.startswith("| ")]
    return [cell for cell in cells if cell != "message"]


def messages(cell: str) -> list[str]:
    """What a cell quotes; what stands in brackets behind a message is not part of it."""
    return re.findall(r"`([^`]+)`", re.sub(r" \((?:in |of )?`[^)]*\)", "", cell))


def texts(tree: ast.AST) -> list[str]:
    """All literal texts of a module, values that are put into them as `VALUE`."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else VALUE for part in node.values)
            found.append("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(re.sub(r"%(?:\(\w+\))?(?:\.\d)?[sdgfr]", VALUE, node.value))
    return found


@cache
def sources() -> str:
    """Every literal text of the project, of Snakemake and of argparse, one line each."""
    modules = [*(ROOT / "workflow_scripts").rglob("*.py"), *Path(snakemake.__file__).parent.rglob("*.py")]
    found = [text for path in [*modules, Path(argparse.__file__)] for text in texts(ast.parse(path.read_bytes()))]
    plain = [ROOT / "Makefile", ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")]
    found += [path.read_text(encoding="utf-8").replace("`", "'") for path in plain]
    return "\n".join(text.replace("`", "'") for text in found)


def is_said(part: str) -> bool:
    """Whether the sources say it, at most one stretch of it being a value."""
    known = sources()
    if part in known:
        return True
    spaces = [
        0,
        *(match.start() for match in re.finditer(r" |$", part)),
        *(match.end() for match in re.finditer(r" ", part)),
    ]
    return any(
        part[:start] + VALUE + part[end:] in known
        for start in spaces
        for end in spaces
        if start < end and re.search(r"\w{2,}\W+\w{2,}", part[:start] + VALUE + part[end:])
    )


def parts(message: str) -> list[str]:
    """What stands between names and numbers, if it is more than a word."""
    found = (part.strip(" .,:'()[]") for part in LEFT_OUT.split(message))
    return [part for part in found if len(re.findall(r"\w+", part)) > 1] or [message]


@pytest.mark.parametrize("cell", rows())
def test_every_message_on_the_page_is_one_of_the_sources(cell: str) -> None:
    quoted = messages(cell)
    assert quoted, "a row without a message"
    assert [part for message in quoted for part in parts(message) if not is_said(part)] == []


def test_a_message_that_the_sources_do_not_have_is_found_out() -> None:
    assert is_said("the images changed since it was made")
    assert not is_said("the images changed since extraction")
    assert not is_said("the disk is broken")
