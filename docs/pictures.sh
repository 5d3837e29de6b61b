#!/usr/bin/env bash
# The README's pictures out of a run: docs/pictures.sh lightning_logs/bertx/RUN
set -euo pipefail
run=$(realpath "$1/bertx/val")
cd "$(dirname "$0")"
cp "$run/deletion.svg" "$run/insertion.svg" .
profile=$(mktemp -d)
chromium --headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking \
  --user-data-dir="$profile" --hide-scrollbars --window-size=1000,790 \
  --screenshot=heatmaps.png "file://$run/heatmaps.html"
rm -r "$profile"
