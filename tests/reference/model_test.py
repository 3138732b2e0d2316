"""Our towers against open_clip's, same weights and inputs: names, shapes, initialisation, features,
gradients, running statistics.

    model_test.py ENCODE [all]      ENCODE is the program built from encode.cc

All nine architectures at full width, at reduced depth and resolution; whole with "all". open_clip
computes in fp64. So do we for the ResNets' gradients: with random weights and batch norm over two
images, a rounding that flips the sign before one ReLU moves every gradient below it, so that
open_clip's own fp32 gradients can be 1e-2 from its fp64 ones, as ours can ("all" prints both).
"""
import gc
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from open_clip import get_model_config
from open_clip.model import CLIP
from open_clip.transform import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

NINE = ("RN50", "RN101", "RN50x4", "RN50x16", "RN50x64", "ViT-B/32", "ViT-B/16", "ViT-L/14",
        "ViT-L/14@336")
TEXT = dict(context_length=77, vocab_size=49408)
TINY = {
    "tiny-vit": dict(
        embed_dim=128,
        vision_cfg=dict(image_size=28, layers=4, width=128, patch_size=7),
        text_cfg=dict(**TEXT, width=128, heads=2, layers=2)),
    "tiny-rn": dict(
        embed_dim=64,
        vision_cfg=dict(image_size=32, layers=[1, 1, 1, 1], width=16, patch_size=None),
        text_cfg=dict(**TEXT, width=64, heads=1, layers=2)),
}
LENGTHS = [3, 12, 77, 8, 9, 10, 40]
UNMOVED = "visual.attnpool.k_proj.bias"  # it shifts all scores alike: its gradient is rounding


class Case:
    """A model, and the name that our program knows it by."""

    REDUCED_SIZE = {"ViT-L/14": 112, "ViT-L/14@336": 168}  # ResNets: 96, three positions a side

    def __init__(self, name, reduced=False, activation="quick_gelu"):
        self.name, self.activation, self.ours = name, activation, name
        if name in TINY:
            self.config = TINY[name]
        else:
            whole = get_model_config(name.replace("/", "-").replace("@", "-"))
            self.config = {key: dict(value) if isinstance(value, dict) else value
                           for key, value in whole.items()
                           if key in ("embed_dim", "vision_cfg", "text_cfg")}
        self.resnet = isinstance(self.config["vision_cfg"]["layers"], list)
        if reduced:
            depth = [1, 1, 1, 1] if self.resnet else 2
            self.config["vision_cfg"]["layers"] = depth
            self.config["text_cfg"]["layers"] = 2
            size = 96 if self.resnet else self.REDUCED_SIZE.get(name, 224)
            self.config["vision_cfg"]["image_size"] = size
            self.ours += "~" + ("1,1,1,1" if self.resnet else "2") + f"~2~{size}"
        self.image_size = self.config["vision_cfg"]["image_size"]

    def __str__(self):
        return f"{self.ours} {self.activation}"

    def build(self):
        torch.manual_seed(0)
        return CLIP(**self.config, quick_gelu=self.activation == "quick_gelu")


def relative(a, b):
    return (np.linalg.norm(a.astype(np.float64) - b) / np.linalg.norm(b)).item()


