#!/usr/bin/env python3
"""torch.optim.AdamW over open_clip's parameters and parameter groups: what bench/adamw.cc does.

  adamw.py MODEL THREADS [norm]      torch's fused one; norm: clip_grad_norm_ before it
"""
import sys

import torch
from open_clip import CLIP
from open_clip_step import MODELS, make_optimizer
from serve import serve

torch.set_num_threads(int(sys.argv[2]))
torch.manual_seed(1)
model = CLIP(**MODELS[sys.argv[1]], quick_gelu=True)
parameters = list(model.parameters())
optimizer = make_optimizer(model, lr=1e-5)
with torch.no_grad():
    for parameter in parameters:
        parameter.normal_(0, 0.02)
        parameter.grad = torch.randn_like(parameter) * 1e-3


def work(repetitions):
    for _ in range(repetitions):
        if "norm" in sys.argv:
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    return sum(p.detach().flatten()[0].abs() for p in parameters) / len(parameters)


serve(work)
