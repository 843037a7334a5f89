"""What looks inside a study's features: whose features are measured against whose, and which are drawn.

Tested in tests/plan/test_inspections.py and tests/plan/test_inspection_targets.py.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from patchshift.errors import UserError
from patchshift.plan.backbone_specs import ORIGIN, PretrainedSpec
from patchshift.plan.base import Seed, Spec
from patchshift.plan.cells import CLEAN, Target
from patchshift.plan.detector_specs import ExternalSpec
from patchshift.plan.experiments import StudyPlan
from patchshift.plan.fusions import FusionSpec, plain_fusions
from patchshift.plan.inspection_specs import Images, InspectionSpec, Maps, Patches, Resamples
from patchshift.plan.study import Study

Confidence = Annotated[float, Field(gt=0, lt=1)]
UNTRACED = {"batch_size", "precision", "shards"}
"""Settings of a backbone that its attention does not depend on: images are traced one at a time, in float32."""


class DistanceSpec(Spec):
    """What the distances between two sets of features depend on.

    Attributes:
        fusions: how detectors join layers, whose drift is measured, too; not those of `plain_fusions`, whose always is.
    """

    resamples: Resamples
    confidence: Confidence
    seed: Seed
    fusions: list[FusionSpec] = Field([])


class LookSpec(Spec):
    """What a look inside the features of one category depends on; see `InspectionSpec`."""

    maps: Maps
    patches: Patches
    images: Images
    resamples: Resamples
    confidence: Confidence
    seed: Seed


class ChoiceSpec(Spec):
    """Which test images are shown, as far as the study says; see `InspectionSpec`."""

    images: Images
    seed: Seed


@dataclass(frozen=True)
class Look:
    """Features that a study looks into: of one category's own images, as one split divides them."""

    study: str
    target: Target
    split: str
    backbone: str

    @property
    def measured(self) -> str:
        """Path of what is measured."""
        return f"results/inspections/{self.study}/{self.target.path}/{self.split}/{self.backbone}.h5"

    @property
    def attention(self) -> str:
        """Path of the class token's attention."""
        return f"results/attention/{self.study}/{self.target.path}/{self.split}/{self.backbone}.h5"


@dataclass(frozen=True)
class DomainPair:
    """Two sets of features of one backbone: of the normal training images, and of a target's normal test images.

    Attributes:
        study: whose settings of `inspection`, and whose detectors' ways of joining layers, it is measured by.
        training: what banks are fitted on.
        split: which divides both.
        backbone: of both.
        target: whose test images are compared.
        at_home: whether the target is the domain trained on, of the category itself or of a member of the pool.
    """

    study: str
    training: Target
    split: str
    backbone: str
    target: Target
    at_home: bool

    @property
    def path(self) -> str:
        """Path of the distances between the two."""
        fitted_on = f"{self.training.path}/{self.split}/{self.backbone}"
        return f"results/distances/{self.study}/{fitted_on}/to/{self.target.path}.json"


def inspected_backbones(study: Study) -> list[str]:
    """The backbones to look into: those that the study names, or all that it uses; none where it does not ask."""
    inspection = study.config.inspection
    if inspection is None:
        return []
    used = list(dict.fromkeys(cell.bank.backbone for cell in study.all_cells() if cell.bank.is_fitted))
    return used if inspection.backbones is None else [name for name in used if name in inspection.backbones]


def list_distances(study: Study) -> list[DomainPair]:
    """The pairs whose distances are measured; none where the study does not ask."""
    inspection = study.config.inspection
    return pair_domains(study.plan, inspected_backbones(study)) if inspection and inspection.distances else []


def distance_spec(study: Study, backbone: str) -> str:
    """What distances depend on, as canonical JSON; a study that does not ask for them may still be asked for one."""
    inspection = study.config.inspection or InspectionSpec()
    return DistanceSpec(
        resamples=inspection.resamples,
        confidence=study.catalog.evaluation.confidence,
        seed=inspection.seed,
        fusions=list_fusions(study, backbone),
    ).canonical()


def list_fusions(study: Study, backbone: str) -> list[FusionSpec]:
    """How the study's detectors on a backbone join its layers, each way once, in an order that no config changes.

    Left out are `plain_fusions`, so that another layer or another detector alone is no reason to measure anew.
    """
    cached = study.catalog.backbones[backbone].layers
    used = {cell.bank.detector for cell in study.all_cells() if cell.bank.backbone == backbone}
    found = {}
    for spec in (study.catalog.detectors[name] for name in used):
        if not isinstance(spec, ExternalSpec):
            fusion = FusionSpec.of(spec.representation, cached)
            found[fusion.canonical()] = fusion
    plain = {fusion.canonical() for fusion in plain_fusions(cached)}
    return [found[key] for key in sorted(found) if key not in plain]


