"""The base of all config models, and the types of their fields."""

import json
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def leaves_folder(path: str) -> bool:
    """Whether a path may lead out of the folder that it is relative to."""
    return PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts


def _stays_inside(path: str) -> str:
    if leaves_folder(path):
        raise ValueError("must stay inside its folder: no absolute path, no '..'")
    return path


def names_each_once(names: list[str]) -> list[str]:
    """The names, unless one stands in the list twice."""
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise ValueError(f"'{twice[0]}' is named twice")
    return names


RelativePath = Annotated[str, AfterValidator(_stays_inside)]

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Share = Annotated[float, Field(gt=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Threads = Annotated[int, Field(ge=1, le=256)]
Shards = Annotated[int, Field(ge=1, le=9999)]
Distinct = Annotated[list[str], AfterValidator(names_each_once)]
Layers = Annotated[Distinct, Field(min_length=1)]
Deviation = Annotated[float, Field(gt=0)]


class Spec(BaseModel):
    """Base of all specs: unknown keys are errors, numbers are finite, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def _belongs(self, used: bool, owner: str, *fields: str) -> None:
        """Require the fields where they are used, refuse them where they would be ignored."""
        for field in fields:
            if used and getattr(self, field) is None:
                raise ValueError(f"{owner} needs {field}")
            if not used and getattr(self, field) is not None:
                raise ValueError(f"{owner} does not use {field}: remove it")

    def _unused(self, owner: str, *fields: str) -> None:
        """Refuse fields that would be ignored, where they are not as they are by default."""
        for field in fields:
            if getattr(self, field) != type(self).model_fields[field].default:
                raise ValueError(f"{owner} does not use {field}: remove it")

    def canonical(self, **kwargs: object) -> str:
        """JSON with sorted keys: equal specs give equal text. `kwargs` go to `model_dump` (include, exclude)."""
        return canonical_json(self.model_dump(mode="json", **kwargs))  # type: ignore[arg-type]


def canonical_json(content: object) -> str:
    """JSON with sorted keys and no spaces."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"))
