# Each experiment by its name: `snakemake --cores 2 {experiment}` makes what its tables need, and no other experiment.
#
# Needs  results/studies/{study}/experiments/{experiment}/results.csv, costs.csv
#        (what compares it with others, analyses and figures, needs all experiments: `all`)

for experiment in study.cells:
    if workflow.is_rule(experiment):
        sys.exit(
            f"experiments.{experiment}: a rule of the workflow has this name: choose another"
        )

    rule:
        name:
            experiment
        input:
            f"{study.folder}/experiments/{experiment}/results.csv",
            f"{study.folder}/experiments/{experiment}/costs.csv",