def pair_domains(plan: StudyPlan, backbones: Sequence[str]) -> list[DomainPair]:
    """What each bank was fitted on, paired with its own domain first, and then with every target that it meets outside.

    Test images are never those fitted on, so its own domain says what is measured where nothing has shifted.
    """
    cells = [cell for cells in plan.cells().values() for cell in cells if cell.bank.backbone in backbones]
    met: dict[tuple[Target, str, str], list[Target]] = {}
    for bank, target in ((cell.bank, cell.target) for cell in cells if cell.bank.is_fitted):
        met.setdefault((bank.training, bank.split, bank.backbone), own_domain(plan, bank.training)).append(target)
    return [
        DomainPair(plan.study, training, split, backbone, target, target in own_domain(plan, training))
        for (training, split, backbone), targets in met.items()
        for target in dict.fromkeys(targets)
    ]


def own_domain(plan: StudyPlan, training: Target) -> list[Target]:
    """Where a bank is at home: what it was fitted on, or each of its pool's members."""
    members = plan.categories(f"{training.dataset}/{training.category}")
    return [Target(dataset, category, training.domain) for dataset, category in members]


def list_looks(study: Study) -> list[Look]:
    """The clean features of every category that the study fits or scores, as its first split there divides it."""
    backbones = inspected_backbones(study)
    looks: dict[tuple[str, str, str], Look] = {}
    for cell in study.all_cells():
        trained = study.members(cell.bank.training.dataset, cell.bank.training.category)
        for dataset, category in [*trained, (cell.target.dataset, cell.target.category)]:
            look = Look(study.name, Target(dataset, category, CLEAN), cell.bank.split, cell.bank.backbone)
            if look.backbone in backbones and cell.bank.is_fitted:
                looks.setdefault((dataset, category, look.backbone), look)
    return [looks[key] for key in sorted(looks)]


def has_class_attention(study: Study, backbone: str) -> bool:
    """Whether a backbone may have a class token, by its spec: one of timm that sees whole images, cut at blocks.

    The model itself is not looked at. It may turn out to be no vision transformer, or to lack a class token.
    """
    spec = study.catalog.backbones[backbone]
    if not isinstance(spec, PretrainedSpec) or spec.source != "timm" or spec.tiling is not None:
        return False
    return all(re.fullmatch(r"block\d+", layer) for layer in spec.layers)


def find_look(study: Study, dataset: str, category: str, backbone: str) -> Look:
    """The look whose figures a study shows of a category and a backbone.

    Raises:
        UserError: if the study does not look there.
    """
    _asked(study)
    target, looks = Target(dataset, category, CLEAN), list_looks(study)
    for look in looks:
        if (look.target, look.backbone) == (target, backbone):
            return look
    known = ", ".join(f"{look.target.dataset}/{look.target.category} of {look.backbone}" for look in looks)
    raise UserError(
        f"study '{study.name}' does not look inside {dataset}/{category} of backbone '{backbone}', only inside "
        f"{known or 'nothing'}: use it in an experiment, or name the backbone in `inspection.backbones`"
    )


def list_inspection_figures(study: Study) -> list[str]:
    """The paths of all figures of looks inside features."""
    names = ("patch_map.png", "separability.png", "activation_energy.png")
    return [
        f"{study.folder}/inspections/{look.target.dataset}/{look.target.category}/{look.backbone}/{name}"
        for look in list_looks(study)
        for name in [*names, *(["attention.png"] if has_class_attention(study, look.backbone) else [])]
    ]


def look_spec(study: Study) -> str:
    """What is measured inside features depends on this, as canonical JSON.

    Raises:
        UserError: if the study does not look inside its features.
    """
    inspection = _asked(study)
    fields = inspection.model_dump(include=set(LookSpec.model_fields))
    return LookSpec(**fields, confidence=study.catalog.evaluation.confidence).canonical()


def attention_spec(study: Study, backbone: str) -> str:
    """What the attention of a backbone depends on beside the images, as canonical JSON."""
    return study.catalog.backbones[backbone].canonical(exclude=ORIGIN | UNTRACED)


def choice_spec(study: Study) -> str:
    """Which images attention is traced on depends on this, as canonical JSON.

    Raises:
        UserError: if the study does not look inside its features.
    """
    return ChoiceSpec(**_asked(study).model_dump(include=set(ChoiceSpec.model_fields))).canonical()


def _asked(study: Study) -> InspectionSpec:
    if study.config.inspection is None:
        raise UserError(
            f"study '{study.name}' does not look inside its features: add `inspection: {{}}` to its config "
            "for these figures"
        )
    return study.config.inspection
