"""The trainer: a DINO detector and the `dino` command that trains it.

Runs alone on a laptop or as the pod of a DinoJob, and knows of the cluster only what its
environment says. May import `dino_api` and torch, never kopf, kubernetes or the operator.

Start at `command/cli.py` (the command) and `command/launch.py` (one run, from spec file to exit
code). `actions/` has what each action does, `data/` brings images and boxes, `model/` is the
detector, `train/` the loop, `report/` tells the world, `results/` and `storage/` read and write
files here and on S3. `docs/architecture.md` draws which folder may import which.
"""
