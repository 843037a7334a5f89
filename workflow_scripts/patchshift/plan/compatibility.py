"""Whether the ids that a study combines fit together.

Tested in tests/plan/test_compatibility.py.
"""

from collections.abc import Iterator

from patchshift.plan.calibrations import find_misplaced_defects, find_unknown_domains
from patchshift.plan.cells import Cell
from patchshift.plan.detector_specs import ExternalSpec
from patchshift.plan.external import find_repeated_tables
from patchshift.plan.loading import did_you_mean
from patchshift.plan.study import Study
from patchshift.plan.training_inputs import find_training_mistakes, is_fitted


def find_mismatches(study: Study) -> list[str]:
    """One line per pair of ids that do not fit together where the study combines them."""
    cells = study.all_cells()
    unknown = list(find_unknown_domains(study))
    if unknown:  # what follows asks for the settings of domains
        return unknown
    lines = [
        *(
            line
            for pair in dict.fromkeys((c.bank.backbone, c.bank.detector) for c in cells)
            if is_fitted(study, pair[1])
            for line in _layers(study, *pair)
        ),
        *(line for bank in dict.fromkeys(cell.bank for cell in cells) for line in find_training_mistakes(study, bank)),
        *find_repeated_tables(cells),
        *(line for domain in _domains(cells) for line in _defects_as_images(study, domain)),
        *(line for cell in cells for line in find_misplaced_defects(study, cell)),
        *_inspected_backbones(study, {cell.bank.backbone for cell in cells if cell.bank.is_fitted}),
    ]
    return list(dict.fromkeys(lines))


def _domains(cells: list[Cell]) -> list[str]:
    """Those that are fitted, scored or calibrated on."""
    places = (each for cell in cells for each in (cell.bank.training, cell.target, cell.calibration))
    return list(dict.fromkeys(each.domain for each in places))


def _layers(study: Study, backbone: str, detector: str) -> Iterator[str]:
    """Layers that a detector asks for and its backbone does not cache, and fusions that do not fit those it caches."""
    spec = study.catalog.detectors[detector]
    assert not isinstance(spec, ExternalSpec)  # has no layers
    representation = spec.representation
    cached = study.catalog.backbones[backbone].layers
    named = [*(representation.layers or []), *representation.logarithm, *(representation.weights or {})]
    unknown = [layer for layer in dict.fromkeys(named) if layer not in cached]
    for layer in unknown:
        yield (
            f"detector '{detector}' uses layer '{layer}', which backbone '{backbone}' does not cache"
            f"{did_you_mean(layer, cached)}: exclude this pair, or choose other layers"
        )
    used = representation.layers or cached
    if representation.fusion == "single" and len(used) != 1:
        yield (
            f"detector '{detector}' takes a single layer, but backbone '{backbone}' caches {', '.join(used)}: name one "
            "in representation.layers, or exclude this pair"
        )
    lacking = [layer for layer in used if representation.weights is not None and layer not in representation.weights]
    if lacking and not unknown:
        yield (
            f"detector '{detector}' has no weight for {', '.join(lacking)} of backbone '{backbone}': add it to "
            "representation.weights, or leave it out of representation.layers"
        )


def _inspected_backbones(study: Study, used: set[str]) -> Iterator[str]:
    """Backbones to look into that the study makes no features with."""
    for name in (study.config.inspection and study.config.inspection.backbones) or []:
        if name not in used:
            yield f"inspection.backbones: '{name}' is not used by this study{did_you_mean(name, sorted(used))}"


def _defects_as_images(study: Study, domain: str) -> Iterator[str]:
    """Domains of defects that would be tested, or taken for a bank's normal images or for validation images."""
    if study.catalog.domains[domain].kind not in ("clean", "shift", "view"):
        yield (
            f"domain '{domain}' holds images for banks or thresholds (kind '{study.catalog.domains[domain].kind}'): it "
            "can neither be scored as a target, nor take the place of a bank's training images, nor be calibrated on"
        )
