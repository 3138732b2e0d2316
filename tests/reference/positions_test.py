"""Position embeddings at another resolution, against open_clip's resize_pos_embed.

    positions_test.py POSITIONS        POSITIONS is the program built from positions.cc
"""
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from open_clip.model import resize_pos_embed

# name, width, side of the grid, side of the new one
CASES = [
    ("ViT-B/32 224 -> 384", 768, 7, 12),
    ("ViT-B/16 224 -> 336", 768, 14, 21),
    ("ViT-L/14 224 -> 336", 1024, 16, 24),
    ("ViT-L/14 336 -> 224", 1024, 24, 16),
    ("tiny-vit 28 -> 14", 128, 4, 2),
    ("RN50 224 -> 448", 2048, 7, 14),
    ("RN50x64 448 -> 224", 4096, 14, 7),
    ("one position -> three", 64, 1, 3),
]


def ours(program, old, side, folder):
    old.numpy().tofile(folder / "in.f32")
    subprocess.run([program, folder / "in.f32", str(old.shape[1]), str(side * side + 1),
                    folder / "out.f32"], check=True)
    return np.fromfile(folder / "out.f32", "<f4").reshape(side * side + 1, old.shape[1])


def theirs(old, side):
    # A ResNet's attention pool is resampled by the same rule; open_clip does it for ViTs only.
    state = {"visual.positional_embedding": old.clone()}
    resize_pos_embed(state, SimpleNamespace(visual=SimpleNamespace(grid_size=(side, side))))
    return state["visual.positional_embedding"].numpy()


def main(program):
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        for case, width, before, after in CASES:
            old = torch.randn(before * before + 1, width)
            got, want = ours(program, old, after, Path(name)), theirs(old, after)
            difference = np.abs(got - want).max()
            assert difference <= 1e-6, (case, difference)
            assert np.array_equal(got[0], old[0].numpy()), f"{case}: the first row has changed"
            same = ours(program, old, before, Path(name))
            assert np.array_equal(same, old.numpy()), f"{case}: unchanged resolution"
            print(f"{case}: largest difference {difference:.1e}")


main(sys.argv[1])
