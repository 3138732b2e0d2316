#!/usr/bin/env bash
# Every benchmark beside its peer, in turns on the same two threads; a Markdown table on stdout.
#   bench/run.sh [BUILD_DIR] [--write]       --write: into docs/benchmarks.md
#   ONLY=step bench/run.sh ...               rows whose name holds "step" (also: ONLY='ViT-B')
#   THREADS=1 bench/run.sh ...               steps and loss on one thread
# About ten minutes on two idle cores. Nothing else should run: a ratio of pairs evens out a slow
# machine, not a busy one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build=${1:-build/release}
bin=$build/bench
python=.venv/bin/python
inputs=$build/bench-inputs
results=$build/bench-results.jsonl
notes=$build/bench-notes.txt
threads=${THREADS:-2}
mkdir -p "$inputs"
: >"$results"
: >"$notes"

input() {  # input NAME KIND OPTIONS...: made once
  [ -s "$inputs/$1" ] || "$python" bench/inputs.py "$2" "$inputs/$1.new" "${@:3}"
  [ -s "$inputs/$1" ] || mv "$inputs/$1.new" "$inputs/$1"
}
row() {  # row NAME OPTIONS...
  case $1 in *"${ONLY:-}"*) "$python" bench/pairs.py "$@" --json "$results" >&2 ;; esac
}
step() {  # step NAME MODEL BATCH INPUT ADAMW [OPTIONS...]
  row "$1" --per "$3" --ours "$bin/step $2 $3 $threads $inputs/$4" \
    --peer "$python bench/peers/open_clip_step.py $2 $3 $threads $inputs/$4 $5" "${@:6}"
}

input fashion fashion --samples 2048
input fashion77 fashion --samples 2048 --tokens full
input random random --samples 32
input random77 random --samples 32 --tokens full
input captions captions --samples 20000
input photos.tar photos --samples 64
input fashion.tar fashion-png --samples 2000

step "step, tiny-vit, B=256, captions of 10 tokens" tiny-vit 256 fashion default
step "step, tiny-vit, B=256, the same, fused AdamW" tiny-vit 256 fashion fused
step "step, tiny-vit, B=256, 77 tokens" tiny-vit 256 fashion77 default
step "step, tiny-vit, B=64, captions of 10 tokens" tiny-vit 64 fashion default
step "step, tiny-vit, B=64, the same, fused AdamW" tiny-vit 64 fashion fused
step "step, ViT-B/32, B=16, captions of 20 tokens" ViT-B/32 16 random default --pairs 5
step "step, ViT-B/32, B=16, the same, fused AdamW" ViT-B/32 16 random fused --pairs 5
step "step, ViT-B/32, B=16, 77 tokens" ViT-B/32 16 random77 default --pairs 5
row "loss, B=8192, D=512" --unit batches --ours "$bin/loss 8192 512 $threads" \
  --peer "$python bench/peers/loss.py 8192 512 $threads"
row "loader, JPEG 640 x 480 to 224, centre" --unit images --per 64 \
  --ours "$bin/loader $inputs/photos.tar 224 center" \
  --peer "$python bench/peers/loader.py $inputs/photos.tar 224 center"
row "loader, JPEG 640 x 480 to 224, random-resized" --unit images --per 64 \
  --ours "$bin/loader $inputs/photos.tar 224 random-resized" \
  --peer "$python bench/peers/loader.py $inputs/photos.tar 224 random-resized"
row "loader, PNG 28 x 28" --unit images --per 2000 \
  --ours "$bin/loader $inputs/fashion.tar 28 center" \
  --peer "$python bench/peers/loader.py $inputs/fashion.tar 28 center"
row "tokenizer" --unit captions --per 20000 \
  --ours "$bin/tokenizer $inputs/captions $build/share/contrail/bpe_simple_vocab_16e6.txt.gz" \
  --peer "$python bench/peers/tokenizer.py $inputs/captions"
row "order of one rank of 8, 2 M samples" --unit samples --per 250000 \
  --ours "$bin/order 2000000" --peer "$python bench/peers/order.py 2000000"
case start in *"${ONLY:-}"*) "$python" bench/startup.py "$build/bin" --json "$results" >&2 ;; esac
# These compare within one process and say so themselves.
case checkpoint in *"${ONLY:-}"*) "$bin/checkpoint_write" "$inputs" | tee -a "$notes" >&2 ;; esac
case ops in *"${ONLY:-}"*) "$bin/ops" | tee -a "$notes" >&2 ;; esac

report=("$python" bench/report.py "$results" --notes "$notes" --threads "$threads")
if [ "${2:-}" = --write ]; then
  "${report[@]}" --into docs/benchmarks.md
else
  "${report[@]}"
fi
