"""What a study uses, with its settings: what the report says about how results were made.

Tested in tests/plan/test_provenance.py.
"""

from pydantic import BaseModel

from patchshift.plan.base import canonical_json
from patchshift.plan.cells import POOLS
from patchshift.plan.study import Study
from patchshift.plan.training_inputs import positive_domains, turned_domains


def provenance_spec(study: Study) -> str:
    """The question, the protocol, and every id used with its settings."""
    cells = study.all_cells()
    banks = [cell.bank for cell in cells]
    used = {
        "datasets": {dataset for dataset, _ in study.used_categories()},
        "pools": {bank.training.category for bank in banks if bank.training.dataset == POOLS},
        "splits": {bank.split for bank in banks},
        "domains": used_domains(study),
        "aliases": {cell.natural.alias for cell in cells if cell.natural},
        "backbones": {bank.backbone for bank in banks if bank.is_fitted},
        "detectors": {bank.detector for bank in banks},
        "thresholds": {cell.threshold for cell in cells},
    }
    ids = {
        kind: {name: _settings(getattr(study.catalog, kind)[name]) for name in names} for kind, names in used.items()
    }
    evaluation = study.catalog.evaluation.model_dump(mode="json")
    return canonical_json({"question": study.config.question, "evaluation": evaluation, **ids})


def _settings(entry: object) -> object:
    """Those of an id; a pool has but its members, an alias what it leads from and to."""
    if isinstance(entry, BaseModel):
        return entry.model_dump(mode="json", exclude_none=True)
    return {"members": entry} if isinstance(entry, list) else entry


def domain_settings(study: Study) -> str:
    """The settings of all domains that the study uses."""
    return canonical_json({name: study.catalog.domains[name].model_dump(mode="json") for name in used_domains(study)})


def detector_settings(study: Study) -> str:
    """The settings of all detectors that the study uses."""
    used = {cell.bank.detector for cell in study.all_cells()}
    return canonical_json({name: _settings(study.catalog.detectors[name]) for name in used})


def used_domains(study: Study) -> set[str]:
    """The domains that the study fits, scores or calibrates on."""
    cells = study.all_cells()
    targets = {each.domain for cell in cells for each in (cell.bank.training, cell.target, cell.calibration)}
    calibrated = {domain for cell in cells for domain in study.defects_of(cell.threshold)}
    detectors = {cell.bank.detector for cell in cells}
    turned = {domain for detector in detectors for domain in turned_domains(study, detector)}
    return targets | calibrated | turned | {domain for each in detectors for domain in positive_domains(study, each)}
