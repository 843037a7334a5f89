# Write what a study hands over in the form that another project's readers and scripts know (config: deliverables).
#
# Needs  results/studies/{study}/experiments/{experiment}/{results,costs}.csv, results/studies/{study}/distances.csv,
#        results/metrics, results/thresholds, results/splits  (of the cells of its experiments), or a folder of figures:
#        each file what it is made of
# Makes  results/studies/{study}/deliverables/{deliverable}


rule write_deliverables:
    input:
        lambda wildcards: deliverables.deliverable_inputs(study, wildcards.deliverable),
    output:
        deliverable=f"{study.folder}/deliverables/{{deliverable}}",
    log:
        f"results/logs/write_deliverables/{study.name}/{{deliverable}}.log",
    benchmark:
        f"results/benchmarks/write_deliverables/{study.name}/{{deliverable}}.tsv"
    wildcard_constraints:
        deliverable=deliverables.deliverable_constraint(study),
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        spec=lambda wildcards: deliverables.deliverable_spec(
            study, wildcards.deliverable
        ),
        plan=lambda wildcards: deliverables.deliverable_plan(
            study, wildcards.deliverable
        ),
        splits=lambda wildcards: deliverables.deliverable_splits(
            study, wildcards.deliverable
        ),
        folder=lambda wildcards, output: str(Path(output.deliverable).parents[1]),
        stage=stage_version("write_deliverables"),
    shell:
        "python workflow_scripts/write_deliverables.py"
        " --spec {params.spec:q} --plan {params.plan:q} --splits {params.splits:q} --folder {params.folder:q}"
        " --deliverable {output.deliverable:q} > {log:q} 2>&1"
