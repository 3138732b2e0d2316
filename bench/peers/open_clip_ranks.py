#!/usr/bin/env python3
"""Whole training steps of open_clip on several ranks: DistributedDataParallel over gloo, as
open_clip_train/main.py builds it. What bench/step.cc does under mpirun.

  open_clip_ranks.py RANKS MODEL GLOBAL_BATCH THREADS INPUT WEIGHTS default|exact
"""
import sys

import torch
from open_clip import ClipLoss
from open_clip_step import make_model, make_optimizer, read_batches, trainer
from ranks import LOSS_OPTIONS, Team
from serve import serve


def main():
    ranks, name, batch, threads, path, weights, mode = sys.argv[1:8]
    torch.set_num_threads(int(threads))
    team = Team(int(ranks))
    own = slice(team.rank * int(batch) // team.size, (team.rank + 1) * int(batch) // team.size)
    batches = [(images[own].clone(), texts[own].clone())
               for images, texts in read_batches(path, int(batch))]
    model = make_model(name, weights)
    ranked = torch.nn.parallel.DistributedDataParallel(model)
    loss_of = ClipLoss(cache_labels=True, rank=team.rank, world_size=team.size,
                       **LOSS_OPTIONS[mode])
    steps = trainer(model, ranked, loss_of, make_optimizer(model), batches)
    # A rank's loss is that of its own rows in the exact mode: their mean is the batch's.
    serve(lambda count: team.total([steps(count) / team.size])[0], team)
    team.end()


if __name__ == "__main__":
    main()
