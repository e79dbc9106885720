#!/usr/bin/env bash
# The paper's own pairs and hyper-parameters, on GPUs, through the same grids as the desk.
#
#   runs/paper.sh                     # what would be run: cells, GPU hours, memory; runs nothing
#   runs/paper.sh run                 # distillation, self-distillation and the order of the stages, one pass, with one seed
#   runs/paper.sh run --table alignment   # the probe that measures the kernels `aligned` and `fitted`, whose rows wait for it
#   runs/paper.sh run --all --seeds 5 # everything
#
# Needs GPUs that hold a cell (the dry run prints its memory; larger ones: accelerate launch with --training-arguments '{"fsdp": true}'
# through paced_exp.distill), vLLM (pip install ".[vllm]"), and a hub that can be reached, or HF_HOME with the models in it. Killed at any
# moment, the same command goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
PY=${PY:-.venv/bin/python}
DEFAULT=(--table one-pass --table self-one-pass --table order-one-pass --seeds 1)
if [ "${1:-}" = run ]; then
  shift
  [ $# -gt 0 ] || set -- "${DEFAULT[@]}"
  "$PY" -m paced_exp.reproduce --scale paper --keep "$@"
else
  [ $# -gt 0 ] || set -- "${DEFAULT[@]}"
  "$PY" -m paced_exp.reproduce --scale paper --dry-run "$@"
fi
