# Decide every test image of a target at a threshold calibrated elsewhere or there, and count the mistakes.
#
# Needs  results/scores/<bank>/on/{target_dataset}/{target_category}/{target_domain}.h5
#        results/packs/{target_dataset}/{target_category}/{target_domain}.h5  (labels; masks, where pixels have a threshold, or the ranking depends on the calibration; ignore masks, where zones decide)
#        results/splits/{target_dataset}/{target_category}/{split}.csv
#        results/thresholds/<bank>/from/{calibration_dataset}/{calibration_category}/{calibration_domain}/{policy}.json
# Makes  results/decisions/<bank>/on/{target_dataset}/{target_category}/{target_domain}/from/{calibration_dataset}/{calibration_category}/{calibration_domain}/{policy}.json


rule decide:
    input:
        scores="results/scores/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}/on/{target_dataset}/{target_category}/{target_domain}.h5",
        pack="results/packs/{target_dataset}/{target_category}/{target_domain}.h5",
        split="results/splits/{target_dataset}/{target_category}/{split}.csv",
        threshold="results/thresholds/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}/from/{calibration_dataset}/{calibration_category}/{calibration_domain}/{policy}.json",
    output:
        decisions="results/decisions/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}/on/{target_dataset}/{target_category}/{target_domain}/from/{calibration_dataset}/{calibration_category}/{calibration_domain}/{policy}.json",
    log:
        "results/logs/decide/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}/on/{target_dataset}/{target_category}/{target_domain}/from/{calibration_dataset}/{calibration_category}/{calibration_domain}/{policy}.log",
    benchmark:
        "results/benchmarks/decide/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}/on/{target_dataset}/{target_category}/{target_domain}/from/{calibration_dataset}/{calibration_category}/{calibration_domain}/{policy}.tsv"
    conda:
        "../envs/numeric.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        spec=study.evaluation_spec(),
        stage=stage_version("decide"),
    shell:
        "python workflow_scripts/decide.py"
        " --scores {input.scores:q} --pack {input.pack:q} --split {input.split:q} --threshold {input.threshold:q}"
        " --spec {params.spec:q} --stage {params.stage:q} --decisions {output.decisions:q} > {log:q} 2>&1"
