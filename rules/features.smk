# Pass all images of a domain through a backbone once; keep the raw layer maps.
#
# Needs  results/images/{dataset}/{category}.csv (clean) or results/domains/{dataset}/{category}/{domain};
#        the backbone's weight file in weights_dir, if it has one
# Makes  results/features/{dataset}/{category}/{domain}/{backbone}.h5


rule extract_features:
    input:
        images=domain_inputs,
        weights=lambda wildcards: weights.weight_inputs(study, wildcards.backbone),
    output:
        features="results/features/{dataset}/{category}/{domain}/{backbone}.h5",
    log:
        "results/logs/extract_features/{dataset}/{category}/{domain}/{backbone}.log",
    benchmark:
        "results/benchmarks/extract_features/{dataset}/{category}/{domain}/{backbone}.tsv"
    conda:
        "../envs/torch.yaml"
    threads: 2
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        index=domain_index,
        root=domain_root,
        weights=lambda wildcards: options(
            weights_dir=[study.config.weights_dir]
            * bool(weights.weight_file(study, wildcards.backbone))
        ),
        spec=lambda wildcards: study.backbone_spec(wildcards.backbone),
        stage=stage_version("extract_features"),
    shell:
        "python workflow_scripts/extract_features.py"
        " --index {params.index:q} --root {params.root:q} {params.weights:q}"
        " --spec {params.spec:q} --stage {params.stage:q} --features {output.features:q} > {log:q} 2>&1"
