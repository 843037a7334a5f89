"""Read config files, and say what is wrong with them in the user's words."""

import difflib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from patchshift.errors import UserError


class _StrictLoader(yaml.SafeLoader):
    """YAML in which a key given twice is a mistake: the second value would silently replace the first."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Checked before values are made: by then `<<` has added keys that the mapping may well override.
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            identity, line = (key.tag, str(key.value)), key.start_mark.line + 1
            if identity in lines:
                problem = f"key '{key.value}' is given twice (first in line {lines[identity]})"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            lines[identity] = line
        return node


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        UserError: one line that says which file, and where in it.
    """
    try:
        content = _StrictLoader(path.read_text(encoding="utf-8")).get_single_data()
    except FileNotFoundError:
        raise UserError(f"{path}: no such config file (looked in {path.absolute().parent})") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UserError(f"{path}{where}: not valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        found = "nothing" if content is None else type(content).__name__
        raise UserError(f"{path}: must hold keys and values (`study: ...`), found {found}")
    return content


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The nearest known name as a hint, or all of them where none is near."""
    known = sorted(map(str, known))  # YAML reads 1, on and null as other types
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f" (did you mean '{near[0]}'?)"
    return f" (known: {', '.join(known)})" if known else ""


def explain(error: ValidationError, where: str, model: Any = None) -> list[str]:
    """One line per mistake of a failed validation, each with its place in the config."""
    lines: dict[str, list[str]] = defaultdict(list)
    for mistake in _without_other_branches(error.errors()):
        location = _location(mistake["loc"])
        place = ".".join([where, *location])
        if mistake["type"] == "extra_forbidden":
            text = f"unknown key{did_you_mean(location[-1], _keys(model, location[:-1]))}"
        elif mistake["type"] == "missing":
            text = "is required"
        elif mistake["type"] == "union_tag_not_found":
            text = f"{mistake['ctx']['discriminator']} is required"
        elif mistake["type"] == "too_short" and mistake["ctx"]["actual_length"] == 0:
            text = "is an empty list: name at least one"
        elif mistake["type"] in ("literal_error", "union_tag_invalid"):
            context = mistake["ctx"]
            expected = str(context.get("expected") or context.get("expected_tags")).replace(" or ", ", ")
            found = str(context.get("tag", mistake["input"]))
            choices = re.findall(r"'([^']*)'", expected)
            text = f"'{found}' is not known{did_you_mean(found, choices)}"
        else:
            message = mistake["msg"].removeprefix("Value error, ")
            text = f"{message[0].lower()}{message[1:]} (found {mistake['input']!r:.80})"
        lines[place].append(text)
    return [f"{place}: {text}" for place, texts in lines.items() for text in dict.fromkeys(texts)]


def _without_other_branches(mistakes: Sequence[Any]) -> list[Any]:
    """Where a word or something else was wanted, what is wrong with the one that was meant."""
    words = {tuple(_location(each["loc"])) for each in mistakes if each["type"] == "literal_error"}
    kept = []
    for mistake in mistakes:
        if any(str(part).startswith("literal[") for part in mistake["loc"]) and not isinstance(mistake["input"], str):
            continue  # not a word was meant: what is wrong with it is a mistake of its own
        other_branch = mistake["type"] != "literal_error" and isinstance(mistake["input"], str)
        if not (other_branch and tuple(_location(mistake["loc"])) in words):
            kept.append(mistake)
    return kept


def _location(parts: tuple[int | str, ...]) -> list[str]:
    """Keys and positions, without the branches of unions that pydantic puts between and behind them."""
    branch = r"(list|literal|constrained-float|function-after)(\[|$)"
    location = [str(part) for part in parts if not re.match(branch, str(part))]
    return location[:-1] if location[-1:] in (["str"], ["int"]) else location


def _keys(model: Any, location: list[str]) -> list[str]:
    """The keys that a model knows at a place, following nested models."""
    for part in location:
        model = _inner(model)
        if get_origin(model) in (dict, list):
            model = get_args(model)[-1]
        else:
            field = _fields(model).get(part)
            model = field.annotation if field else None
    return list(_fields(_inner(model)))


def _inner(model: Any) -> Any:
    """The model in `Model | None`."""
    if get_origin(model) in (Union, UnionType):
        return next((part for part in get_args(model) if _fields(part)), None)
    return model


def _fields(model: Any) -> dict[str, FieldInfo]:
    return model.model_fields if isinstance(model, type) and issubclass(model, BaseModel) else {}
