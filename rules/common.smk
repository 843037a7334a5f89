# Bindings between the plan and the rules: the checked study, wildcard constraints, small input functions.

from patchshift.errors import UserError
from patchshift.plan import exhibits, open_study, stage_version, weights
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
    detector=study.constraint("detectors"),
    seed=r"\d+",
    target_dataset=study.constraint("datasets"),
    target_category=study.categories(),
    target_domain=study.constraint("domains"),
    calibration_dataset=study.constraint("datasets"),
    calibration_category=study.categories(),
    calibration_domain=study.constraint("domains"),
    policy=study.constraint("thresholds"),
    experiment="|".join(study.cells),


def made(folder):
    """A folder of images that a rule makes; deleted after its last use if the study says so."""
    return temp(directory(folder)) if study.config.temp_domains else directory(folder)


def workers_per_domain(wildcards):
    """What is left of the cores for each of the domains that the study makes; elsewhere than here, a few."""
    domains = len(exhibits.list_made_domains(study))
    return max(1, workflow.cores // max(1, domains)) if workflow.cores else 4


def domain_inputs(wildcards):
    """The index of a domain's images; a made domain's index lies inside its folder."""
    if study.is_made(wildcards.domain):
        return f"results/domains/{wildcards.dataset}/{wildcards.category}/{wildcards.domain}"
    return f"results/images/{wildcards.dataset}/{wildcards.category}.csv"


def domain_index(wildcards, input):
    return (
        f"{input.images}/index.csv"
        if study.is_made(wildcards.domain)
        else str(input.images)
    )


def domain_root(wildcards, input):
    if study.is_made(wildcards.domain):
        return str(input.images)
    return study.image_root(wildcards.dataset, wildcards.category)


def domain_split(wildcards):
    """The split that a domain of defects comes from."""
    return f"results/splits/{wildcards.dataset}/{wildcards.category}/{study.domain_split(wildcards.domain)}.csv"


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
