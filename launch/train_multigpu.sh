#!/usr/bin/env bash
# Makes an environment, installs HazeHeal in it and starts `hazeheal launch` with the same arguments.
set -euo pipefail
# shellcheck source=launch/environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"

usage() {
  cat <<'TEXT'
usage: bash launch/train_multigpu.sh
       bash launch/train_multigpu.sh --config=NAME --hazy_dir=D/hazy --gt_dir=D/GT --workdir=RUN [options]
       bash launch/train_multigpu.sh --config=NAME --data_dir=SHARDS --workdir=RUN [options]

Makes an environment, installs HazeHeal in it and runs `hazeheal launch` with the same arguments. Without
arguments it runs the quickstart: it makes a small data set, trains on it and leaves the run in runs/quickstart.

  --hazy_dir DIR, --gt_dir DIR   folders of hazy and of clear images, converted to WORKDIR/tfrecords first
  --data_dir DIR                 a data set that was converted before
  --workdir DIR                  directory of the run
  --gpus 0,1 | all               GPUs to use (default: all)
  --cpu_replicas N               use no GPU, and N replicas on the CPU
  --groups N, --hosts ..., --index I, --max_restarts N, --hang_timeout SECONDS, --convert.FLAG=VALUE
                                 see `hazeheal launch --help`
  --config.x.y=VALUE, --restore_from RUN, ...
                                 see `hazeheal train --help`
  --dry_run                      print what would be done, check it, and exit; installs nothing
  --help                         print this text

examples
  bash launch/train_multigpu.sh --config=rice1 --hazy_dir=RICE1/cloud --gt_dir=RICE1/label --workdir=runs/rice1
  bash launch/train_multigpu.sh --config=default --data_dir=records/mine --workdir=runs/mine --gpus=0,1 --dry_run

The active virtual or conda environment is used. If none is active, .venv is made in this clone, with $PYTHON or
python3 (3.10 to 3.13). Set HAZEHEAL_SKIP_INSTALL=1 to use the environment as it is.

Exit codes: 0 done, 1 error, 2 bad usage, 75 stopped by SIGTERM after saving, 130 stopped by Ctrl-C after saving.
After 75 and 130, the same command resumes the run.
TEXT
}

# NVIDIA's libraries are about 3 GB: they are installed only where a GPU is used.
extra=base dry_run=""
if nvidia-smi >/dev/null 2>&1; then extra=cuda; fi
for argument in "$@"; do
  case "$argument" in
    -h | --help)
      usage
      exit 0
      ;;
    --cpu_replicas | --cpu_replicas=*) extra=base ;;
    --dry_run) dry_run=1 ;;
  esac
done

choose_environment
if [[ -n "$dry_run" ]] && ! is_installed "$extra"; then
  printf 'environment: %s\n' "$environment"
  [[ -x "$python" ]] || printf 'it would be made with %s\n' "$(find_python)"
  printf 'hazeheal%s would be installed in it, then run: hazeheal launch' "$(pip_extra "$extra")"
  printf ' %q' "$@"
  printf '\nthe training was not checked: hazeheal is not installed yet\n'
  exit 0
fi
use_environment
install_package "$extra"
# The launcher replaces this script: signals reach it, and its exit code is the script's.
exec "$python" -m hazeheal launch "$@"
