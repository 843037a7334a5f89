# Put a bank, its threshold and all else that new images need into one file, and predict a folder of images with it.
# No target of `all` needs these: ask for them by path (docs/predict.md).
#
# Needs  results/banks/<bank>.h5, and the features that it was fitted on
#        results/thresholds/<bank>/from/<calibration>/{policy}.json, with the scores, packs and splits that it comes from
#        the backbone's weight file in weights_dir, if it has one; for predict_images the folder `predict_on`
# Makes  results/exports/<bank>/from/<calibration>/{policy}.h5
#        results/predicted/<bank>/from/<calibration>/{policy}


rule export_model:
    input:
        bank="results/banks/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}.h5",
        features=member_features,
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
        threshold="results/thresholds/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}/from/{calibration_dataset}/{calibration_category}/{calibration_domain}/{policy}.json",
        weights=lambda wildcards: weights.weight_inputs(study, wildcards.backbone),
    output:
        model="results/exports/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}/from/{calibration_dataset}/{calibration_category}/{calibration_domain}/{policy}.h5",
    log:
        "results/logs/export_model/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}/from/{calibration_dataset}/{calibration_category}/{calibration_domain}/{policy}.log",
    benchmark:
        "results/benchmarks/export_model/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}/from/{calibration_dataset}/{calibration_category}/{calibration_domain}/{policy}.tsv"
    wildcard_constraints:
        detector=external.name_detectors(study, fitted=True),
    conda:
        "../envs/numeric.yaml"
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        weights=lambda wildcards: options(
            weights=str(weights.weight_file(study, wildcards.backbone) or "")
        ),
        backbone=lambda wildcards: predictions.export_spec(study, wildcards.backbone),
        domain=lambda wildcards: study.domain_spec(wildcards.calibration_domain),
        spec=study.evaluation_spec(),
        stage=stage_version("export_model"),
    shell:
        "python workflow_scripts/export_model.py"
        " --bank {input.bank:q} --features {input.features:q} --scores {input.scores:q} --pack {input.pack:q}"
        " --split {input.split:q} --threshold {input.threshold:q} {params.weights:q}"
        " --backbone {params.backbone:q} --domain {params.domain:q} --spec {params.spec:q} --stage {params.stage:q}"
        " --model {output.model:q} > {log:q} 2>&1"


rule predict_images:
    input:
        model="results/exports/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}/from/{calibration_dataset}/{calibration_category}/{calibration_domain}/{policy}.h5",
    output:
        predictions=directory(
            "results/predicted/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}/from/{calibration_dataset}/{calibration_category}/{calibration_domain}/{policy}"
        ),
    log:
        "results/logs/predict_images/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}/from/{calibration_dataset}/{calibration_category}/{calibration_domain}/{policy}.log",
    benchmark:
        "results/benchmarks/predict_images/{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}/from/{calibration_dataset}/{calibration_category}/{calibration_domain}/{policy}.tsv"
    conda:
        "../envs/predict.yaml"
    threads: lambda wildcards: study.catalog.detectors[wildcards.detector].threads
    resources:
        mem_mb=4000,
        gpu=EXTRACTION_CARDS,
        runtime=240,
    params:
        images=lambda wildcards: str(ask(predictions.predicted_folder)),
        # Images are told by the times of their folders, and by times and sizes of their own.
        folders=lambda wildcards: ask(predictions.predicted_fingerprint),
        weights_dir=study.config.weights_dir,
        # With `output`, Snakemake does not compare it: another device is no reason to predict again.
        device=lambda wildcards, output: study.config.device,
        stage=stage_version("predict_images"),
    shell:
        "python workflow_scripts/predict_images.py"
        " --model {input.model:q} --images {params.images:q} --weights-dir {params.weights_dir:q}"
        " --device {params.device:q} --predictions {output.predictions:q} > {log:q} 2>&1"
