"""The table of docs/reruns.md that says which rules an edit of each key of the config changes."""

import re

from tests.plan.rerun_planner import ROOT

Table = dict[tuple[str, str], set[str]]
NOTHING = "nothing"

PAGE = (ROOT / "docs/reruns.md").read_text(encoding="utf-8")


def table_rows(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading of docs/reruns.md."""
    section = PAGE.split(f"\n{heading}\n", 1)[1].split("\n## ")[0]
    table = next(part for part in section.strip().split("\n\n") if part.startswith("|"))
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.strip().splitlines()[2:]]


def read_words() -> dict[str, list[str]]:
    """Word that stands for several rules -> these rules."""
    return {row[0].strip("*"): re.findall(r"`(\w+)`", row[1]) for row in table_rows("## Words for rules")}


def read_contract() -> Table:
    """Section of docs/config.md and key -> the stages that docs/reruns.md says change."""
    words, contract = read_words(), {}
    for section, keys, runs in table_rows("## Every key"):
        told = {rule for word in re.findall(r"\*([\w ]+)\*", runs) for rule in words[word]}
        told |= set(re.findall(r"`(\w+)`", runs))
        assert bool(told) != (runs == NOTHING), f"{section}: {runs}"
        for key in re.findall(r"`(\w+)`", keys):
            assert (section, key) not in contract, f"{section} {key} stands in the table twice"
            contract[section, key] = told
    return contract


def write_row(section: str, keys: list[str], changed: set[str]) -> str:
    """A row of the table, as it should be."""
    found, told = set(changed), []
    for word, rules in read_words().items():
        if set(rules) <= found:
            told.append(f"*{word}*")
            found -= set(rules)
    runs = ", ".join([*(f"`{rule}`" for rule in sorted(found)), *told]) or NOTHING
    return f"| {section} | {', '.join(f'`{key}`' for key in keys)} | {runs} |"
