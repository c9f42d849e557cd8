#!/usr/bin/env bash
# The networks that ship, from the images on: split, convert, train in two stages, score the test tenth, write the weights.
#
#     bash benchmarks/recipe/rebuild.sh DATA OUT [train's arguments, as --cpu_replicas=2]
#
# DATA as recipes/split.py wants it. Stopped, the same command goes on where it was. OUT gets runs/,
# scores/ and {fast,best}.npz, which become hazeheal/pretrained/ by copying.
set -euo pipefail
if [[ $# -lt 2 || "$1" == -* ]]; then
  sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
  exit 2
fi
here="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
data="$1" out="$2"
shift 2

[[ -d "$out/split" ]] || python "$here/split.py" --data="$data" --output_dir="$out/split"
hazeheal-tfrecords convert --hazy_dir="$out/split/mixed/hazy" --gt_dir="$out/split/mixed/GT" --name=mixed \
  --output_dir="$out/records/mixed" --pairing='^(\d+)' --val_keys="$out/split/mixed/val_scenes.txt"
for name in fast best; do
  hazeheal train --config="${name}_crops" --data_dir="$out/records/mixed" --workdir="$out/runs/${name}_crops" "$@"
  hazeheal train --config="$name" --restore_from="$out/runs/${name}_crops" --data_dir="$out/records/mixed" \
    --workdir="$out/runs/$name" "$@"
  [[ -f "$out/$name.npz" ]] || hazeheal export --model="$out/runs/$name" --format=weights --output="$out/$name.npz"
done
for set in outdoor rice1; do
  hazeheal evaluate --model="$out/fast.npz" --model="$out/best.npz" --output="$out/scores/$set" --overwrite \
    --hazy_dir="$out/split/${set}_test/hazy" --gt_dir="$out/split/${set}_test/GT" --pairing='^(\d+)'
done
