#!/usr/bin/env bash
# Rebuilds the shipped networks from images: split, convert, train in two stages, score the test pairs, write the weights.
#
#     bash recipes/rebuild.sh DATA OUT [flags of `hazeheal train`, such as --cpu_replicas=2]
#
# recipes/split.py describes the layout of DATA. The script creates OUT/runs/, OUT/scores/ and OUT/{fast,best}.npz; copy the
# .npz files to hazeheal/pretrained/ to ship them. After an interruption, rerun the command: it resumes where it stopped.
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
