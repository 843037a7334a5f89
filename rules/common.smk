# Bindings between the plan and the rules: the checked study, wildcard constraints, small input functions.

from patchshift.errors import UserError
from patchshift.plan import (
    analyses,
    batches,
    calibrations,
    deliverables,
    exhibits,
    extraction,
    external,
    inspections,
    open_study,
    predictions,
    provenance,
    sharding,
    stage_version,
    targets,
    training_inputs,
    weights,
)
from patchshift.plan.cells import Target
from patchshift.runtime.jobs import list_jobs
from patchshift.runtime.script import LOG_LEVEL
from patchshift.runtime.summary import finish_run, start_run

try:
    study = open_study(config, workflow.config_settings.configfiles)
except UserError as error:
    sys.exit(str(error))


wildcard_constraints:
    dataset=f"{study.constraint('datasets')}|pools",
    category=f"{study.categories()}|{study.constraint('pools')}",
    domain=study.constraint("domains"),
    split=study.constraint("splits"),
    backbone=study.constraint("backbones"),
    weights=weights.fetchable_weights(study),
    detector=study.constraint("detectors"),
    seed=r"\d+",
    target_dataset=study.constraint("datasets"),
    target_category=study.categories(),
    target_domain=study.constraint("domains"),
    calibration_dataset=f"{study.constraint('datasets')}|pools",
    calibration_category=f"{study.categories()}|{study.constraint('pools')}",
    calibration_domain=study.constraint("domains"),
    policy=study.constraint("thresholds"),
    experiment="|".join(study.cells),


def made(folder):
    """A folder of images that a rule makes; deleted after its last use if the study says so."""
    return temp(directory(folder)) if study.config.temp_domains else directory(folder)


def workers_per_domain(wildcards):
    """What is left of the cores for each of the domains that the study makes; elsewhere than here, a few."""
    here = workflow.local_exec and not workflow.remote_exec
    return exhibits.count_workers(study, workflow.cores if here else None)


def domain_inputs(wildcards):
    """The index of a domain's images; a made domain's index lies inside its folder."""
    if study.is_made(wildcards.domain):
        return f"results/domains/{wildcards.dataset}/{wildcards.category}/{wildcards.domain}"
    return f"results/images/{wildcards.dataset}/{wildcards.category}.csv"


def find_index(target, images):
    """The index of a target's images, of which `images` is the input."""
    return f"{images}/index.csv" if study.is_made(target.domain) else str(images)


def find_root(target, images):
    """The folder that this index is relative to."""
    if study.is_made(target.domain):
        return str(images)
    return study.image_root(target.dataset, target.category)


def domain_index(wildcards, input):
    return find_index(wildcards, input.images)


def domain_root(wildcards, input):
    return find_root(wildcards, input.images)


def domain_split(wildcards):
    """The split that a domain of defects comes from."""
    return f"results/splits/{wildcards.dataset}/{wildcards.category}/{study.domain_split(wildcards.domain)}.csv"


def member_names(wildcards):
    """What is trained on, as `dataset/category`: a category, or each member of a pool."""
    return calibrations.name_members(study, wildcards.dataset, wildcards.category)


def member_features(wildcards, domains=None):
    """The feature stores of what is trained on, in the bank's domain or in others."""
    return [
        f"results/features/{member}/{domain}/{wildcards.backbone}.h5"
        for member in member_names(wildcards)
        for domain in (domains if domains is not None else [wildcards.domain])
    ]


def member_packs(wildcards, domains):
    """Their packs in some domains, in the same order."""
    names = member_names(wildcards)
    return [f"results/packs/{name}/{domain}.h5" for name in names for domain in domains]


def member_splits(wildcards):
    """The splits of the same, in the same order."""
    names = member_names(wildcards)
    return [f"results/splits/{name}/{wildcards.split}.csv" for name in names]


def calibration_members(wildcards):
    """Whose validation images set a threshold, in the same way."""
    return calibrations.name_members(
        study, wildcards.calibration_dataset, wildcards.calibration_category
    )


def target_split(wildcards):
    """The split that says which of a target's images are scored; none of a domain of defects, which all are."""
    if study.domain_split(wildcards.target_domain):
        return []
    return f"results/splits/{wildcards.target_dataset}/{wildcards.target_category}/{wildcards.split}.csv"


def scored_target(wildcards):
    return Target(
        wildcards.target_dataset, wildcards.target_category, wildcards.target_domain
    )


def options(**values):
    """Command-line options for those of the values that are there: `defects_pack=path` to `--defects-pack path`."""
    return [
        word
        for name, value in values.items()
        if value
        for word in (
            f"--{name.replace('_', '-')}",
            *([value] if isinstance(value, str) else value),
        )
    ]


def weights_options(backbone):
    """Where extraction finds the weights of a backbone that has any."""
    file = weights.weight_file(study, backbone)
    return options(weights_dir=study.config.weights_dir if file else None)


def extraction_options(backbone):
    """Where extraction runs, and how many threads and processes it has."""
    workers = study.config.num_workers
    return options(
        device=study.config.device,
        threads=str(study.catalog.backbones[backbone].threads),
        num_workers=None if workers is None else str(workers),
    )


def batch_options(batch):
    """The same for a batch; with `output`, Snakemake does not compare it."""
    return lambda wildcards, output: extraction_options(batch.backbone)


def for_each_target(batch, find):
    """What `find_index` or `find_root` say of each target of a batch."""
    return lambda wildcards, input: list(map(find, batch.targets, input.images))


def ask(find, *names):
    """What the plan says of the study; where it cannot, its message alone ends the run, not Snakemake's traceback."""
    try:
        return find(study, *names)
    except UserError as error:
        sys.exit(str(error))


def find_look(wildcards):
    """The look whose figures the study shows of a category and a backbone."""
    place = wildcards.dataset, wildcards.category, wildcards.backbone
    return ask(inspections.find_look, *place)
