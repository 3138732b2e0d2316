#!/usr/bin/env python3
"""torch's DistributedSampler for one of eight ranks: what bench/order.cc does (without its locality).

  order.py SAMPLES
"""
import sys

import torch
from serve import serve
from torch.utils.data import DistributedSampler

torch.set_num_threads(1)
sampler = DistributedSampler(range(int(sys.argv[1])), num_replicas=8, rank=0, seed=1)
epoch = 0


def work(repetitions):
    global epoch
    for _ in range(repetitions):
        sampler.set_epoch(epoch)
        epoch += 1
        named = sum(1 for _ in sampler)
    return named


serve(work)
