#!/bin/sh
# Prints which packages of uv.lock the trainer's image has, as arguments of `uv export`: packages.sh gpu, or cpu.
set -eu

# What only a GPU uses: of a CPU's image a GB of downloads, and 5 GB unpacked. Of the rest of NVIDIA's packages, 20 MB,
# torch's part for CPUs needs a library each; without_cuda.py says how torch does without these.
only_gpu="
cuda-bindings cuda-pathfinder nvidia-cublas nvidia-cuda-cccl nvidia-cuda-nvrtc nvidia-cudnn-cu13 nvidia-cufft
nvidia-cusolver nvidia-cusparse nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink nvidia-nvshmem-cu13 nvidia-nvtx
triton
"

printf '%s' "--frozen --no-emit-project --no-default-groups --extra trainer"
case "$1" in
gpu) ;;
cpu) for name in ${only_gpu}; do printf ' --prune %s' "${name}"; done ;;
*)
  echo "error: DEVICE is $1: write gpu or cpu" >&2
  exit 64
  ;;
esac
echo
