# Compare one bank for several categories with a bank for each, where an experiment has a pool.
#
# Needs  results/studies/{study}/{metrics,predictions}.csv
# Makes  results/studies/{study}/experiments/{experiment}/pools.csv


rule compare_pools:
    input:
        metrics=f"{study.folder}/metrics.csv",
        predictions=f"{study.folder}/predictions.csv",
    output:
        pools=report(
            f"{study.folder}/experiments/{{experiment}}/pools.csv",
            category="Tables",
            labels={"of": "{experiment}", "table": "pools.csv"},
        ),
    log:
        f"results/logs/compare_pools/{study.name}/{{experiment}}.log",
    benchmark:
        f"results/benchmarks/compare_pools/{study.name}/{{experiment}}.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        plan=study.plan_spec(),
        folder=lambda wildcards, input: Path(input.metrics).parent,
        spec=study.evaluation_spec(),
        stage=stage_version("compare_pools"),
    shell:
        "python workflow_scripts/compare_pools.py"
        " --plan {params.plan:q} --experiment {wildcards.experiment:q} --folder {params.folder:q}"
        " --spec {params.spec:q} --pools {output.pools:q} > {log:q} 2>&1"
