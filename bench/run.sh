#!/usr/bin/env bash
# Every benchmark beside its peer, in turns on the same two threads; a Markdown table on stdout.
#   bench/run.sh [BUILD_DIR] [--write]       --write: into docs/benchmarks.md
#   ONLY=step bench/run.sh ...               rows whose name holds "step" (also: ONLY=vit-b, ONLY=rn50)
#   ONLY=compile bench/run.sh ...            steps beside torch.compile's, which no other choice runs
#   THREADS=1 bench/run.sh ...               steps and loss on one thread
# Rows of several ranks use one thread a rank. About twenty minutes on two idle cores. Nothing else should run: a ratio of pairs evens out a slow
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
only=${ONLY:-}
only=${only,,}
mkdir -p "$inputs"
: >"$results"
: >"$notes"

input() {  # input NAME KIND OPTIONS...: made once
  [ -s "$inputs/$1" ] || "$python" bench/inputs.py "$2" "$inputs/$1.new" "${@:3}"
  [ -s "$inputs/$1" ] || mv "$inputs/$1.new" "$inputs/$1"
}
row() {  # row NAME OPTIONS...
  case ${1,,} in *"$only"*) "$python" bench/pairs.py "$@" --json "$results" >&2 ;; esac
}
weights() { echo "$inputs/weights-${1/\//-}.pt"; }
at_limit=(--limit "$bin/limits gemm $threads" --per-limit 17179869184)
step() {  # step NAME MODEL BATCH INPUT PEER [OPTIONS...]; PEER: of open_clip_step.py; HOW=bf16
  local what
  what="$2 $3 $threads $inputs/$4 $(weights "$2")"
  row "$1" --per "$3" --ours "$bin/step $what ${HOW:-}" "${at_limit[@]}" --same "${SAME:-1e-4}" \
    --peer "$python bench/peers/open_clip_step.py $what $5" "${@:6}"
}

ranks=4
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
mpirun="mpirun -n $ranks --oversubscribe --bind-to none --mca btl"
step_ranks() {  # step_ranks NAME MODEL GLOBAL_BATCH INPUT default|exact [OPTIONS...]
  local what
  what="$2 $3 1 $inputs/$4 $(weights "$2")"
  row "$1" --per "$3" --ours "$mpirun self,vader $bin/step $what" --same 1e-4 \
    --peer "$python bench/peers/open_clip_ranks.py $ranks $what $5" "${@:6}"
}
loss_ranks() {  # loss_ranks NAME GLOBAL_BATCH DIM default|exact: over TCP, so that bytes are counted
  row "$1" --unit batches --wire "bytes for the ${1}" \
    --ours "$mpirun self,tcp --mca btl_tcp_if_include lo $bin/loss_ranks $2 $3 1" \
    --peer "$python bench/peers/loss_ranks.py $ranks $2 $3 1 $4"
}

input fashion fashion --samples 2048
input fashion77 fashion --samples 2048 --tokens full
input random random --samples 32
input random77 random --samples 32 --tokens full
input captions captions --samples 20000
input photos.tar photos --samples 64
input fashion.tar fashion-png --samples 2000

for model in tiny-vit ViT-B/32 ViT-B/16 RN50; do
  input "$(basename "$(weights $model)")" weights --model $model
done

# Captions of 77 tokens first: there both sides do the same work. Shorter ones are what captions are,
# and the peer pads them.
step "step, ViT-B/32, B=16, 77 tokens" ViT-B/32 16 random77 eager --pairs 5
step "step, ViT-B/16, B=4, 77 tokens" ViT-B/16 4 random77 eager --pairs 5
step "step, RN50, B=8, 77 tokens" RN50 8 random77 eager --pairs 5
step "step, tiny-vit, B=256, 77 tokens" tiny-vit 256 fashion77 eager
step "step, ViT-B/32, B=16, captions of 20 tokens" ViT-B/32 16 random eager --pairs 5
step "step, ViT-B/16, B=4, captions of 20 tokens" ViT-B/16 4 random eager --pairs 5
step "step, RN50, B=8, captions of 20 tokens" RN50 8 random eager --pairs 5
step "step, tiny-vit, B=256, captions of 10 tokens" tiny-vit 256 fashion eager
step "step, tiny-vit, B=64, captions of 10 tokens" tiny-vit 64 fashion eager
HOW=recompute
step "step, recompute, ViT-B/32, B=16, 77 tokens" ViT-B/32 16 random77 checkpointed --pairs 3
step "step, recompute, ViT-B/16, B=4, 77 tokens" ViT-B/16 4 random77 checkpointed --pairs 3
step "step, recompute, RN50, B=8, 77 tokens" RN50 8 random77 checkpointed --pairs 3
HOW=bf16 SAME=2e-2
step "step, bf16, ViT-B/32, B=16, 77 tokens, autocast" ViT-B/32 16 random77 amp --pairs 5
step "step, bf16, ViT-B/32, B=16, captions of 20 tokens, autocast" ViT-B/32 16 random amp --pairs 5
HOW='' SAME=''
for of in "tiny-vit 64 fashion" "ViT-B/32 16 random" "ViT-B/16 4 random" "RN50 8 random"; do
  read -r model batch input <<<"$of"
  row "step, bf16, $model, B=$batch, beside our fp32" --per "$batch" --pairs 5 \
    --ours "$bin/step $model $batch $threads $inputs/$input $(weights "$model") bf16" \
    --peer "$bin/step $model $batch $threads $inputs/$input $(weights "$model")" --same 2e-2
