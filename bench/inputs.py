#!/usr/bin/env python3
"""What the benchmarks are fed, in files that both sides read.

  inputs.py fashion OUT --samples N [--tokens full]     batches: Fashion-MNIST and its captions
  inputs.py random OUT --samples N --resolution R [--tokens full]            batches: noise
  inputs.py captions OUT --samples N        text lines: ImageNet class names in OpenAI's templates
  inputs.py photos OUT --samples N          a tar of JPEGs, 640 x 480, quality 90, about 100 kB each
  inputs.py fashion-png OUT --samples N     a tar of PNGs, 28 x 28
  inputs.py weights OUT --model MODEL       open_clip's first weights, seed 1

Batches are laid out as bench/batches.h says. Captions of `random` have 9 to 31 tokens, evenly (mean
20, as alt texts on the web have); `--tokens full` makes every caption 77 tokens long.
"""
import argparse
import gzip
import io
import pathlib
import sys
import tarfile

import numpy as np

TOP = pathlib.Path(__file__).resolve().parents[1]
PHOTOS = pathlib.Path("/usr/share/datasets/fashion-mnist")
START, END, CONTEXT, MERGED = 49406, 49407, 77, 49152


def fashion_photos(samples):
    with gzip.open(PHOTOS / "train-images-idx3-ubyte.gz") as file:
        return np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)[:samples]


def fashion(samples, draw):
    from open_clip import SimpleTokenizer
    gray = fashion_photos(samples)[:, None]
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


def write_batches(args, draw):
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


def write_captions(args, draw):
    from open_clip import IMAGENET_CLASSNAMES, OPENAI_IMAGENET_TEMPLATES
    with open(args.out, "w") as file:
        for _ in range(args.samples):
            template = OPENAI_IMAGENET_TEMPLATES[draw.integers(len(OPENAI_IMAGENET_TEMPLATES))]
            name = IMAGENET_CLASSNAMES[draw.integers(len(IMAGENET_CLASSNAMES))]
            file.write(template(name) + "\n")


def photo(draw):
    """Smooth shapes with detail on top: as many bytes and frequencies as a photograph has."""
    from PIL import Image
    picture = np.zeros((480, 640, 3))
    for size, strength in ((4, 90), (16, 50), (64, 25), (160, 12), (480, 7)):
        noise = draw.normal(128, strength, (size * 3 // 4, size, 3)).clip(0, 255).astype(np.uint8)
        layer = Image.fromarray(noise).resize((640, 480), Image.Resampling.BICUBIC)
        picture += np.asarray(layer, float) - 128
    return Image.fromarray((picture + 128).clip(0, 255).astype(np.uint8))


def write_tar(args, draw):
    from PIL import Image
    photos = fashion_photos(args.samples) if args.kind == "fashion-png" else None
    with tarfile.open(args.out, "w") as tar:
        for i in range(args.samples):
            encoded = io.BytesIO()
            if args.kind == "photos":
                photo(draw).save(encoded, "JPEG", quality=90)
            else:
                Image.fromarray(photos[i]).save(encoded, "PNG")
            member = tarfile.TarInfo(f"{i:06d}." + ("jpg" if args.kind == "photos" else "png"))
            member.size = len(encoded.getvalue())
            encoded.seek(0)
            tar.addfile(member, encoded)


def write_weights(args, draw):
    import torch
    from open_clip import CLIP
    sys.path.insert(0, str(TOP / "bench/peers"))
    from open_clip_step import MODELS
    torch.manual_seed(1)
    torch.save(CLIP(**MODELS[args.model], quick_gelu=True).state_dict(), args.out)


WRITERS = {"fashion": write_batches, "random": write_batches, "captions": write_captions,
           "photos": write_tar, "fashion-png": write_tar, "weights": write_weights}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=WRITERS)
    parser.add_argument("out")
    parser.add_argument("--samples", type=int, default=0)
    parser.add_argument("--model")
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--tokens", choices=["real", "full"], default="real")
    args = parser.parse_args()
    WRITERS[args.kind](args, np.random.default_rng(1))


if __name__ == "__main__":
    main()
