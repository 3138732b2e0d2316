"""Models with random weights, made by open_clip and transformers, and the programs under test."""

import json
import os
import subprocess
from pathlib import Path

import h5py
import numpy as np
import open_clip
import torch
from open_clip import get_model_config
from open_clip.model import CLIP, convert_weights_to_fp16
from PIL import Image

TINY_VIT = dict(
    embed_dim=128,
    vision_cfg=dict(image_size=28, layers=4, width=128, patch_size=7),
    text_cfg=dict(context_length=77, vocab_size=49408, width=128, heads=2, layers=2),
)
TINY_RN = dict(
    embed_dim=64,
    vision_cfg=dict(image_size=32, layers=[1, 1, 1, 1], width=16, patch_size=None),
    text_cfg=dict(context_length=77, vocab_size=49408, width=64, heads=1, layers=2),
)
TEXTS = [
    "a photo of a cat",
    "",
    "naïve café — 東京タワー, 12 °C; it's 3.14!",
    "a very long caption " * 12,
    "Ünïcödé ÆØÅ привет мир 🦉🚀",
]


def config(name, activation):
    if name == "tiny-vit":
        cfg = dict(TINY_VIT)
    elif name == "tiny-rn":
        cfg = dict(TINY_RN)
    else:
        cfg = get_model_config(name.replace("/", "-").replace("@", "-"))
    return dict(cfg, quick_gelu=activation == "quick_gelu")


def make(name, activation, seed=0):
    """An open_clip model in which no weight is at a value that hides a mistake (0, 1)."""
    torch.manual_seed(seed)
    model = CLIP(**config(name, activation)).eval()
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if key.endswith("running_var"):
                value.uniform_(0.5, 2)
            elif key.endswith("running_mean") or key.endswith("bias"):
                value.normal_(0, 0.02)
            elif value.dim() == 1 and key.endswith("weight"):
                value.uniform_(0.5, 1.5)
    return model


def as_openai_archive(model, path):
    """A TorchScript archive as OpenAI's: traced, fp16 where convert_weights has it, three sizes."""
    size = model.visual.image_size
    size = size[0] if isinstance(size, tuple) else size
    for name, value in (("input_resolution", size), ("context_length", 77), ("vocab_size", 49408)):
        if hasattr(model, name):
            delattr(model, name)
        model.register_buffer(name, torch.tensor(value))
    images, tokens = torch.ones(1, 3, size, size), torch.zeros(1, 77, dtype=torch.int)
    with torch.no_grad():
        traced = torch.jit.trace_module(model, dict(encode_image=(images,), encode_text=(tokens,)),
                                        check_trace=False)
    convert_weights_to_fp16(model)  # the traced module shares the parameters
    traced.save(str(path))


class Programs:
    def __init__(self, bin_dir, folder):
        self.bin, self.folder = Path(bin_dir), Path(folder)

    def run(self, *words, ok=True):
        root = dict(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
        done = subprocess.run([self.bin / "contrail", *map(str, words)], cwd=self.folder,
                              capture_output=True, text=True, env={**os.environ, **root})
        assert not ok or done.returncode == 0, (words, done.returncode, done.stderr)
        return done

    def lineage(self, checkpoint):
        """Equal lineages mean equal bits."""
        return json.loads(self.run("checkpoint", "show", checkpoint, "--json").stdout)["lineage"]

    def refuse(self, error, *words, saying=""):
        """The command says one line with this id, exits 2 and leaves no file."""
        before = sorted(self.folder.iterdir())
        done = self.run(*words, ok=False)
        lines = [line for line in done.stderr.splitlines() if "E-" in line]
        assert done.returncode == 2, (words, done.returncode, done.stderr)
        assert len(lines) == 1 and f"{error}:" in lines[0], (words, error, done.stderr)
        assert saying in lines[0], (words, saying, lines[0])
        assert sorted(self.folder.iterdir()) == before, (words, "left a file")
        return lines[0]

    def features(self, checkpoint, size):
        """What `contrail embed` makes of the pictures and TEXTS."""
        pictures = self.folder / f"pictures-{size}"
        if not pictures.exists():
            pictures.mkdir()
            random = np.random.default_rng(0)
            for i in range(3):
                pixels = random.integers(0, 256, (size, size, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(pictures / f"{i}.png")
            (self.folder / "texts.txt").write_text("\n".join(TEXTS) + "\n")
        out = self.folder / "features.h5"
        self.run("embed", "--checkpoint", checkpoint, "--images", pictures, "--texts", "texts.txt",
                 "--threads", 1, out)
        with h5py.File(out) as file:
            found = file["image_features"][:], file["text_features"][:]
        out.unlink()
        return found

    def pictures(self, size):
        """The same pictures as open_clip's towers take them, float [3, 3, size, size]."""
        transform = open_clip.image_transform(size, is_train=False)
        names = sorted((self.folder / f"pictures-{size}").iterdir())
        return torch.stack([transform(Image.open(name)) for name in names])


def open_clip_features(model, programs, size):
    with torch.no_grad():
        image = model.encode_image(programs.pictures(size), normalize=True)
        text = model.encode_text(open_clip.tokenize(TEXTS), normalize=True)
    return image.numpy(), text.numpy()


def assert_same_features(ours, theirs, what, tolerance=1e-5):
    for a, b in zip(ours, theirs):
        assert a.shape == b.shape
        error = np.linalg.norm(a - b, axis=1).max()  # relative: norms are 1
        assert error < tolerance, (what, error)


def assert_same_weights(checkpoint, state):
    """Bit for bit, names and shapes too."""
    with h5py.File(checkpoint / "index.h5") as file:
        kept = {}
        for group in ("weight", "buffer"):
            if group in file:
                file[group].visititems(
                    lambda name, item: kept.__setitem__(name, item[()])
                    if isinstance(item, h5py.Dataset) else None)
    wanted = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    assert set(kept) == set(wanted), set(kept) ^ set(wanted)
    for key, value in wanted.items():
        expected = value.float().numpy()
        assert kept[key].shape == expected.shape and (kept[key] == expected).all(), key
