#!/usr/bin/env python3
"""Whole training steps of open_clip in PyTorch, fp32: what bench/step.cc does.

  open_clip_step.py MODEL BATCH THREADS INPUT WEIGHTS [eager|compiled|amp|checkpointed]
      compiled: the model through torch.compile; amp: under autocast to bf16 (open_clip's
      --precision amp_bf16); checkpointed: open_clip's --grad-checkpointing

Everything else is the fastest that PyTorch and open_clip offer on a CPU: the fused AdamW, and
channels-last images and weights for the ResNets. WEIGHTS: a state dict, which ours starts from too.
The towers are equal to Contrail's (model/registry.cc). Images arrive as open_clip's loader gives
them, normalised fp32; captions padded to 77 tokens, as its tokenizer does.
"""
import sys

import numpy as np
import torch
from open_clip import CLIP, ClipLoss
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from serve import serve, status_mib

MODELS = {
    "tiny-vit": dict(
        embed_dim=128,
        vision_cfg=CLIPVisionCfg(layers=4, width=128, head_width=64, patch_size=7, image_size=28),
        text_cfg=CLIPTextCfg(width=128, heads=2, layers=2)),
    "ViT-B/32": dict(
        embed_dim=512,
        vision_cfg=CLIPVisionCfg(layers=12, width=768, patch_size=32, image_size=224),
        text_cfg=CLIPTextCfg(width=512, heads=8, layers=12)),
    "ViT-B/16": dict(
        embed_dim=512,
        vision_cfg=CLIPVisionCfg(layers=12, width=768, patch_size=16, image_size=224),
        text_cfg=CLIPTextCfg(width=512, heads=8, layers=12)),
    "RN50": dict(
        embed_dim=1024,
        vision_cfg=CLIPVisionCfg(layers=(3, 4, 6, 3), width=64, patch_size=None, image_size=224),
        text_cfg=CLIPTextCfg(width=512, heads=8, layers=12)),
}
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)
CONTEXT = 77


def read_batches(path, batch):
    with open(path, "rb") as file:
        samples, resolution, tokens = np.fromfile(file, np.int64, 3)
        images = np.fromfile(file, np.uint8, samples * 3 * resolution**2)
        offsets = np.fromfile(file, np.int32, samples + 1)
        ids = np.fromfile(file, np.int32, tokens)
    images = torch.from_numpy(images).view(samples, 3, resolution, resolution)
    texts = torch.zeros(samples, CONTEXT, dtype=torch.long)
    for i in range(samples):
        caption = ids[offsets[i]:offsets[i + 1]]
        texts[i, :len(caption)] = torch.from_numpy(caption)
    whole = range(0, samples - batch + 1, batch)
    return [((images[i:i + batch] / 255 - MEAN) / STD, texts[i:i + batch]) for i in whole]


def make_model(name, weights):
    model = CLIP(**MODELS[name], quick_gelu=True)
    model.load_state_dict(torch.load(weights))
    if name.startswith("RN"):
        model = model.to(memory_format=torch.channels_last)
    return model.train()


def make_optimizer(model, lr=1e-3):
    """open_clip's own parameter groups (open_clip_train/main.py)."""
    def gain_or_bias(name, p):
        return p.ndim < 2 or "bn" in name or "ln" in name or "bias" in name or "logit_scale" in name
    named = list(model.named_parameters())
    groups = [{"params": [p for n, p in named if gain_or_bias(n, p)], "weight_decay": 0.0},
              {"params": [p for n, p in named if not gain_or_bias(n, p)], "weight_decay": 0.2}]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), eps=1e-6, fused=True)


def trainer(model, forward, loss_of, optimizer, batches):
    """work(steps) for serve: whole steps through the batches in turn; the last loss."""
    update = 0

    def work(steps):
        nonlocal update
        for _ in range(steps):
            images, texts = batches[update % len(batches)]
            optimizer.zero_grad()
            loss = loss_of(*forward(images, texts))
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0, np.log(100))
            update += 1
        return loss.item()

    return work


def main():
    name, batch, threads, path, weights = sys.argv[1:6]
    kind = sys.argv[6] if len(sys.argv) > 6 else "eager"
    torch.set_num_threads(int(threads))
    batches = read_batches(path, int(batch))
    if name.startswith("RN"):
        batches = [(images.contiguous(memory_format=torch.channels_last), texts)
                   for images, texts in batches]
    before = status_mib("VmRSS:")
    model = make_model(name, weights)
    if kind == "checkpointed":
        model.set_grad_checkpointing()
    optimizer = make_optimizer(model)
    # Weights, gradients and two moments, fp32: what is resident beyond them is activations.
    base = before + 16 * sum(p.numel() for p in model.parameters()) / 2**20
    forward = torch.compile(model) if kind == "compiled" else model
    if kind == "amp":
        forward = torch.autocast("cpu", torch.bfloat16)(model)
    serve(trainer(model, forward, ClipLoss(cache_labels=True), optimizer, batches), base_mib=base)


if __name__ == "__main__":
    main()
