# Ranking metrics of a bank on a target's test images, with bootstrap intervals.
#
# Needs  results/scores/<bank>/on/{target_dataset}/{target_category}/{target_domain}.h5
#        results/packs/{target_dataset}/{target_category}/{target_domain}.h5  (labels, masks)
#        results/splits/{target_dataset}/{target_category}/{split}.csv
# Makes  results/metrics/<bank>/on/{target_dataset}/{target_category}/{target_domain}.json


rule evaluate:
    input:
        scores="results/scores/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}/on/{target_dataset}/{target_category}/{target_domain}.h5",
        pack="results/packs/{target_dataset}/{target_category}/{target_domain}.h5",
        split="results/splits/{target_dataset}/{target_category}/{split}.csv",
    output:
        metrics="results/metrics/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}/on/{target_dataset}/{target_category}/{target_domain}.json",
    log:
        "results/logs/evaluate/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}/on/{target_dataset}/{target_category}/{target_domain}.log",
    benchmark:
        "results/benchmarks/evaluate/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}/on/{target_dataset}/{target_category}/{target_domain}.tsv"
    conda:
        "../envs/numeric.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        spec=study.evaluation_spec(),
        stage=stage_version("evaluate"),
    shell:
        "python workflow_scripts/evaluate.py"
        " --scores {input.scores:q} --pack {input.pack:q} --split {input.split:q}"
        " --category {wildcards.target_dataset:q}/{wildcards.target_category:q}"
        " --spec {params.spec:q} --stage {params.stage:q} --metrics {output.metrics:q} > {log:q} 2>&1"
