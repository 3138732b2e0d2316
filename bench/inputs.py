#!/usr/bin/env python3
"""Batches for the step benchmarks, in one file that both sides read (bench/batches.h).

  inputs.py fashion OUT --samples N [--tokens full]      Fashion-MNIST photos and their captions
  inputs.py random OUT --samples N --resolution R [--tokens full]

Captions of `random` have 9 to 31 tokens, evenly (mean 20, as alt texts on the web have);
`--tokens full` makes every caption 77 tokens long.
"""
import argparse
import gzip
import pathlib

import numpy as np

TOP = pathlib.Path(__file__).resolve().parents[1]
PHOTOS = pathlib.Path("/usr/share/datasets/fashion-mnist")
START, END, CONTEXT, MERGED = 49406, 49407, 77, 49152


def fashion(samples, draw):
    from open_clip import SimpleTokenizer
    with gzip.open(PHOTOS / "train-images-idx3-ubyte.gz") as file:
        gray = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)[:samples]
    with gzip.open(PHOTOS / "train-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)[:samples]
    names = (TOP / "configs/presets/fashion_classnames.txt").read_text().splitlines()
    templates = (TOP / "configs/presets/fashion_templates.txt").read_text().splitlines()
    tokenizer = SimpleTokenizer()
    captions = [tokenizer.encode(templates[draw.integers(len(templates))].replace("{}", names[i]))
                for i in labels]
    return np.repeat(gray, 3, axis=1), [np.array([START, *ids, END]) for ids in captions]


def random(samples, resolution, draw):
    images = draw.integers(0, 256, (samples, 3, resolution, resolution), np.uint8)
    return images, [caption(length, draw) for length in draw.integers(9, 32, samples)]


def caption(length, draw):
    return np.array([START, *draw.integers(0, MERGED, length - 2), END])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["fashion", "random"])
    parser.add_argument("out")
    parser.add_argument("--samples", type=int, required=True)
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--tokens", choices=["real", "full"], default="real")
    args = parser.parse_args()
    draw = np.random.default_rng(1)
    if args.kind == "fashion":
        images, captions = fashion(args.samples, draw)
    else:
        images, captions = random(args.samples, args.resolution, draw)
    if args.tokens == "full":
        captions = [caption(CONTEXT, draw) for _ in captions]
    lengths = [len(ids) for ids in captions]
    with open(args.out, "wb") as file:
        np.array([len(images), images.shape[-1], sum(lengths)], np.int64).tofile(file)
        np.ascontiguousarray(images).tofile(file)
        np.cumsum([0, *lengths]).astype(np.int32).tofile(file)
        np.concatenate(captions).astype(np.int32).tofile(file)
    print(f"{np.mean(lengths):.1f}")


if __name__ == "__main__":
    main()
