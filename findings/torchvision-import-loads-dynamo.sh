#!/bin/sh
# torch 2.15.0, torchvision 0.29.2, Linux, a minute and some gigabytes of packages.
#
# `import torch` alone leaves torch.compile's tracer, torch._dynamo, out until something is compiled. `import torchvision`
# brings it in, with sympy and much of torch._inductor, for one question that one operator asks (torchvision.ops.roi_align),
# whatever of torchvision is used: models of timm import torchvision, too. A process that never compiles anything pays
# for it at each start: some 750 modules, more than a second. Not importing torchvision does not help a training: the first
# optimiser brings torch._dynamo in as well.
#
# Seen:
#   import torch              dynamo False, 798 modules of torch, 0 of sympy
#   + torch.optim.AdamW       dynamo True, 1129 modules of torch, 420 of sympy
#   import torchvision        dynamo True, 1133 modules of torch, 420 of sympy
#
# TORCH_PYTHON names a Python that has both, in place of an installation.
# Fails where torchvision no longer imports torch._dynamo, or torch alone does, or an optimiser no longer does.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${TORCH_PYTHON:-}
if [ -z "$python" ]; then
    python3 -m venv "$folder/venv"
    python="$folder/venv/bin/python"
    "$python" -m pip install --quiet torch==2.15.0 torchvision==0.29.2 numpy
fi
cat >"$folder/loaded.py" <<'PYTHON'
import sys


def loaded():
    names = [name.partition(".")[0] for name in sys.modules]
    dynamo = "torch._dynamo" in sys.modules
    print(f"dynamo {dynamo}, {names.count('torch')} modules of torch, {names.count('sympy')} of sympy")
    return dynamo


import torch

alone = loaded()
if sys.argv[1] == "optimiser":
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])
else:
    import torchvision

    print("torch", torch.__version__, "torchvision", torchvision.__version__)
sys.exit(alone or not loaded())
PYTHON
"$python" "$folder/loaded.py" optimiser
"$python" "$folder/loaded.py" torchvision
