# Keep masks and thumbnails of a domain's images in one file, so that evaluation and report read no images.
#
# Needs  results/images/{dataset}/{category}.csv (clean) or results/domains/{dataset}/{category}/{domain}
# Makes  results/packs/{dataset}/{category}/{domain}.h5


rule pack_images:
    input:
        images=domain_inputs,
    output:
        pack="results/packs/{dataset}/{category}/{domain}.h5",
    log:
        "results/logs/pack_images/{dataset}/{category}/{domain}.log",
    benchmark:
        "results/benchmarks/pack_images/{dataset}/{category}/{domain}.tsv"
    conda:
        "../envs/images.yaml"
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        index=domain_index,
        root=domain_root,
        stage=stage_version("pack_images"),
    shell:
        "python workflow_scripts/pack_images.py"
        " --index {params.index:q} --root {params.root:q} --stage {params.stage:q} --pack {output.pack:q}"
        " > {log:q} 2>&1"
