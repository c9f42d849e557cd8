#!/usr/bin/env bash
# Rebuilds the included networks from images: split, apply haze, convert, train, write the weights, score.
#
#     bash recipes/rebuild.sh DATA OUT [flags of `hazeheal train`, such as --cpu_replicas=2]
#
# DATA has the sets that recipes/split.py and recipes/synthesize.py name. The script creates OUT/runs/, OUT/scores.json and
# OUT/{fast,best,gan}.npz; copy the .npz files to hazeheal/pretrained/ to ship them. After an interruption, rerun the
# command: it resumes where it stopped. `gan` needs VGG19 weights, which are downloaded unless
# --config.loss.perceptual_weights=FILE is among the flags.
set -euo pipefail
if [[ $# -lt 2 || "$1" == -* ]]; then
  sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
  exit 2
fi
here="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
data="$1" out="$2"
shift 2

mix="$(python -c "import sys; sys.path.insert(0, '$here'); from experiments import MIX; print(MIX)")"
train=(hazeheal train --data_dir="$out/records" --config.data.mix="$mix" "$@")

[[ -d "$out/split" ]] || python "$here/split.py" --data="$data" --output_dir="$out/split"
python "$here/synthesize.py" --data="$data" --split="$out/split"
hazeheal-tfrecords convert --hazy_dir="$out/split/train/hazy" --gt_dir="$out/split/train/GT" --name=mixed \
  --output_dir="$out/records" --pairing=same_name --val_keys="$out/split/train/val_keys.txt"
last_stage() { # NAME START
  "${train[@]}" --config="$1" --workdir="$out/runs/$1" --restore_from="$2"
  [[ -f "$out/$1.npz" ]] || hazeheal export --model="$out/runs/$1" --format=weights --output="$out/$1.npz"
}
for name in fast best; do
  "${train[@]}" --config="${name}_128" --workdir="$out/runs/${name}_128"
  last_stage "$name" "$out/runs/${name}_128"
done
last_stage gan "$out/runs/best"
python "$here/scores.py" --split="$out/split" --part=test --baselines --model "$out"/{fast,best,gan}.npz \
  --output="$out/scores.json"
