#!/usr/bin/env python3
"""open_clip's ClipLoss with autograd, eager fp32: what bench/loss.cc does, with whole B x B matrices.

  loss.py BATCH DIM THREADS
"""
import sys

import torch
from open_clip import ClipLoss
from serve import serve

rows, dim, threads = map(int, sys.argv[1:4])
torch.set_num_threads(threads)
torch.manual_seed(1)


def features():
    draws = torch.randn(rows, dim)
    return (draws / draws.norm(dim=1, keepdim=True)).requires_grad_()


image, text = features(), features()
scale = torch.tensor(1 / 0.07, requires_grad=True)
loss_of = ClipLoss(cache_labels=True)


def work(repetitions):
    for _ in range(repetitions):
        image.grad = text.grad = scale.grad = None
        loss = loss_of(image, text, scale)
        loss.backward()
    return loss.item()


serve(work, beyond_ready=True)
