"""The trainer: a DINO detector and the `dino` command that trains it.

Runs alone on a laptop or as the pod of a DinoJob, and knows of the cluster only what its
environment says. May import `dino_api` and torch, never kopf, kubernetes or the operator.

Start at `cli.py` (the command) and `launch.py` (one run, from spec file to exit code). `actions/`
has what each action does, `data/` brings images and boxes, `model/` is the detector, `train/` the
loop, `report/` tells the world, `storage.py` and `output.py` read and write files here and on S3.
"""
