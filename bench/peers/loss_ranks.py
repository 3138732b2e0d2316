#!/usr/bin/env python3
"""open_clip's ClipLoss over ranks with autograd: what bench/loss_ranks.cc does.

  loss_ranks.py RANKS GLOBAL_BATCH DIM THREADS default|exact
"""
import sys

import torch
from open_clip import ClipLoss
from ranks import LOSS_OPTIONS, Team
from serve import serve

ranks, batch, dim, threads = map(int, sys.argv[1:5])
torch.set_num_threads(threads)
torch.manual_seed(1)
team = Team(ranks)
own = slice(team.rank * batch // ranks, (team.rank + 1) * batch // ranks)


def features():
    draws = torch.randn(batch, dim)
    return (draws / draws.norm(dim=1, keepdim=True))[own].clone().requires_grad_()


image, text = features(), features()
scale = torch.tensor(1 / 0.07, requires_grad=True)
loss_of = ClipLoss(cache_labels=True, rank=team.rank, world_size=ranks,
                   **LOSS_OPTIONS[sys.argv[5]])


def work(repetitions):
    for _ in range(repetitions):
        image.grad = text.grad = scale.grad = None
        loss = loss_of(image, text, scale)
        loss.backward()
    return loss.item()


serve(work, team)
team.end()
