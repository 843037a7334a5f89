# Write all images and masks of a category as a declared shift shows them.
#
# Needs  results/images/{dataset}/{category}.csv, and the images it lists
# Makes  results/domains/{dataset}/{category}/{domain}  (images, masks, index.csv)


rule synthesize_shift:
    input:
        index="results/images/{dataset}/{category}.csv",
    output:
        images=directory("results/domains/{dataset}/{category}/{domain}"),
    log:
        "results/logs/synthesize_shift/{dataset}/{category}/{domain}.log",
    benchmark:
        "results/benchmarks/synthesize_shift/{dataset}/{category}/{domain}.tsv"
    conda:
        "../envs/images.yaml"
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        root=lambda wildcards: study.image_root(wildcards.dataset, wildcards.category),
        spec=lambda wildcards: study.domain_spec(wildcards.domain),
        stage=stage_version("synthesize_shift"),
    shell:
        "python workflow_scripts/synthesize_shift.py"
        " --index {input.index:q} --root {params.root:q} --spec {params.spec:q} --images {output.images:q}"
        " > {log:q} 2>&1"
