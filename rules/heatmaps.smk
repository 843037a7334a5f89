# Draw the anomaly maps of all test images of the study's cells, alone and over the images.
# No target of `all` needs these: ask for all of them by `heatmaps`, or for one cell's by its path (docs/results.md).
#
# Needs  results/scores/<bank>/on/<target>.h5, results/packs/<target>.h5, results/splits/{target_dataset}/{target_category}/{split}.csv
#        results/thresholds/<bank>/from/<calibration>/{policy}.json
# Makes  results/studies/{study}/heatmaps/<bank>/on/<target>/from/<calibration>/{policy}


rule render_heatmaps:
    input:
        scores="results/scores/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}/on/{target_dataset}/{target_category}/{target_domain}.h5",
        pack="results/packs/{target_dataset}/{target_category}/{target_domain}.h5",
        split="results/splits/{target_dataset}/{target_category}/{split}.csv",
        threshold="results/thresholds/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}/from/{calibration_dataset}/{calibration_category}/{calibration_domain}/{policy}.json",
    output:
        heatmaps=directory(
            f"{study.folder}/heatmaps/{{dataset}}/{{category}}/{{domain}}/{{split}}/{{backbone}}/{{detector}}/seed{{seed}}/on/{{target_dataset}}/{{target_category}}/{{target_domain}}/from/{{calibration_dataset}}/{{calibration_category}}/{{calibration_domain}}/{{policy}}"
        ),
    log:
        f"results/logs/render_heatmaps/{study.name}/{{dataset}}/{{category}}/{{domain}}/{{split}}/{{backbone}}/{{detector}}/seed{{seed}}/on/{{target_dataset}}/{{target_category}}/{{target_domain}}/from/{{calibration_dataset}}/{{calibration_category}}/{{calibration_domain}}/{{policy}}.log",
    benchmark:
        f"results/benchmarks/render_heatmaps/{study.name}/{{dataset}}/{{category}}/{{domain}}/{{split}}/{{backbone}}/{{detector}}/seed{{seed}}/on/{{target_dataset}}/{{target_category}}/{{target_domain}}/from/{{calibration_dataset}}/{{calibration_category}}/{{calibration_domain}}/{{policy}}.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        external=lambda wildcards: external.external_options(study, wildcards.detector),
        spec=study.evaluation_spec(),
        stage=stage_version("render_heatmaps"),
    shell:
        "python workflow_scripts/render_heatmaps.py"
        " --scores {input.scores:q} --pack {input.pack:q} --split {input.split:q} --threshold {input.threshold:q}"
        " {params.external:q} --spec {params.spec:q} --heatmaps {output.heatmaps:q} > {log:q} 2>&1"
