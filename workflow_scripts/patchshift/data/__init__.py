"""Datasets to image indexes, splits, shifted domains and packs. Everything after this folder sees only these."""
