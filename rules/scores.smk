# Score the validation and test images of a target with a bank.
#
# Needs  results/banks/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}.h5
#        results/features/{target_dataset}/{target_category}/{target_domain}/{backbone}.h5
#        results/splits/{target_dataset}/{target_category}/{split}.csv
# Makes  results/scores/<bank>/on/{target_dataset}/{target_category}/{target_domain}.h5


rule score_images:
    input:
        bank="results/banks/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}.h5",
        features="results/features/{target_dataset}/{target_category}/{target_domain}/{backbone}.h5",
        split="results/splits/{target_dataset}/{target_category}/{split}.csv",
    output:
        scores="results/scores/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}/on/{target_dataset}/{target_category}/{target_domain}.h5",
    log:
        "results/logs/score_images/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}/on/{target_dataset}/{target_category}/{target_domain}.log",
    benchmark:
        "results/benchmarks/score_images/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}/on/{target_dataset}/{target_category}/{target_domain}.tsv"
    conda:
        "../envs/numeric.yaml"
    threads: 2
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        spec=lambda wildcards: study.score_spec(wildcards.detector),
        stage=stage_version("score_images"),
    shell:
        "python workflow_scripts/score_images.py"
        " --bank {input.bank:q} --features {input.features:q} --split {input.split:q}"
        " --spec {params.spec:q} --stage {params.stage:q} --scores {output.scores:q} > {log:q} 2>&1"
