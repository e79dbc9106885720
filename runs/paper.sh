#!/usr/bin/env bash
# The paper's own pairs and hyper-parameters, on GPUs, through the same grids as the desk.
#
#   runs/paper.sh                     # what would be run: cells, GPU hours, memory; runs nothing
#   runs/paper.sh run                 # tables 1, 2 and 5 with one seed
#   runs/paper.sh run --all --seeds 5 # everything
#
# Needs GPUs that hold a cell (the dry run prints its memory; larger ones: accelerate launch with --training-arguments '{"fsdp": "full_shard"}'
# through paced_exp.distill), vLLM (pip install ".[vllm]"), and a hub that can be reached, or HF_HOME with the models in it. Killed at any
# moment, the same command goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
PY=${PY:-.venv/bin/python}
DEFAULT=(--table distillation --table self-distillation --table two-stage --seeds 1)
if [ "${1:-}" = run ]; then
  shift
  [ $# -gt 0 ] || set -- "${DEFAULT[@]}"
  "$PY" -m paced_exp.reproduce --scale paper --keep "$@"
else
  [ $# -gt 0 ] || set -- "${DEFAULT[@]}"
  "$PY" -m paced_exp.reproduce --scale paper --dry-run "$@"
fi
