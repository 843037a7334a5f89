# Divide a category's images into train, val and test: drawn once, saved.
#
# Needs  results/images/{dataset}/{category}.csv
# Makes  results/splits/{dataset}/{category}/{split}.csv


rule split_images:
    input:
        index="results/images/{dataset}/{category}.csv",
    output:
        split="results/splits/{dataset}/{category}/{split}.csv",
    log:
        "results/logs/split_images/{dataset}/{category}/{split}.log",
    benchmark:
        "results/benchmarks/split_images/{dataset}/{category}/{split}.tsv"
    conda:
        "../envs/images.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        spec=lambda wildcards: study.split_spec(wildcards.split),
        stage=stage_version("split_images"),
    shell:
        "python workflow_scripts/split_images.py"
        " --index {input.index:q} --spec {params.spec:q} --split {output.split:q} > {log:q} 2>&1"
