#!/bin/sh
# All that is to be known of an accelerator, in about ten minutes: sh benchmarks/accelerator.sh DIR
# DIR has sst2/train.tsv and sst2/dev.tsv; no hub is needed.
set -e
export HF_HUB_OFFLINE=1
python benchmarks/accelerator.py --device cuda
python benchmarks/training.py --data "$1" --tasks sst2 --times 20 --device gpu
python benchmarks/monitor_share.py --data "$1/sst2" --examples 256 --device gpu