def run(encode, case, *args):
    command = [encode, case.ours, case.activation, *map(str, args)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def declared(encode, case):
    *rows, buffers = [line.split() for line in run(encode, case).splitlines()]
    return {row[0]: tuple(int(size) for size in row[1:]) for row in rows}, buffers[1:]


def norm_statistics(model):
    return [key for key, _ in model.named_buffers() if "running" in key]


def check_names(encode, case):
    with torch.device("meta"):
        model = case.build()
    ours, buffers = declared(encode, case)
    theirs = {key: tuple(value.shape) for key, value in model.named_parameters()}
    assert ours == theirs, (case.name, set(ours.items()) ^ set(theirs.items()))
    assert buffers == norm_statistics(model), set(buffers) ^ set(norm_statistics(model))
    count = sum(value.numel() for value in model.parameters())
    print(f"{case.name}: {len(ours)} names and shapes equal, {count:,} parameters")


def families(rows):
    """Tensors whose names differ in numbers alone, together: count, mean, deviation, spread."""
    sums = {}
    for name, count, total, squares, extreme in rows:
        entry = sums.setdefault(re.sub(r"\d+", "#", name) if "attnpool" not in name else name,
                                [0, 0.0, 0.0, 0.0])
        entry[0] += count
        entry[1] += total
        entry[2] += squares
        entry[3] = max(entry[3], extreme)
    out = {}
    for name, (count, total, squares, extreme) in sums.items():
        mean = total / count
        out[name] = count, mean, max(0.0, squares / count - mean * mean) ** 0.5, extreme
    return out


def check_init(encode, case, model):
    """The same mean and deviation a family within 5 standard errors, uniform or normal alike."""
    shapes, _ = declared(encode, case)
    size = {name: int(np.prod(shape)) for name, shape in shapes.items()}
    rows = [line.split() for line in run(encode, case, "init").splitlines()]
    ours = families((name, size[name], float(total), float(squares), max(-float(low), float(high)))
                    for name, total, squares, low, high in rows)
    theirs = families((name, value.numel(), value.double().sum().item(),
                       value.double().square().sum().item(), value.abs().max().item())
                      for name, value in model.named_parameters())
    assert ours.keys() == theirs.keys()
    for name, (count, mean, deviation, extreme) in ours.items():
        _, their_mean, their_deviation, their_extreme = theirs[name]
        where = (case.name, name, mean, deviation, their_mean, their_deviation)
        if their_deviation < 1e-6:
            assert abs(mean - their_mean) < 1e-6 and deviation < 1e-6, where
            continue
        assert abs(deviation / their_deviation - 1) < 5 / count**0.5, where
        assert abs(mean - their_mean) < 5 * deviation * (2 / count) ** 0.5, where
        if count > 500:  # a uniform one ends at 1.73 deviations
            assert (extreme > 2 * deviation) == (their_extreme > 2 * their_deviation), where
    print(f"{case}: {len(ours)} families initialised alike")


def make_inputs(case, batch):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, 3, case.image_size, case.image_size), dtype=np.uint8)
    captions = []
    for length in LENGTHS[:batch]:
        words = rng.integers(1, 49406, length, dtype=np.int32)
        words[0], words[-1] = 49406, 49407
        captions.append(words)
    d = rng.standard_normal((2, batch, case.config["embed_dim"])).astype(np.float32)
    return images, captions, d


def disturbed(model):
    torch.manual_seed(0)
    with torch.no_grad():  # gains of 1 and biases of 0 would hide mistakes
        for key, value in model.named_parameters():
            if value.ndim == 1 and "embedding" not in key:
                value.add_(0.1 * torch.randn_like(value))
        for key, value in model.named_buffers():
            if "running" in key:
                value.add_(0.1 * torch.rand_like(value))
    return model


def write(folder, model, order, statistics, images, captions, d):
    weights, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    with open(folder / "weights.f32", "wb") as file:
        for key in order:
            weights[key].detach().numpy().tofile(file)
    with open(folder / "buffers.f32", "wb") as file:
        for key in statistics:
            buffers[key].numpy().tofile(file)
    images.tofile(folder / "images.u8")
    np.concatenate(captions).tofile(folder / "ids.i32")
    np.cumsum([0] + [len(c) for c in captions], dtype=np.int32).tofile(folder / "offsets.i32")
    d[0].tofile(folder / "d_image.f32")
    d[1].tofile(folder / "d_text.f32")


def ours_of(encode, case, folder, batch, shapes, precision):
    """Features (train, text, eval), gradients by name, running statistics."""
    run(encode, case, folder, *precision)
    features = [np.fromfile(folder / f"{name}.f32", np.float32).reshape(batch, -1)
                for name in ("image", "text", "eval")]
    flat = np.memmap(folder / "grads.f32", np.float32, "r")
    grads, first = {}, 0
    for key, shape in shapes.items():
        count = int(np.prod(shape))
        grads[key] = flat[first:first + count]
        first += count
    return features, grads, np.fromfile(folder / "running.f32", np.float32)


