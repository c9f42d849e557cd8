#!/usr/bin/env bash
# The way in: an environment, the installation, the data, and the training on all GPUs or on CPU replicas.
set -euo pipefail
# shellcheck source=launch/environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"

usage() {
  cat <<'TEXT'
usage: bash launch/train_multigpu.sh
       bash launch/train_multigpu.sh --config=NAME --hazy_dir=D/hazy --gt_dir=D/GT --workdir=RUN [options]
       bash launch/train_multigpu.sh --config=NAME --data_dir=SHARDS --workdir=RUN [options]

Without a data set it runs the quickstart: makes a small one by rule (data/quickstart), trains
configs/quickstart.py on it and leaves the run in runs/quickstart. The same command, run again, goes on
where it stopped or says that the run is complete.

data
  --hazy_dir DIR, --gt_dir DIR   folders of hazy and of clear images; they are converted to
                                 WORKDIR/tfrecords first, by `hazeheal-tfrecords convert`
  --convert.FLAG=VALUE           --FLAG=VALUE for that conversion, such as --convert.tile_size=256
  --data_dir DIR                 shards that were made before
examples
  bash launch/train_multigpu.sh --config=rice1 --hazy_dir=RICE1/cloud --gt_dir=RICE1/label --workdir=runs/rice1
  bash launch/train_multigpu.sh --config=default --data_dir=records/mine --workdir=runs/mine --gpus=0,1 --dry_run
devices
  --gpus 0,1 | all               these GPUs (default: all that are there); numbers as nvidia-smi gives them, or where
                                 CUDA_VISIBLE_DEVICES is set, counted from 0 among those that it leaves
  --cpu_replicas N               no GPU, N replicas on the CPU (the quickstart without GPUs: 2)
processes
  --groups N                     divide the devices over N processes that train as one job
  --hosts h1:PORT,h2:PORT --index I
                                 join several hosts: the same command on each, with its own number I from 0.
                                 The data set and, best, WORKDIR lie on a file system that all of them see; of
                                 --hazy_dir one of them makes the data set, and the others wait for it
  --max_restarts N               a process that is killed, hangs or loses the others is started again, and goes on
                                 from the last checkpoint; N restarts in a row without a new step are the most (10)
  --hang_timeout SECONDS         how long a process may show no sign of life (600; 0: for ever)
run
  --workdir DIR                  the run's directory
  --dry_run                      print what would be done, and do none of it; needs no GPU
  --help                         this text
Everything else goes to `hazeheal launch` and `hazeheal train`: --config=NAME, --config.x.y=VALUE,
--restore_from=RUN, ...
A value follows its option after `=` or after a space.

An active virtual or conda environment is used, else .venv is made here, with $PYTHON or python3
(3.10 to 3.13). HAZEHEAL_SKIP_INSTALL=1 takes the environment as it is.
Exit codes: 0 done, 1 error, 2 bad usage, 75 stopped on request and saved: the same command goes on,
130 after Ctrl-C, likewise.
TEXT
}

gpus="" cpu_replicas="" hazy_dir="" gt_dir="" data_dir="" workdir="" dry_run=""
groups="" hosts="" index="" max_restarts="" hang_timeout="" # for `hazeheal launch`
convert_flags=() train_flags=() config_given=""

while (($#)); do
  case "$1" in
    -h | --help)
      usage
      exit 0
      ;;
    --dry_run) dry_run=1 ;;
    --gpus=* | --cpu_replicas=* | --hazy_dir=* | --gt_dir=* | --data_dir=* | --workdir=* | \
      --groups=* | --hosts=* | --index=* | --max_restarts=* | --hang_timeout=*)
      name="${1%%=*}" value="${1#*=}"
      [[ -n "$value" ]] || fail 2 "$name has no value; see --help"
      printf -v "${name#--}" '%s' "$value"
      ;;
    --gpus | --cpu_replicas | --hazy_dir | --gt_dir | --data_dir | --workdir | \
      --groups | --hosts | --index | --max_restarts | --hang_timeout)
      [[ $# -ge 2 && -n "$2" && "$2" != --* ]] || fail 2 "$1 has no value; see --help"
      printf -v "${1#--}" '%s' "$2"
      shift
      ;;
    --convert.*) convert_flags+=("--${1#--convert.}") ;;
    *)
      [[ "$1" == --config || "$1" == --config=* ]] && config_given=1
      train_flags+=("$1")
      ;;
  esac
  shift
done

# GPUs as nvidia-smi numbers them, one a line; none where there is no driver.
gpu_numbers() {
  { nvidia-smi --query-gpu=index --format=csv,noheader 2>/dev/null || true; } | grep -xE '[0-9]+' || true
}
present=()
while IFS= read -r gpu; do present+=("$gpu"); done < <(gpu_numbers)

if [[ -n "$gpus" && -n "$cpu_replicas" ]]; then
  fail 2 "--gpus=$gpus and --cpu_replicas=$cpu_replicas exclude each other; give one"
