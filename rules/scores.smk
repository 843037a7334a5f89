# Score the validation and test images of a target with a bank, or all images of a domain of synthetic defects.
#
# Needs  results/banks/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}.h5
#        results/features/{target_dataset}/{target_category}/{target_domain}/{backbone}.h5
#        results/splits/{target_dataset}/{target_category}/{split}.csv  (without: all images, of synthetic defects)
#        results/packs/{target_dataset}/{target_category}/{target_domain}.h5  (ignore masks, where the dataset has them)
# Makes  results/scores/<bank>/on/{target_dataset}/{target_category}/{target_domain}.h5


rule score_images:
    input:
        bank="results/banks/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}.h5",
        features="results/features/{target_dataset}/{target_category}/{target_domain}/{backbone}.h5",
        split=target_split,
        pack=lambda wildcards: (
            f"results/packs/{wildcards.target_dataset}/{wildcards.target_category}/{wildcards.target_domain}.h5"
            if study.ignores_regions(wildcards.target_dataset)
            else []
        ),
    output:
        scores="results/scores/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}/on/{target_dataset}/{target_category}/{target_domain}.h5",
    log:
        "results/logs/score_images/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}/on/{target_dataset}/{target_category}/{target_domain}.log",
    benchmark:
        "results/benchmarks/score_images/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}/on/{target_dataset}/{target_category}/{target_domain}.tsv"
    wildcard_constraints:
        detector=external.name_detectors(study, fitted=True),
    conda:
        "../envs/numeric.yaml"
    threads: lambda wildcards: study.catalog.detectors[wildcards.detector].threads
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        which=lambda wildcards, input: options(split=input.split, pack=input.pack),
        spec=lambda wildcards: study.score_spec(wildcards.detector),
        stage=stage_version("score_images"),
    shell:
        "python workflow_scripts/score_images.py"
        " --bank {input.bank:q} --features {input.features:q} {params.which:q}"
        " --spec {params.spec:q} --stage {params.stage:q} --scores {output.scores:q} > {log:q} 2>&1"
