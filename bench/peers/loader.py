#!/usr/bin/env python3
"""open_clip's transforms (PIL) on the same encoded pictures, from memory, one thread. What
bench/loader.cc does, ending in normalised fp32.

  loader.py SHARD RESOLUTION center|random-resized
"""
import io
import sys
import tarfile

import torch
from open_clip.transform import AugmentationCfg, image_transform
from PIL import Image
from serve import serve

torch.set_num_threads(1)
shard, resolution, crop = sys.argv[1], int(sys.argv[2]), sys.argv[3]
train = crop == "random-resized"
transform = image_transform(resolution, is_train=train,
                            aug_cfg=AugmentationCfg(scale=(0.9, 1.0)) if train else None)
with tarfile.open(shard) as tar:
    pictures = [tar.extractfile(member).read() for member in tar
                if member.name.endswith((".jpg", ".png"))]
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])


def work(repetitions):
    for _ in range(repetitions):
        batch = torch.stack([transform(Image.open(io.BytesIO(picture))) for picture in pictures])
    return (batch.mean((0, 2, 3)) * STD + MEAN).mean()


serve(work)