def theirs_of(model, images, captions, d, dtype):
    model = model.to(dtype)
    mean = torch.tensor(OPENAI_DATASET_MEAN, dtype=torch.float64).view(3, 1, 1)
    std = torch.tensor(OPENAI_DATASET_STD, dtype=torch.float64).view(3, 1, 1)
    pixels = ((torch.from_numpy(images).double() / 255 - mean) / std).to(dtype)
    padded = torch.zeros(len(captions), 77, dtype=torch.long)
    for row, words in zip(padded, captions):
        row[: len(words)] = torch.from_numpy(words)
    with torch.no_grad():
        evaluated = model.eval().encode_image(pixels, normalize=True)
    model.train()  # one batch is one group of statistics
    image = model.encode_image(pixels, normalize=True)
    text = model.encode_text(padded, normalize=True)
    (image * torch.from_numpy(d[0])).sum().backward()
    (text * torch.from_numpy(d[1])).sum().backward()
    features = [value.detach().to(dtype).numpy() for value in (image, text, evaluated)]
    grads = {key: value.grad.flatten().numpy() for key, value in model.named_parameters()
             if value.grad is not None}
    return features, grads, {key: value.numpy() for key, value in model.named_buffers()}


def farthest(ours, theirs):
    errors = {key: relative(ours[key], value) for key, value in theirs.items()
              if key not in ("logit_scale", UNMOVED)}
    return max((error, key) for key, error in errors.items())


def compare_features(case, ours, theirs):
    worst = max(relative(a, b) for a, b in zip(ours, theirs))
    assert worst < 1e-5, (str(case), worst)
    return worst


def check_values(encode, case, model, batch):
    shapes, statistics = declared(encode, case)
    inputs = make_inputs(case, batch)
    fp32_gradients = not case.resnet or case.name in TINY
    print_fp32 = case.resnet and case.ours == case.name and not fp32_gradients
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, disturbed(model), shapes, statistics, *inputs)
        ours, grads, running = ours_of(encode, case, folder, batch, shapes, [])
        if not fp32_gradients:
            single = {key: value.copy() for key, value in grads.items()} if print_fp32 else {}
            exact, grads, _ = ours_of(encode, case, folder, batch, shapes, ["double"])
        theirs, their_grads, buffers = theirs_of(model, *inputs, torch.float64)
        features = compare_features(case, ours, theirs)
        if UNMOVED in grads:
            assert not grads[UNMOVED].any() and np.abs(their_grads[UNMOVED]).max() < 1e-10
        error, where = farthest(grads, their_grads)
        assert error < 1e-4, (str(case), where, error)
        first = 0
        for key in statistics:
            piece = running[first:first + buffers[key].size]
            first += buffers[key].size
            assert relative(piece, buffers[key]) < 1e-5, (str(case), key)
        line = f"{case}: features differ by {features:.1e}, gradients by at most {error:.1e}"
        if not fp32_gradients:
            compare_features(case, exact, theirs)
            line += " in fp64"
        if print_fp32:
            own, where = farthest(single, their_grads)
            assert own < 2e-2, (str(case), where, own)
            del grads, model
            gc.collect()
            _, single_grads, _ = theirs_of(disturbed(case.build()), *inputs, torch.float32)
            line += f"; in fp32 by {own:.1e}, open_clip's own by {farthest(single_grads, their_grads)[0]:.1e}"
        print(line, flush=True)


def main():
    whole = sys.argv[2:] == ["all"]
    torch.set_num_threads(2 if whole else 1)
    encode = sys.argv[1]
    for name in (*TINY, *NINE):
        check_names(encode, Case(name))
    cases = [(Case(name), 4) for name in TINY] + [(Case("tiny-vit", activation="gelu"), 7)]
    cases += [(Case(name, reduced=not whole), 1 if name == "RN50x64" else 2) for name in NINE]
    for case, batch in cases:
        model = case.build()
        check_init(encode, case, model)
        check_values(encode, case, model, batch)
        del model
        gc.collect()


if __name__ == "__main__":
    main()