fi
if [[ -n "$cpu_replicas" && ! "$cpu_replicas" =~ ^[1-9][0-9]?$ ]]; then
  fail 2 "--cpu_replicas=$cpu_replicas is not a number from 1 to 99"
fi
if [[ -n "$groups" && ! "$groups" =~ ^[1-9][0-9]?$ ]]; then
  fail 2 "--groups=$groups is not a number from 1 to 99"
fi
if [[ -n "$hosts" && -z "$index" ]] || [[ -z "$hosts" && -n "$index" ]]; then
  fail 2 "--hosts and --index belong together; one is missing"
fi
# CUDA_VISIBLE_DEVICES from outside (SLURM sets it) counts: --gpus chooses among what it leaves, which
# `hazeheal launch` checks.
hidden=""
[[ -z "${CUDA_VISIBLE_DEVICES+set}" || "$CUDA_VISIBLE_DEVICES" =~ ^(GPU-|MIG-|[0-9]) ]] || hidden=1
if [[ -n "$gpus" ]]; then
  [[ "$gpus" =~ ^(all|[0-9]+(,[0-9]+)*)$ ]] || fail 2 "--gpus=$gpus is not a list of numbers such as 0,1, or all"
  [[ -z "$hidden" ]] ||
    fail 2 "--gpus=$gpus: there is no GPU: CUDA_VISIBLE_DEVICES=$CUDA_VISIBLE_DEVICES hides them; unset it, or leave --gpus out"
  ((${#present[@]})) ||
    fail 2 "--gpus=$gpus: there is no GPU: nvidia-smi shows none; leave --gpus out, or use --cpu_replicas=N"
  if [[ "$gpus" != all && -z "${CUDA_VISIBLE_DEVICES+set}" ]]; then
    seen=","
    for gpu in ${gpus//,/ }; do
      [[ " ${present[*]} " == *" $gpu "* ]] || fail 2 "--gpus=$gpus: there is no GPU $gpu (there are ${present[*]})"
      [[ "$seen" != *",$gpu,"* ]] || fail 2 "--gpus=$gpus names GPU $gpu twice"
      seen+="$gpu,"
    done
  fi
fi

# Which GPUs will be used, and how that was decided. `hazeheal launch` sets what CUDA has to know.
if [[ -n "$cpu_replicas" ]]; then
  devices="$cpu_replicas CPU replicas, as asked"
  export CUDA_VISIBLE_DEVICES=-1
elif [[ -n "$gpus" ]]; then
  devices="GPUs $gpus, as asked"
elif [[ -n "$hidden" ]]; then
  devices="no GPU (CUDA_VISIBLE_DEVICES hides them)"
elif ((${#present[@]})); then
  devices="GPUs ${CUDA_VISIBLE_DEVICES:-${present[*]}}"
else
  devices="no GPU (nvidia-smi shows none)"
fi

quickstart=""
if [[ -z "$hazy_dir$gt_dir$data_dir$config_given" ]]; then
  quickstart=1
  base="$root/"
  [[ "$PWD" -ef "$root" ]] && base="" # short names where they are right
  workdir="${workdir:-${base}runs/quickstart}"
  data_dir="${base}data/quickstart/tfrecords"
  train_flags=(--config=quickstart ${train_flags[@]+"${train_flags[@]}"})
  # Of several groups each drives one replica.
  if [[ "$devices" == "no GPU"* && "${groups:-1}" == 1 && -z "$hosts" ]]; then
    cpu_replicas=2
    devices="2 CPU replicas: $devices"
  fi
elif [[ -n "$hazy_dir$gt_dir" ]]; then
  [[ -n "$hazy_dir" && -n "$gt_dir" ]] || fail 2 "--hazy_dir and --gt_dir belong together; one is missing"
  [[ -z "$data_dir" ]] || fail 2 "--data_dir=$data_dir and --hazy_dir exclude each other; give one"
  [[ -n "$workdir" ]] || fail 2 "--workdir is missing; it gets the run, and the shards made of --hazy_dir and --gt_dir"
  for folder in "$hazy_dir" "$gt_dir"; do
    [[ -d "$folder" ]] || fail 2 "$folder is not a directory; give the folder of the images"
  done
  data_dir="$workdir/tfrecords"
fi
if ((${#convert_flags[@]})) && [[ -z "$hazy_dir$quickstart" ]]; then
  fail 2 "${convert_flags[0]/#--/--convert.} has nothing to convert; give --hazy_dir and --gt_dir"
fi

# The packages for GPUs are about 3 GB, so they come only where they are of use.
extra=base why="no NVIDIA GPU is seen (nvidia-smi): TensorFlow for the CPU"
if [[ -n "$cpu_replicas" ]] && ((${#present[@]})); then
  why="--cpu_replicas was asked for: TensorFlow for the CPU"
elif ((${#present[@]})); then
  extra=cuda why="nvidia-smi shows ${#present[@]} GPU(s): TensorFlow with NVIDIA's libraries"
fi

# What the processes need; a value that is set already is kept.
quiet=2 # errors alone; without GPUs not those either, for they are about the CUDA that is not there
[[ "$devices" == GPUs* ]] || quiet=3
export PYTHONUNBUFFERED="${PYTHONUNBUFFERED:-1}" # lines appear when they are printed
export TF_CPP_MIN_LOG_LEVEL="${TF_CPP_MIN_LOG_LEVEL:-$quiet}"
export TF_FORCE_GPU_ALLOW_GROWTH="${TF_FORCE_GPU_ALLOW_GROWTH:-true}" # share a GPU with its other users
export TF_GPU_THREAD_MODE="${TF_GPU_THREAD_MODE:-gpu_private}" # input threads must not delay kernel launches
# A collective that fails then says why; everything else of NCCL's is best left to it (it finds NVLink,
# InfiniBand and the network by itself), and a variable set outside reaches it.
export NCCL_DEBUG="${NCCL_DEBUG:-WARN}"

train=(-m hazeheal launch)
[[ -z "$data_dir" ]] || train+=("--data_dir=$data_dir")
[[ -z "$workdir" ]] || train+=("--workdir=$workdir")
for option in gpus cpu_replicas groups hosts index max_restarts hang_timeout; do
  [[ -z "${!option}" ]] || train+=("--$option=${!option}")
done
train+=(${train_flags[@]+"${train_flags[@]}"})
# The same without the data set, for before it is made.
check=()
for argument in "${train[@]}"; do
  [[ "$argument" == --data_dir=* ]] || check+=("$argument")
done
check+=(--dry_run)

make=() convert=()
if [[ -n "$quickstart" ]]; then
  pairs="${data_dir%/tfrecords}/pairs"
  make=(-m hazeheal.data.synthesis.synthetic_pairs "--output_dir=$pairs")
  convert=(-m tfrecords_tools convert "--hazy_dir=$pairs/hazy" "--gt_dir=$pairs/GT" "--output_dir=$data_dir" --name=quickstart)
elif [[ -n "$hazy_dir" ]]; then
  convert=(-m tfrecords_tools convert "--hazy_dir=$hazy_dir" "--gt_dir=$gt_dir" "--output_dir=$data_dir")
fi
((${#convert[@]} == 0)) || convert+=(${convert_flags[@]+"${convert_flags[@]}"})

if [[ -n "$dry_run" ]]; then
  choose_environment
  show() { printf '  %s' "$1"; shift; printf ' %q' "$@"; printf '\n'; }
  printf 'environment: %s\n' "$environment"
  if [[ ! -x "$python" ]]; then
    base_python="$(find_python)"
    printf '  made first, with %s\n' "$base_python"
  fi
  is_installed "$extra" || printf '  installed first: hazeheal%s (%s)\n' "$([[ "$extra" == base ]] || printf '[%s]' "$extra")" "$why"
  printf 'devices: %s\nvariables:\n' "$devices"
  for variable in CUDA_DEVICE_ORDER CUDA_VISIBLE_DEVICES NCCL_DEBUG PYTHONUNBUFFERED TF_CPP_MIN_LOG_LEVEL TF_FORCE_GPU_ALLOW_GROWTH TF_GPU_THREAD_MODE; do
    [[ -z "${!variable+set}" ]] || printf '  %s=%q\n' "$variable" "${!variable}"
  done
  printf 'commands:\n'
  ((${#make[@]} == 0)) || show "$python" "${make[@]}"
  ((${#convert[@]} == 0)) || show "$python" "${convert[@]}"
  show "$python" "${train[@]}"
  if ! is_installed "$extra"; then
    printf 'the configuration was not checked: hazeheal is not installed yet\n'
  elif ((${#convert[@]})) && [[ ! -f "$data_dir/manifest.json" ]]; then
    exec "$python" "${check[@]}"
  else
    exec "$python" "${train[@]}" --dry_run
  fi
  exit 0
fi

use_environment
is_installed "$extra" || say "$why"
install_package "$extra"
say "devices: $devices"
# Hours of conversion should not come before a misspelt value; nor before a TensorFlow that does not see the GPUs.
((${#convert[@]} == 0)) || [[ -f "$data_dir/manifest.json" ]] || "$python" "${check[@]}" >/dev/null
if ((${#make[@]})); then
  mkdir -p -- "${data_dir%/tfrecords}"
  # One at a time, of several hosts that see this directory; the others then find the pairs there.
  exec 8>"${data_dir%/tfrecords}/.lock"
  if command -v flock >/dev/null; then flock 8; fi
  run_step "$python" "${make[@]}"
  exec 8>&-
fi
((${#convert[@]} == 0)) || run_step "$python" "${convert[@]}"
# In place of this script: the launcher answers signals itself, and its exit code is this script's.
exec "$python" "${train[@]}"
