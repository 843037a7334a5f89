"""Short names for the rows of an experiment: only what varies is said.

Rows are the key columns of `tables.row_keys`: where an alias led to a target, they are named as the config calls
them, the target a domain of the category that the alias started from.
Tested in tests/report/test_labels.py.
"""

from collections.abc import Mapping, Sequence

from patchshift.plan.backbone_specs import RANDOM
from patchshift.plan.cells import POOLS

Keys = Mapping[str, str | int]

SETUP_FIELDS = ("split", "backbone", "detector", "seed")


def as_called(keys: Keys) -> Keys:
    """Key columns as the config calls them: what an alias led to is a domain of what it started from."""
    if not keys.get("alias"):
        return keys
    dataset, _, category = str(keys["origin"]).partition("/")
    origin: dict[str, str | int] = {"dataset": dataset, "category": category}
    called = {f"target_{part}": name for part, name in origin.items()} | {"target_domain": keys["alias"]}
    if all(keys[f"train_{part}"] == keys[f"target_{part}"] for part in origin):
        called |= {f"train_{part}": name for part, name in origin.items()}
        if keys["train_domain"] == keys["target_domain"]:
            called["train_domain"] = keys["alias"]
    return {**keys, **called}


def trained_on(keys: Keys) -> str:
    """What the bank was fitted on, seen from the target: its own category, a pool, or another category."""
    if keys["train_dataset"] == POOLS:
        return f"pool {keys['train_category']}"
    if (keys["train_dataset"], keys["train_category"]) == (keys["target_dataset"], keys["target_category"]):
        return "own category"
    dataset = "" if keys["train_dataset"] == keys["target_dataset"] else f"{keys['train_dataset']}/"
    return f"bank of {dataset}{keys['train_category']}"


def category_labels(rows: Sequence[Keys]) -> list[str]:
    """Each row's target category, with its dataset where there are several."""
    rows = [as_called(row) for row in rows]
    several = len({row["target_dataset"] for row in rows}) > 1
    return [
        f"{row['target_dataset']}/{row['target_category']}" if several else f"{row['target_category']}" for row in rows
    ]


def group_labels(rows: Sequence[Keys], *, policies: bool = False) -> list[str]:
    """What tells a row from the others of its category, in words; backbone and detector where nothing does.

    Random weights are always said.

    Args:
        rows: key columns.
        policies: whether rows that differ in their threshold only are different.
    """
    rows = [as_called(row) for row in rows]
    aspects = {
        "trained": [trained_on(row) for row in rows],
        "target_domain": [str(row["target_domain"]) for row in rows],
        "train_domain": [f"fitted on {row['train_domain']}" for row in rows],
        **{
            field: [f"{field} {row[field]}" if field == "seed" else str(row[field]) for row in rows]
            for field in SETUP_FIELDS
        },
        "backbone": [name_backbone(str(row["backbone"]), row.get("weights")) for row in rows],
    }
    if policies:
        aspects["policy"] = [str(row["policy"]) for row in rows]
    chosen: dict[str, list[str]] = {}
    for aspect, values in aspects.items():
        # an aspect that follows from those already named says nothing new
        if len(set(zip(*chosen.values(), values, strict=True))) > len(set(zip(*chosen.values(), strict=True)) or {()}):
            chosen[aspect] = values
    if not chosen:
        return [_whole_name(row) for row in rows]
    if any(row.get("weights") == RANDOM for row in rows):
        chosen["backbone"] = aspects["backbone"]
    return [", ".join(parts) for parts in zip(*chosen.values(), strict=True)]


def name_backbone(backbone: str, weights: str | int | None) -> str:
    """A backbone's id; figures of one that has learnt nothing must not be taken for a trained one's."""
    return f"{backbone} (random weights)" if weights == RANDOM else backbone


def split_labels(labels: Sequence[str]) -> tuple[str, list[str]]:
    """What all groups share, and what tells each from the others: legends are short, and nothing goes unsaid.

    Args:
        labels: of `group_labels`, each once. A single one is all shared.
    """
    aspects = list(zip(*(label.split(", ") for label in labels), strict=True))
    varied = [aspect for aspect in aspects if len(set(aspect)) > 1]
    shared = ", ".join(aspect[0] for aspect in aspects if len(set(aspect)) == 1)
    return shared, [", ".join(parts) for parts in zip(*varied, strict=True)] or [""] * len(labels)


def _whole_name(keys: Keys) -> str:
    backbone = name_backbone(str(keys["backbone"]), keys.get("weights"))
    name, trained = f"{keys['detector']} on {backbone}", trained_on(keys)
    return name if trained == "own category" else f"{name}, {trained}"
