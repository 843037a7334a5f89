# Turn validation scores into a decision threshold. Test images are never seen here.
#
# Needs  of the category that is calibrated on, or of each member of the pool:
#        results/scores/<bank>/on/{member}/{calibration_domain}.h5
#        results/packs/{member}/{calibration_domain}.h5  (labels; masks, where pixels or a dual bank are calibrated)
#        results/splits/{member}/{split}.csv
#        scores and packs of a domain of synthetic defects, where the policy takes its defects from there
# Makes  results/thresholds/<bank>/from/{calibration_dataset}/{calibration_category}/{calibration_domain}/{policy}.json


rule calibrate_threshold:
    input:
        scores=lambda wildcards: expand(
            "results/scores/{{dataset}}/{{category}}/{{domain}}/{{split}}/{{backbone}}/{{detector}}/seed{{seed}}/on/{member}/{{calibration_domain}}.h5",
            member=calibration_members(wildcards),
        ),
        pack=lambda wildcards: expand(
            "results/packs/{member}/{{calibration_domain}}.h5",
            member=calibration_members(wildcards),
        ),
        split=lambda wildcards: expand(
            "results/splits/{member}/{{split}}.csv",
            member=calibration_members(wildcards),
        ),
        defects_scores=lambda wildcards: expand(
            "results/scores/{{dataset}}/{{category}}/{{domain}}/{{split}}/{{backbone}}/{{detector}}/seed{{seed}}/on/{member}/{domain}.h5",
            member=calibration_members(wildcards),
            domain=study.defects_of(wildcards.policy),
        ),
        defects_pack=lambda wildcards: expand(
            "results/packs/{member}/{domain}.h5",
            member=calibration_members(wildcards),
            domain=study.defects_of(wildcards.policy),
        ),
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
        smoothing=calibrations.smoothing(study),
        stage=stage_version("calibrate_threshold"),
    shell:
        "python workflow_scripts/calibrate_threshold.py"
        " --scores {input.scores:q} --pack {input.pack:q} --split {input.split:q} {params.defects:q}"
        " --spec {params.spec:q} --smoothing-sigma {params.smoothing:q} --stage {params.stage:q}"
        " --threshold {output.threshold:q} > {log:q} 2>&1"
