"""A study small enough to run in a test, to its report."""

TINY_STUDY = """\
study: tiny
question: Does everything fit together?
add:
  datasets:
    tiny:
      adapter: mvtec_ad
      categories: [weave]
      generate: {train_good: 6, test_good: 4, test_per_defect: 2}
  splits:
    tiny_split: {protocol: source_plan, train_share: 0.8, val_anomalous_share: 0.3}
  domains:
    turned: {shift: geometric, severity: moderate, seed: 0}
  backbones:
    tiny_scattering: {source: scattering, image_size: 64, octaves: 3, orientations: 2, stride: 8, threads: 1}
  detectors:
    tiny_patchcore:
      method: patchcore
      representation: {normalise: standardise}
      sampler: {share: 0.1}
      image_score: {method: max}
      threads: 1
  thresholds:
    tiny_quantile: {policy: normal_quantile, quantile: 0.9}
select:
  splits: [tiny_split]
  backbones: [tiny_scattering]
  detectors: [tiny_patchcore]
  thresholds: [tiny_quantile]
experiments:
  shifted:
    title: Clean bank on shifted images
    train: [tiny]
    target_domains: [clean, turned]
"""
