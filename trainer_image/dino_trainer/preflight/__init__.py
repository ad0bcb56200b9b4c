"""`dino preflight`: everything that data can show to be wrong, before a GPU is asked for.

Read in the order of the work: `sources.py` stages and reads each source, `annotations.py` checks
what a file says, `images.py` looks into every image, `splits.py` compares sources, splits and the
spec; `findings.py` collects. Then `statistics.py`, `samples.py` and `page.py` make the report. The
rules themselves are `dino_api.rules.data`. Nothing in here imports torch.
"""
