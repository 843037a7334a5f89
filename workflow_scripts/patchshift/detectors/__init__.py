"""Anomaly detectors: fitted on normal images, scoring images and patches."""
