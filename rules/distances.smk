# Measure how far targets' features are from those that banks are fitted on; only where a study looks inside.
#
# Needs  results/features/{dataset}/{category}/{domain}/{backbone}.h5, results/splits/{dataset}/{category}/{split}.csv
#        (of what is trained on, each member of a pool, and of the target)
# Makes  results/distances/{study}/{dataset}/{category}/{domain}/{split}/{backbone}/to/<target>.json,
#        results/studies/{study}/{distances,feature_drifts}.csv and distances.png


rule measure_distances:
    input:
        features=member_features,
        splits=member_splits,
        target_features="results/features/{target_dataset}/{target_category}/{target_domain}/{backbone}.h5",
        target_split="results/splits/{target_dataset}/{target_category}/{split}.csv",
    output:
        distances=f"results/distances/{study.name}/{{dataset}}/{{category}}/{{domain}}/{{split}}/{{backbone}}/to/{{target_dataset}}/{{target_category}}/{{target_domain}}.json",
    log:
        f"results/logs/measure_distances/{study.name}/{{dataset}}/{{category}}/{{domain}}/{{split}}/{{backbone}}/to/{{target_dataset}}/{{target_category}}/{{target_domain}}.log",
    benchmark:
        f"results/benchmarks/measure_distances/{study.name}/{{dataset}}/{{category}}/{{domain}}/{{split}}/{{backbone}}/to/{{target_dataset}}/{{target_category}}/{{target_domain}}.tsv"
    conda:
        "../envs/numeric.yaml"
    resources:
        mem_mb=3000,
        runtime=60,
    params:
        spec=lambda wildcards: inspections.distance_spec(study, wildcards.backbone),
        stage=stage_version("measure_distances"),
    shell:
        "python workflow_scripts/measure_distances.py"
        " --features {input.features:q} --splits {input.splits:q}"
        " --target-features {input.target_features:q} --target-split {input.target_split:q}"
        " --spec {params.spec:q} --stage {params.stage:q} --distances {output.distances:q} > {log:q} 2>&1"


rule collect_distances:
    input:
        distances=[pair.path for pair in inspections.list_distances(study)],
    output:
        table=report(
            f"{study.folder}/distances.csv",
            category="Tables",
            labels={"of": "the study", "table": "distances.csv"},
        ),
        drifts=report(
            f"{study.folder}/feature_drifts.csv",
            category="Tables",
            labels={"of": "the study", "table": "feature_drifts.csv"},
        ),
        figure=report(
            f"{study.folder}/distances.png",
            category="Features",
            labels={"figure": "distances between domains"},
        ),
    log:
        f"results/logs/collect_distances/{study.name}.log",
    benchmark:
        f"results/benchmarks/collect_distances/{study.name}.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        plan=study.plan_spec(),
        backbones=inspections.inspected_backbones(study),
        stage=stage_version("collect_distances"),
    shell:
        "python workflow_scripts/collect_distances.py --plan {params.plan:q} --backbones {params.backbones:q}"
        " --table {output.table:q} --drifts {output.drifts:q} --figure {output.figure:q} > {log:q} 2>&1"
