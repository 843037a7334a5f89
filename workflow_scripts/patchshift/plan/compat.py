"""Presets: the choices of reference implementations, as settings of method `patchcore`.

Tested in tests/plan/test_compat.py; stated in docs/protocol.md, "What others do".
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from patchshift.plan.base import Spec
from patchshift.plan.representation_specs import ReductionSpec, RepresentationSpec
from patchshift.plan.sampling_specs import SamplerSpec
from patchshift.plan.score_specs import AnomalyMapSpec, ImageScoreSpec

Compat = Literal["official", "anomalib", "anomalydino"]

PRESETS: dict[str, dict[str, Any]] = {
    "official": {
        "representation": RepresentationSpec(
            neighbourhood="adaptive",
            pooled_width=1024,
            fusion="concat",
            reduction=ReductionSpec(method="channel_pooling", dimension=1024),
        ),
        "sampler": SamplerSpec(method="greedy", share=0.1, projection=128, starts=10),
        "neighbours": 1,
        "distance": "squared",
        "image_score": ImageScoreSpec(method="max"),
        "anomaly_map": AnomalyMapSpec(upsampling="bilinear", border="symmetric"),
    },
    "anomalib": {
        "representation": RepresentationSpec(neighbourhood="average", fusion="concat"),
        "sampler": SamplerSpec(method="greedy", share=0.1, projection="johnson_lindenstrauss"),
        "neighbours": 1,
        "distance": "euclidean",
        "image_score": ImageScoreSpec(method="max", reweight_neighbours=9),
        "anomaly_map": AnomalyMapSpec(upsampling="nearest", border="mirror"),
    },
    "anomalydino": {
        "representation": RepresentationSpec(neighbourhood="none", fusion="single"),
        "sampler": SamplerSpec(method="none"),
        "neighbours": 1,
        "distance": "cosine",
        "image_score": ImageScoreSpec(method="top_share", share=0.01),
        "anomaly_map": AnomalyMapSpec(upsampling="bilinear", border="symmetric"),
    },
}

OPEN = {"representation.layers", "sampler.share", "sampler.count"}
"""Settings within the sections of a preset that may be given beside `compat`."""


def fill_in(settings: Any) -> Any:
    """Settings with those of their preset, where they name one.

    Args:
        settings: of method `patchcore`, as they are given. What names no preset stays as it is, and what no spec
            allows is left for the spec to say.

    Raises:
        ValueError: if settings are given with other values than the preset's; it names all of them in one line.
    """
    name = settings.get("compat") if isinstance(settings, Mapping) else None
    if not isinstance(name, str) or name not in PRESETS:
        return settings
    given, preset = _plain(settings), _plain(PRESETS[name])
    others = [f"{key}: {_show(fixed)}, not {_show(other)}" for key, fixed, other in _differences(given, preset)]
    if others:
        raise ValueError(
            f"compat '{name}' has {'; '.join(others)}. Remove what is given, or remove compat and write out the "
            "settings that you want"
        )
    sampler = given.get("sampler")
    if isinstance(sampler, Mapping) and sampler.get("count") is not None:  # instead of the preset's share
        preset["sampler"]["share"] = None
    return _merge(preset, given)


def _plain(value: Any) -> Any:
    """Specs as mappings, at any depth; all else as it is."""
    if isinstance(value, Spec):
        return value.model_dump(mode="json")
    return {key: _plain(each) for key, each in value.items()} if isinstance(value, Mapping) else value


def _differences(given: Mapping[str, Any], preset: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Key, preset's value and given value, where the preset fixes one and the other differs."""
    for key, fixed in preset.items():
        if key not in given or path + key in OPEN:
            continue
        if not isinstance(fixed, Mapping):
            if fixed != given[key]:
                yield path + key, fixed, given[key]
        elif isinstance(given[key], Mapping):
            yield from _differences(given[key], fixed, f"{path}{key}.")


def _merge(preset: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of both; what is given holds."""
    both = {key for key in preset if isinstance(preset[key], Mapping) and isinstance(given.get(key), Mapping)}
    return {**preset, **given, **{key: _merge(preset[key], given[key]) for key in both}}


def _show(value: Any) -> str:
    """As the config has it."""
    return json.dumps(value, default=str)
