#!/usr/bin/env bash
# Starts TensorBoard on one run or several: curves of every replica group, images, and a comparison of the runs.
set -euo pipefail
# shellcheck source=launch/environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"

usage="usage: bash launch/tensorboard.sh RUN... [--port N] [TensorBoard's arguments, such as --bind_all]"
runs=() arguments=()
while (($#)); do
  case "$1" in
    -h | --help)
      cat <<TEXT
$usage

RUN is the --workdir of a training, or a folder with several. The page is at http://localhost:6006.

examples:
  bash launch/tensorboard.sh runs/rice1
  bash launch/tensorboard.sh runs --port 7007 --bind_all

Exit codes: 2 bad usage, otherwise that of TensorBoard.
TEXT
      exit 0
      ;;
    --port)
      [[ $# -ge 2 ]] || fail 2 "--port has no value"
      arguments+=("--port=$2")
      shift
      ;;
    -*) arguments+=("$1") ;;
    *) runs+=("$1") ;;
  esac
  shift
done
((${#runs[@]})) || fail 2 "no run was given; $usage"
for run in "${runs[@]}"; do
  [[ -d "$run" ]] || fail 2 "$run is not a directory; give the --workdir of a training"
  find -L "$run" -path '*/summaries/*' -name 'events.out.tfevents.*' -print -quit | grep -q . ||
    say "note: $run holds no summaries yet; TensorBoard shows them when they are written"
done

logdir="${runs[0]}"
if ((${#runs[@]} > 1)); then
  # Links: --logdir_spec disables TensorBoard's fast reader and does not accept names with a comma or a colon.
  logdir="$(mktemp -d "${TMPDIR:-/tmp}/hazeheal-tensorboard.XXXXXX")"
  trap 'rm -rf -- "$logdir"' EXIT
  for run in "${runs[@]}"; do
    path="$(cd -- "$run" && pwd -P)"
    name="$(basename -- "$path")" number=1
    while [[ -L "$logdir/$name" ]]; do
      [[ "$(readlink -- "$logdir/$name")" != "$path" ]] || fail 2 "$run is given twice; name each run once"
      number=$((number + 1))
      name="$(basename -- "$path")-$number"
    done
    ln -s -- "$path" "$logdir/$name"
  done
fi

use_environment
install_package base
export TF_CPP_MIN_LOG_LEVEL="${TF_CPP_MIN_LOG_LEVEL:-2}"
command=("$python" -m tensorboard.main "--logdir=$logdir" ${arguments[@]+"${arguments[@]}"})
((${#runs[@]} > 1)) || exec "${command[@]}"
# A child, not exec: this script removes the links when TensorBoard ends.
"${command[@]}" &
child=$!
trap 'kill -TERM "$child" 2>/dev/null' INT TERM HUP
wait "$child" && code=0 || code=$?
exit "$code"
