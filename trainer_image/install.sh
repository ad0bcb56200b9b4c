#!/bin/sh
# Installs the locked dependencies into /opt/venv. Runs inside the image's build only; see Dockerfile.
set -eu

python3 -m venv /tmp/uv
/tmp/uv/bin/pip install --quiet --no-cache-dir "uv==${UV_VERSION}"
uv() { /tmp/uv/bin/uv --quiet --no-cache "$@"; }

export UV_PROJECT_ENVIRONMENT=/opt/venv VIRTUAL_ENV=/opt/venv UV_PYTHON_DOWNLOADS=never
export UV_SYSTEM_CERTS=true # a build machine with its own CA mounts it at /etc/ssl/certs
export UV_COMPILE_BYTECODE=true # no pod can write .pyc files, and importing torch without them takes seconds longer
export UV_PYTHON="$(command -v python3)"

if [ -z "${TORCH_INDEX}" ]; then
  uv sync --frozen --no-install-project --extra trainer
else
  # --prune takes torch's own dependencies (CUDA, triton) out of the locked list: the other index brings its own.
  uv export --frozen --no-emit-project --extra trainer --prune torch --prune torchvision >/tmp/locked.txt
  uv export --frozen --no-emit-project --extra trainer --no-hashes | grep -E '^(torch|torchvision)==' >/tmp/torch.txt
  uv venv "${UV_PROJECT_ENVIRONMENT}"
  uv pip install --no-deps -r /tmp/locked.txt
  uv pip install --index "${TORCH_INDEX}" -r /tmp/torch.txt
fi

# What `pip install .` would have made, without putting our code into this layer.
cat >/opt/venv/bin/dino <<'SCRIPT'
#!/opt/venv/bin/python
from dino_trainer.cli import main

raise SystemExit(main())
SCRIPT
chmod 0755 /opt/venv/bin/dino

rm -rf /tmp/uv /tmp/locked.txt /tmp/torch.txt
/opt/venv/bin/python -c "import torch, torchvision, timm, boto3; print('torch', torch.__version__)"
