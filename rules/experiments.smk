# Each experiment by its name: `snakemake --cores 2 {experiment}` makes what its tables need, and no other experiment.
#
# Needs  results/studies/{study}/experiments/{experiment}/results.csv, costs.csv
#        (what compares it with others, analyses and figures, needs all experiments: `all`)

taken = [name for name in study.cells if workflow.is_rule(name)]
if taken:
    sys.exit(
        f"experiments: rules of the workflow have the names {', '.join(taken)}: choose others"
    )

for experiment in study.cells:

    rule:
        name:
            experiment
        input:
            f"{study.folder}/experiments/{experiment}/results.csv",
            f"{study.folder}/experiments/{experiment}/costs.csv",
