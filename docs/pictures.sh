#!/usr/bin/env bash
# Redraw the README's pictures from a run, with chromium and Noto Sans: docs/pictures.sh lightning_logs/bertx/RUN
set -euo pipefail
run=$(realpath "$1/bertx/val")
cd "$(dirname "$0")"
cp "$run/deletion.svg" "$run/insertion.svg" .
profile=$(mktemp -d)
picture() {  # NAME WIDTH,HEIGHT PAGE
  chromium --headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking \
    --user-data-dir="$profile" --hide-scrollbars --window-size="$2" --screenshot="$1" "file://$3"
}
picture heatmaps.png 1000,790 "$run/heatmaps.html"
picture report.png 1280,1505 "$(realpath "$run/../../report.html")"
rm -r "$profile"
