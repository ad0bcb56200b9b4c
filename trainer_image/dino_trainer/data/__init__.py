"""From a data source to batches: staging, COCO, transforms, sampling, loading.

Read in the order of the data: `stage.py` (bring it here), `archive.py` (take an archive in),
`coco.py` (check it, keep it as flat arrays), `transforms.py`, `sampler.py`, `loader.py`. Nothing in
here knows the model or the training loop.
"""
