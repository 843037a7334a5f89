"""What a study asks for, expanded to single cells: one bank, scored on one target, decided by one threshold."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from patchshift.plan.base import Name, Seed, Spec
from patchshift.plan.cells import CLEAN, POOLS, Bank, Cell, NaturalShift, Target

Alias = dict[str, str]
"""A natural shift: selector of what is trained on -> selector of the same product seen another way."""

Names = Annotated[list[Name], Field(min_length=1)]
Seeds = Annotated[list[Seed], Field(min_length=1)]
Selectors = Annotated[list[str], Field(min_length=1)]


class Selection(Spec):
    """Which ids an experiment spans, where it does not say otherwise itself."""

    splits: Names = Field(description="Split ids.")
    backbones: Names = Field(description="Backbone ids.")
    detectors: Names = Field(description="Detector ids.")
    thresholds: Names = Field(description="Threshold ids.")
    seeds: Seeds = Field([0], description="Detector seeds (coreset start, projection).")


OneOrMore = str | list[str]


class Filter(Spec):
    """Combinations of an experiment that have all the values named; a list means any of them."""

    train: OneOrMore | None = Field(None, description="`dataset/category` or `pools/{pool}`.")
    train_domain: OneOrMore | None = Field(None, description="Domain fitted on.")
    target: OneOrMore | None = Field(None, description="`dataset/category`.")
    target_domain: OneOrMore | None = Field(None, description="Domain scored.")
    split: OneOrMore | None = Field(None, description="Split id.")
    backbone: OneOrMore | None = Field(None, description="Backbone id.")
    detector: OneOrMore | None = Field(None, description="Detector id.")
    threshold: OneOrMore | None = Field(None, description="Threshold id.")
    seed: int | list[int] | None = Field(None, description="Detector seed.")

    def matches(self, cell: Cell) -> bool:
        """Whether a cell has all the values named."""
        bank = cell.bank
        values = {
            "train": f"{bank.training.dataset}/{bank.training.category}",
            "train_domain": cell.domain if bank.training == cell.target else bank.training.domain,
            "target": f"{cell.target.dataset}/{cell.target.category}",
            "target_domain": cell.domain,
            "split": bank.split,
            "backbone": bank.backbone,
            "detector": bank.detector,
            "threshold": cell.threshold,
            "seed": bank.seed,
        }
        named = self.model_dump(exclude_none=True)
        return all(values[key] in (wanted if isinstance(wanted, list) else [wanted]) for key, wanted in named.items())


class Experiment(Spec):
    """A named product of ids, thinned by `include` and `exclude`."""

    title: str = Field(description="One line: what this experiment shows.")
    train: Selectors = Field(description="What banks are fitted on: a dataset, `dataset/category`, or `pools/{pool}`.")
    train_domains: Names = Field([CLEAN], description="Domains that banks are fitted on, or aliases.")
    targets: Literal["same"] | Selectors = Field(
        "same", description="What is scored; `same`: the category trained on, for a pool each of its members."
    )
    target_domains: Literal["same"] | Names = Field(
        "same", description="Domains scored, or aliases; `same`: the domain trained on."
    )
    calibrate_on: Name = Field(
        "training",
        description="Whose validation images set the threshold. `training`: those of the category that the bank was "
        "fitted on, in the domain that it was fitted on; of a pool's bank, those of the target's category where that "
        "is a member, else those of all members. `target`: the target's own. A domain (no alias): the same images as "
        "`training`, in that domain; one that is called as either word cannot be named.",
    )
    splits: Names | None = Field(None, description="Overrides `select.splits`.")
    backbones: Names | None = Field(None, description="Overrides `select.backbones`.")
    detectors: Names | None = Field(None, description="Overrides `select.detectors`.")
    thresholds: Names | None = Field(None, description="Overrides `select.thresholds`.")
    seeds: Seeds | None = Field(None, description="Overrides `select.seeds`.")
    baseline: Name | None = Field(
        None,
        description="Detector that others are compared with, and whose scoring time is 1 in `costs.csv`; default: the "
        "experiment's first.",
    )
    include: list[Filter] = Field([], description="Keep only combinations that match one of these.")
    exclude: list[Filter] = Field([], description="Drop combinations that match one of these.")


class StudyPlan(Spec):
    """All that the expansion to cells depends on; `collect` and `report` get it as JSON."""

    study: Name
    select: Selection
    order: list[Name]  # of the experiments: canonical JSON sorts keys
    experiments: dict[Name, Experiment]
    datasets: dict[Name, list[Name]]
    pools: dict[Name, list[str]]
    aliases: dict[Name, Alias] = Field({})
    weights: dict[Name, str] = Field({})  # backbone -> its weight file, `random` or `none`
    external: dict[Name, str] = Field({})  # detector that is scores of another method -> what tables say of its weights
    shards: dict[Name, int] = Field({})  # detector -> jobs that share the choice of a bank's vectors, where several do

    def cells(self) -> dict[str, list[Cell]]:
        """Experiment, in the order of the config -> its cells, in a fixed order, each once.

        Raises:
            ValueError: where a filter matches nothing, nothing is left, or an alias leads nowhere; one line for each.
        """
        mistakes: list[str] = []
        cells = {name: self._expand(name, self.experiments[name], mistakes) for name in self.order}
        if mistakes:
            raise ValueError("\n".join(mistakes))
        return cells

    def categories(self, selector: str) -> list[tuple[str, str]]:
        """The (dataset, category) pairs that a dataset, `dataset/category` or `pools/{pool}` stands for."""
        dataset, _, category = selector.partition("/")
        if dataset == POOLS:
            pairs = [pair for member in self.pools[category] for pair in self.categories(member)]
            return list(dict.fromkeys(pairs))
        return [(dataset, category)] if category else [(dataset, name) for name in self.datasets[dataset]]

    def _expand(self, name: str, experiment: Experiment, mistakes: list[str]) -> list[Cell]:
        choices = {key: getattr(experiment, key) or getattr(self.select, key) for key in Selection.model_fields}
        try:
            trainings = list(self._trainings(experiment))
            cells = [
                cell
                for (training, natural), split, backbone, detector, seed, threshold in itertools.product(
                    trainings, *(choices[key] for key in ("splits", "backbones", "detectors")),
                    choices["seeds"], choices["thresholds"],
                )
                for bank in [self._bank(training, split, backbone, detector, seed)]
                for cell in self._score(experiment, bank, threshold, natural)
            ]  # fmt: skip
        except ValueError as error:  # an alias that leads nowhere
            mistakes.append(f"experiments.{name}: {error}")
            return []
        unmatched = []
        for kind, filters in (("include", experiment.include), ("exclude", experiment.exclude)):
            for number, entry in enumerate(filters):
                if not any(entry.matches(cell) for cell in cells):
                    wanted = entry.model_dump(exclude_none=True)
                    unmatched.append(f"experiments.{name}.{kind}[{number}] matches no combination: {wanted}")
        kept = [
            cell
            for cell in dict.fromkeys(cells)
            if (not experiment.include or any(entry.matches(cell) for entry in experiment.include))
            and not any(entry.matches(cell) for entry in experiment.exclude)
        ]
        if experiment.baseline and experiment.baseline not in {cell.bank.detector for cell in kept}:
            mistakes.append(f"experiments.{name}.baseline: '{experiment.baseline}' is no detector of the experiment")
        mistakes += unmatched or ([] if kept else [f"experiments.{name}: include and exclude leave nothing to do"])
        return kept

    def _bank(self, training: Target, split: str, backbone: str, detector: str, seed: int) -> Bank:
        weights = self.external.get(detector, self.weights.get(backbone, ""))
        pairs = self.categories(f"{POOLS}/{training.category}") if training.dataset == POOLS else []
        members = tuple(Target(*pair, training.domain) for pair in pairs)
        is_fitted, shards = detector not in self.external, self.shards.get(detector, 1)
        return Bank(training, split, backbone, detector, seed, weights, is_fitted, members, shards)

    def _trainings(self, experiment: Experiment) -> Iterator[tuple[Target, NaturalShift | None]]:
        for selector, domain in itertools.product(experiment.train, experiment.train_domains):
            if not selector.startswith(f"{POOLS}/"):
                for dataset, category in self.categories(selector):
                    yield self._resolve(dataset, category, domain)
            elif domain in self.aliases:
                raise ValueError(f"alias '{domain}' cannot stand for a pool's domain: declare a pool of its targets")
            else:
                yield Target(POOLS, selector.partition("/")[2], domain), None

    def _resolve(self, dataset: str, category: str, domain: str) -> tuple[Target, NaturalShift | None]:
        """The target that a domain or an alias stands for, seen from a category."""
        if domain not in self.aliases:
            return Target(dataset, category, domain), None
        leads = self.aliases[domain]
        to = leads.get(f"{dataset}/{category}") or leads.get(dataset)
        if to is None:
            raise ValueError(f"alias '{domain}' says nothing of {dataset}/{category}")
        other, _, name = to.partition("/")
        return Target(other, name or category, CLEAN), NaturalShift(domain, Target(dataset, category, CLEAN))

    def _score(
        self, experiment: Experiment, bank: Bank, threshold: str, natural: NaturalShift | None
    ) -> Iterator[Cell]:
        own = self.categories(f"{bank.training.dataset}/{bank.training.category}")
        domains = [bank.training.domain] if experiment.target_domains == "same" else experiment.target_domains
        # Named domains are seen from where the alias started, so that its bank can be scored there, too.
        from_origin = natural is not None and experiment.target_domains != "same"
        start = [(natural.origin.dataset, natural.origin.category)] if natural and from_origin else own
        selectors = experiment.targets
        targets = start if selectors == "same" else [pair for each in selectors for pair in self.categories(each)]
        for pair, domain in itertools.product(targets, domains):
            target, reached = self._resolve(*pair, domain)
            if experiment.calibrate_on == "target":
                calibration = target
            else:
                source = Target(*pair, bank.training.domain) if pair in own else bank.training
                named = bank.training.domain if experiment.calibrate_on == "training" else experiment.calibrate_on
                calibration = replace(source, domain=named)
            reached = reached or (natural if target == bank.training else None)
            yield Cell(bank, target, calibration, threshold, reached)
