# Draw the built-in dataset.
#
# Makes  results/datasets/{dataset}/{category}  (MVTec AD layout)


rule generate_dataset:
    output:
        images=directory("results/datasets/{dataset}/{category}"),
    log:
        "results/logs/generate_dataset/{dataset}/{category}.log",
    benchmark:
        "results/benchmarks/generate_dataset/{dataset}/{category}.tsv"
    conda:
        "../envs/images.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        spec=lambda wildcards: study.generator_spec(wildcards.dataset),
        stage=stage_version("generate_dataset"),
    shell:
        "python workflow_scripts/generate_dataset.py"
        " --category {wildcards.category:q} --spec {params.spec:q} --images {output.images:q} > {log:q} 2>&1"
