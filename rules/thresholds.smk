# Turn validation scores into a decision threshold. Test images are never seen here.
#
# Needs  results/scores/<bank>/on/{calibration_dataset}/{calibration_category}/{calibration_domain}.h5
#        results/packs/{calibration_dataset}/{calibration_category}/{calibration_domain}.h5  (labels; masks, where a dual bank is calibrated)
#        results/splits/{calibration_dataset}/{calibration_category}/{split}.csv
#        scores and pack of a domain of synthetic defects, where the policy takes its defects from there
# Makes  results/thresholds/<bank>/from/{calibration_dataset}/{calibration_category}/{calibration_domain}/{policy}.json


rule calibrate_threshold:
    input:
        scores="results/scores/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}/on/{calibration_dataset}/{calibration_category}/{calibration_domain}.h5",
        pack="results/packs/{calibration_dataset}/{calibration_category}/{calibration_domain}.h5",
        split="results/splits/{calibration_dataset}/{calibration_category}/{split}.csv",
        defects_scores=lambda wildcards: [
            f"results/scores/{wildcards.dataset}/{wildcards.category}/{wildcards.domain}/{wildcards.split}/{wildcards.backbone}/{wildcards.detector}/seed{wildcards.seed}/on/{wildcards.calibration_dataset}/{wildcards.calibration_category}/{domain}.h5"
            for domain in study.defects_of(wildcards.policy)
        ],
        defects_pack=lambda wildcards: [
            f"results/packs/{wildcards.calibration_dataset}/{wildcards.calibration_category}/{domain}.h5"
            for domain in study.defects_of(wildcards.policy)
        ],
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
        defects=lambda wildcards, input: options(
            defects_scores=input.defects_scores, defects_pack=input.defects_pack
        ),
        spec=lambda wildcards: study.threshold_spec(wildcards.policy),
        stage=stage_version("calibrate_threshold"),
    shell:
        "python workflow_scripts/calibrate_threshold.py"
        " --scores {input.scores:q} --pack {input.pack:q} --split {input.split:q} {params.defects:q}"
        " --spec {params.spec:q} --stage {params.stage:q} --threshold {output.threshold:q} > {log:q} 2>&1"
