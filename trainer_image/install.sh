#!/bin/sh
# Installs the locked dependencies of /opt/locked into /opt/venv. Runs inside the image's build only; see Dockerfile.
set -eu

uv() { /opt/uv/bin/uv --quiet --no-cache "$@"; }

export VIRTUAL_ENV=/opt/venv UV_PYTHON_DOWNLOADS=never
export UV_SYSTEM_CERTS=true # a build machine with its own CA mounts it at /etc/ssl/certs

uv venv --python "$(command -v python3)" "${VIRTUAL_ENV}"
site="$("${VIRTUAL_ENV}/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
if [ -z "${TORCH_INDEX}" ]; then
  uv pip install --no-deps --require-hashes -r /opt/locked/all.txt
else
  # Torch's own dependencies (CUDA, triton) are not in this list: the other index brings what its torch needs.
  uv pip install --no-deps --require-hashes -r /opt/locked/without-torch.txt
  uv pip install --index "${TORCH_INDEX}" -r /opt/locked/torch.txt
fi

prune() { "${VIRTUAL_ENV}/bin/python" -B /opt/locked/prune.py "$1" "${DEVICE}" "${site}"; }
if [ "${DEVICE}" = cpu ] && [ -z "${TORCH_INDEX}" ]; then
  # The compiler comes and goes within this layer, too.
  apt-get -qq update
  apt-get -qq install -y --no-install-recommends gcc libc6-dev >/dev/null
  "${VIRTUAL_ENV}/bin/python" -B /opt/locked/without_cuda.py "${site}"
  prune installed
  apt-get -qq purge -y --auto-remove gcc libc6-dev >/dev/null
  rm -rf /var/lib/apt/lists/* /var/cache/apt/*
else
  prune installed
fi

# No pod can write .pyc files, and importing torch without them takes seconds longer. All processors share the work.
"${VIRTUAL_ENV}/bin/python" -m compileall -q -j 0 "${site}" >/dev/null || true # some packages ship templates of code

# What `pip install .` would have made, without putting our code into this layer.
cat >"${VIRTUAL_ENV}/bin/dino" <<'SCRIPT'
#!/opt/venv/bin/python
from dino_trainer.command.cli import main

# Processes that are started afresh read this file, too, under another name.
if __name__ == "__main__":
    raise SystemExit(main())
SCRIPT
chmod 0755 "${VIRTUAL_ENV}/bin/dino"

"${VIRTUAL_ENV}/bin/python" /opt/locked/check.py "${DEVICE}"
prune size
