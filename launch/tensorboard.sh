#!/usr/bin/env bash
# TensorBoard on a run: every replica group's training and validation curves, and the pictures.
set -euo pipefail
# shellcheck source=launch/environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"

usage="usage: bash launch/tensorboard.sh RUN [--port N] [TensorBoard's arguments, such as --bind_all]"
run="" arguments=()
while (($#)); do
  case "$1" in
    -h | --help)
      cat <<TEXT
$usage

RUN is the --workdir of a training, or a folder of several. The page is at http://localhost:6006.

examples:
  bash launch/tensorboard.sh runs/rice1
  bash launch/tensorboard.sh runs --port 7007 --bind_all

Exit codes: 2 bad usage, else TensorBoard's own.
TEXT
      exit 0
      ;;
    --port)
      [[ $# -ge 2 ]] || fail 2 "--port has no value"
      arguments+=("--port=$2")
      shift
      ;;
    -*) arguments+=("$1") ;;
    *)
      [[ -z "$run" ]] || fail 2 "$1: one run is enough; for several, give the folder they lie in"
      run="$1"
      ;;
  esac
  shift
done
[[ -n "$run" ]] || fail 2 "no run was given; $usage"
[[ -d "$run" ]] || fail 2 "$run is not a directory; give the --workdir of a training"
find "$run" -path '*/summaries/*' -name 'events.out.tfevents.*' -print -quit | grep -q . ||
  say "note: $run holds no summaries yet; TensorBoard will show them when they come"

use_environment
install_package base
export TF_CPP_MIN_LOG_LEVEL="${TF_CPP_MIN_LOG_LEVEL:-2}"
exec "$python" -m tensorboard.main "--logdir=$run" ${arguments[@]+"${arguments[@]}"}
