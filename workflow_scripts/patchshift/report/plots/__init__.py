"""Figures of an experiment or of a study, each beside its data."""
