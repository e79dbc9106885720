#!/usr/bin/env bash
# The gpu scale, on one GPU, in pieces of less than ten minutes that resume each other: pretrain the larger pairs, select the learning rates on
# the unweighted baseline, measure the kernels, then the tables of one pass, most important first, and the probes of ranges.
#
#   runs/gpu.sh                       # one piece of at most MINUTES (default 9); run it again until it says that all is done
#   STATE=DIR runs/gpu.sh             # on a machine that forgets: everything is unpacked from DIR/gpu-state.tar first, and packed there after
#
# What is left, with estimates: python -m paced_exp.reproduce --all --scale gpu --dry-run. The other tables: the same without --dry-run.
#
# Needs this repository and torch, transformers (with accelerate), numpy, scipy, pandas (with pyarrow), matplotlib, reasoning-gym,
# jsonargparse[signatures], pebble.
# Exit status: 0 all done, 3 time up with work left, anything else a failure.
set -uo pipefail
cd "$(dirname "$0")/.."
PY=${PY:-python3}
MINUTES=${MINUTES:-9}
BEGAN=$(date +%s)
STATE=${STATE:-}
KEPT=(runs/gpu-scale runs/reproduce/gpu results/gpu)

left() { echo $((MINUTES * 60 - ($(date +%s) - BEGAN))); }

unpack() { if [ -n "$STATE" ] && [ -e "$STATE/gpu-state.tar" ]; then tar -xf "$STATE/gpu-state.tar"; fi; }

pack() {
  local there=()
  for path in "${KEPT[@]}"; do [ -e "$path" ] && there+=("$path"); done
  if [ -n "$STATE" ] && [ ${#there[@]} -gt 0 ]; then
    { tar -cf "$STATE/.gpu-state.tar" "${there[@]}" && mv "$STATE/.gpu-state.tar" "$STATE/gpu-state.tar"; } ||
      echo "the state could not be packed into $STATE; the one before, if any, is still there" >&2
  fi
}

# A stage that the time ends is resumed by the next piece: every command here goes on where it was killed.
stage() {
  local seconds
  seconds=$(left)
  [ "$seconds" -gt 20 ] || { echo "time is up before: $*"; exit 3; }
  echo "== $* (${seconds} s left)"
  timeout --signal=INT --kill-after=15 "$seconds" "$@"
  local status=$?
  # Killed (137) before its time, it was not the clock: too little memory, say.
  if [ "$status" -eq 137 ] && [ "$(left)" -gt 5 ]; then status=1; fi
  case $status in
    0) ;;
    3 | 124 | 130 | 137) echo "time is up in: $*"; exit 3 ;;
    *) echo "failed with status $status: $*" >&2; exit "$status" ;;
  esac
}

unpack
trap pack EXIT

pretrain() {
  for name in "$@"; do
    [ -e "runs/gpu-scale/$name/record.json" ] || stage "$PY" -m paced_exp.lab pretrain "gpu-$name" --device cuda --workers 8 --out "runs/gpu-scale/$name"
  done
}

grids() { stage "$PY" -m paced_exp.reproduce --scale gpu "$@"; }

pretrain teacher student
stage "$PY" -m paced_exp.reproduce.learning_rates --scale gpu
# The kernels `aligned` and `fitted` are measured first: their rows wait for them.
grids --table alignment
grids --table one-pass --table one-pass-short
grids --table self-one-pass
grids --table multi-pass
pretrain teacher-llama student-llama
grids --table llama-one-pass
grids --table figure2
echo "all done"
