#!/bin/sh
# torch 2.15.0, CPU, a minute and some gigabytes of packages.
#
# A boolean mask that all layers of a transformer share costs memory in each of them. scaled_dot_product_attention makes
# floats of it, zero or minus infinity, and keeps these for the backward pass, though no gradient goes there: with 1,100
# queries 4.8 MB a layer in place of 1.2 MB once. Whoever converts it once and gives the floats to each layer keeps them
# once: they are the same storage then.
#
# Seen, of six layers with a mask of 1100 x 1100:
#   boolean: 6 float masks, 29.0 MB
#   floats: 1 float masks, 4.8 MB
#
# TORCH_PYTHON names a Python that has this torch, in place of an installation.
# Fails where a boolean mask is no longer kept as floats by each layer.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${TORCH_PYTHON:-}
if [ -z "$python" ]; then
    python3 -m venv "$folder/venv"
    python="$folder/venv/bin/python"
    "$python" -m pip install --quiet torch==2.15.0 numpy
fi
cat >"$folder/kept.py" <<'PYTHON'
import sys

import torch
from torch.nn.functional import scaled_dot_product_attention

LAYERS, QUERIES = 6, 1100
print("torch", torch.__version__)


def kept(mask):
    """The storages of masks that six layers keep, and their bytes."""
    storages = {}

    def pack(tensor):
        if tensor.shape[-2:] == mask.shape and tensor.dtype != torch.bool:
            storages[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    query = torch.randn(1, 8, QUERIES, 32, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        for _ in range(LAYERS):
            query = scaled_dot_product_attention(query, query, query, attn_mask=mask)
    return len(storages), sum(each.untyped_storage().nbytes() for each in storages.values())


blocked = torch.zeros(QUERIES, QUERIES, dtype=torch.bool)
blocked[:200, 200:] = True
floats = torch.zeros(blocked.shape).masked_fill_(blocked, float("-inf"))
results = {"boolean": kept(~blocked), "floats": kept(floats)}
for name, (count, size) in results.items():
    print(f"{name}: {count} float masks, {size / 1e6:.1f} MB")
sys.exit(results["boolean"][0] != LAYERS or results["floats"][0] != 1)
PYTHON
"$python" "$folder/kept.py"
