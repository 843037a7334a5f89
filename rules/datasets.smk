# Bring the images: draw the built-in dataset, download the public ones.
#
# Makes  results/datasets/{dataset}/{category}  (MVTec AD layout)
#        {data_dir}/{dataset}.receipt.json, and beside it the dataset's folder. A folder that is there is used as it is


localrules:
    fetch_dataset,


rule fetch_dataset:
    output:
        receipt=str(study.receipt("{dataset}")),
    log:
        "results/logs/fetch_dataset/{dataset}.log",
    benchmark:
        "results/benchmarks/fetch_dataset/{dataset}.tsv"
    conda:
        "../envs/images.yaml"
    resources:
        mem_mb=1000,
        runtime=1440,
    params:
        folder=lambda wildcards: str(study.dataset_folder(wildcards.dataset)),
        # With `output`, Snakemake does not compare it: an edit of the licence's text fetches nothing again.
        spec=lambda wildcards, output: study.fetch_spec(wildcards.dataset),
        stage=stage_version("fetch_dataset"),
    # The progress bar goes to the terminal, past the log.
    shell:
        "python workflow_scripts/fetch_dataset.py --dataset {wildcards.dataset:q}"
        " --spec {params.spec:q} --folder {params.folder:q} --receipt {output.receipt:q} --progress-fd 3"
        " 3>&2 > {log:q} 2>&1"


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
