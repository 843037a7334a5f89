# List all images of a category, with masks, labels and digests.
#
# Needs  the category's folder: in data_dir (perhaps downloaded), or results/datasets/{dataset}/{category}
# Makes  results/images/{dataset}/{category}.csv


rule index_images:
    input:
        # Whether images came or went is told by the folders (params), not by the receipt's time.
        receipt=lambda wildcards: [
            ancient(path) for path in study.download(wildcards.dataset)
        ],
        generated=lambda wildcards: study.generated_images(
            wildcards.dataset, wildcards.category
        ),
    output:
        index="results/images/{dataset}/{category}.csv",
    log:
        "results/logs/index_images/{dataset}/{category}.log",
    benchmark:
        "results/benchmarks/index_images/{dataset}/{category}.tsv"
    conda:
        "../envs/images.yaml"
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        root=lambda wildcards: study.image_root(wildcards.dataset, wildcards.category),
        folders=lambda wildcards: study.folders_fingerprint(
            wildcards.dataset, wildcards.category
        ),
        spec=lambda wildcards: study.dataset_spec(wildcards.dataset),
        stage=stage_version("index_images"),
    shell:
        "python workflow_scripts/index_images.py"
        " --root {params.root:q} --spec {params.spec:q} --index {output.index:q} > {log:q} 2>&1"
