"""patchshift: which backbone, memory bank, fusion and threshold work on your inspection images."""
