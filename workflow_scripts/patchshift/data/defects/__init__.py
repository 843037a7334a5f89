"""Images that a study makes for its positive bank or its calibration: crops of real defects, and synthetic ones.

Tested in tests/data/test_crops.py, tests/data/test_synthesis.py and tests/data/test_diffusion.py.
"""
