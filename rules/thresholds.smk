# Turn validation scores into a decision threshold. Test images are never seen here.
#
# Needs  results/scores/<bank>/on/{calibration_dataset}/{calibration_category}/{calibration_domain}.h5
#        results/packs/{calibration_dataset}/{calibration_category}/{calibration_domain}.h5  (labels)
#        results/splits/{calibration_dataset}/{calibration_category}/{split}.csv
# Makes  results/thresholds/<bank>/from/{calibration_dataset}/{calibration_category}/{calibration_domain}/{policy}.json


rule calibrate_threshold:
    input:
        scores="results/scores/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}/on/{calibration_dataset}/{calibration_category}/{calibration_domain}.h5",
        pack="results/packs/{calibration_dataset}/{calibration_category}/{calibration_domain}.h5",
        split="results/splits/{calibration_dataset}/{calibration_category}/{split}.csv",
    output:
        threshold="results/thresholds/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}/from/{calibration_dataset}/{calibration_category}/{calibration_domain}/{policy}.json",
    log:
        "results/logs/calibrate_threshold/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}/from/{calibration_dataset}/{calibration_category}/{calibration_domain}/{policy}.log",
    benchmark:
        "results/benchmarks/calibrate_threshold/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}/from/{calibration_dataset}/{calibration_category}/{calibration_domain}/{policy}.tsv"
    conda:
        "../envs/numeric.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        spec=lambda wildcards: study.threshold_spec(wildcards.policy),
        stage=stage_version("calibrate_threshold"),
    shell:
        "python workflow_scripts/calibrate_threshold.py"
        " --scores {input.scores:q} --pack {input.pack:q} --split {input.split:q}"
        " --spec {params.spec:q} --stage {params.stage:q} --threshold {output.threshold:q} > {log:q} 2>&1"
