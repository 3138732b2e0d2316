#!/usr/bin/env bash
# The quickstart: real photos -> shards -> four ranks -> one of them killed -> resumed -> classified.
#   docs/quickstart.sh [BUILD_DIR]
# Every command it runs is printed first and works by hand too.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$top"
build=${1:-build/release}
contrail=$build/bin/contrail
photos=/usr/share/datasets/fashion-mnist
data=build/quickstart
ranks=4
SECONDS=0

bold='' plain=''
if [ -t 2 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then bold=$'\e[1m' plain=$'\e[0m'; fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain" >&2; }
show() { printf '  $ %s\n' "$*" >&2; "$@"; }

say "1. Pack 60,000 product photos and their captions into tar shards"
pack() {  # pack OUT IMAGES LABELS NAME: kept from an earlier call
  [ -d "$data/$1" ] && { printf '  %s is packed already\n' "$data/$1" >&2; return; }
  show "$contrail" data pack "$data/$1" --images "$photos/$2-images-idx3-ubyte.gz" \
    --labels "$photos/$2-labels-idx1-ubyte.gz" --classes configs/presets/fashion_classnames.txt \
    --templates configs/presets/fashion_templates.txt
}
mkdir -p "$data" runs
pack train train
pack test t10k

run=runs/quickstart
for ((i = 2; ; i++)); do
  [ -e "$run" ] || break
  run=runs/quickstart-$i
done

say "2. Train on $ranks ranks; half-way, one rank is killed with SIGKILL"
killer() {  # waits for half the steps, then kills the third rank of this run
  local half victim step
  half=$(awk -F'[ =]+' '$1 == "steps" { print int($2 / 2) }' configs/presets/quickstart.toml)
  while sleep 0.5; do
    step=$("$contrail" view "$run" --json 2>/dev/null | grep -o '"step":[0-9]*' | head -1 | cut -d: -f2)
    [ "${step:-0}" -ge "$half" ] && break
  done
  victim=$(pgrep -f "contrail-worker train --run .*$run " | sed -n 3p)
  printf '\n%s  $ kill -KILL %s        # one of the %d ranks, at step %s%s\n' \
    "$bold" "$victim" "$ranks" "$step" "$plain" >&2
  kill -KILL "$victim"
}
killer &
trap 'kill %1 2>/dev/null || true' EXIT
show "$contrail" train configs/presets/quickstart.toml --ranks "$ranks" --run "$run"

say "3. What happened"
show "$contrail" view "$run" --once

say "Done in $((SECONDS / 60)) min $((SECONDS % 60)) s. Try next:"
cat >&2 <<NEXT
  $contrail view $run                                   # live view, also while training
  $contrail resume $run --ranks 2 --set train.steps=1200  # train on, with another number of ranks
  $contrail eval zero-shot --checkpoint $run --dataset $data/test
NEXT