done
# torch.compile takes minutes a model, so these run only where they are asked for: ONLY=compile.
case $only in *compile*)
  for of in "ViT-B/32 16" "ViT-B/16 4" "RN50 8"; do
    read -r model batch <<<"$of"
    step "compiled step, $model, B=$batch, 77 tokens" "$model" "$batch" random77 compiled --pairs 5
    step "compiled step, $model, B=$batch, captions of 20 tokens" "$model" "$batch" random compiled --pairs 5
  done ;;
esac
row "loss, B=8192, D=512" --unit batches --ours "$bin/loss 8192 512 $threads" \
  --peer "$python bench/peers/loss.py 8192 512 $threads"
loss_gflop() { echo $((4 * 2 * $1 * $1 * $2 / 1000000000)); }
row "loss, B=8192, D=512, of the fp32 GEMM rate" --unit GFLOP --per "$(loss_gflop 8192 512)" \
  --per-peer 17.18 --ours "$bin/loss 8192 512 $threads" --peer "$bin/limits gemm $threads"
row "loss, B=32768, D=512, of the fp32 GEMM rate" --unit GFLOP --per "$(loss_gflop 32768 512)" \
  --per-peer 17.18 --pairs 3 --ours "$bin/loss 32768 512 $threads" \
  --peer "$bin/limits gemm $threads"
row "AdamW, ViT-B/32" --unit steps --ours "$bin/adamw ViT-B/32 $threads" \
  --peer "$python bench/peers/adamw.py ViT-B/32 $threads"
row "AdamW, ViT-B/32, with norm and clipping" --unit steps \
  --ours "$bin/adamw ViT-B/32 $threads norm" \
  --peer "$python bench/peers/adamw.py ViT-B/32 $threads norm"
row "AdamW, ViT-B/32, of the memory rate" --unit GB --per 4.236 --per-peer 4.236 \
  --ours "$bin/adamw ViT-B/32 $threads" --peer "$bin/limits memory 151277568 $threads"
step_ranks "4 ranks, ViT-B/32, B=32, 77 tokens" ViT-B/32 32 random77 exact --cold --pairs 3
step_ranks "4 ranks, ViT-B/32, B=32, captions of 20 tokens" ViT-B/32 32 random exact --cold --pairs 3
step_ranks "4 ranks, ViT-B/32, B=32, the same, its default loss" ViT-B/32 32 random default --cold \
  --pairs 3
step_ranks "4 ranks, tiny-vit, B=256, 77 tokens" tiny-vit 256 fashion77 exact
step_ranks "4 ranks, tiny-vit, B=256, captions of 10 tokens" tiny-vit 256 fashion exact
loss_ranks "loss over 4 ranks, B=2048, D=512" 2048 512 exact
loss_ranks "loss over 4 ranks, B=2048, D=512, its default" 2048 512 default
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
# These compare within one process and say so themselves.
case checkpoint in *"$only"*)
  "$bin/checkpoint_write" "$inputs" | tee -a "$notes" >&2
  "$bin/checkpoint_stall" | tee -a "$notes" >&2
  ;;
esac
case ops in *"$only"*) "$bin/ops" | tee -a "$notes" >&2 ;; esac

ranks() {  # ranks N PROGRAM...: under mpirun, one thread each
  OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 mpirun -n "$1" --oversubscribe \
    --bind-to none --mca btl self,vader "${@:2}" | tee -a "$notes" >&2
}
case collectives in *"${ONLY:-}"*) ranks 4 "$bin/collectives" 64 15 ;; esac
case overlap in *"${ONLY:-}"*)
  ranks 4 "$bin/overlap" tiny-vit 64 "$inputs/fashion" 10 5
  ranks 4 "$bin/overlap" ViT-B/32 4 "$inputs/random" 3 3 ;;
esac

report=("$python" bench/report.py "$results" --notes "$notes" --threads "$threads")
if [ "${2:-}" = --write ]; then
  "${report[@]}" --into docs/benchmarks.md
else
  "${report[@]}"
fi
