"""Loss curves against open_clip's own classes: same weights, same batches, fp32, step for step.

    train_test.py BIN_DIR        BIN_DIR holds contrail and contrail-worker

Contrail trains on real pairs at 1 and 4 ranks; PyTorch trains open_clip's CLIP with its ClipLoss or
SigLipLoss, torch's AdamW over open_clip's parameter groups, its schedule and its clamping of the
logit scale, from the weights of the same checkpoint, on the samples `contrail data order` lists.
"""

import io
import json
import math
import os
import socket
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import h5py
import numpy as np
import torch
from open_clip import get_tokenizer
from open_clip.loss import ClipLoss, SigLipLoss
from open_clip.model import CLIP
from open_clip.transform import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from PIL import Image

TOP = Path(__file__).resolve().parents[2]
PHOTOS = "/usr/share/datasets/fashion-mnist"
BATCH, LR, WARMUP, DECAY = 64, 5e-4, 10, 0.2
TOLERANCE = 1e-4  # relative, of the loss, at every step
TINY = dict(
    embed_dim=128,
    vision_cfg=dict(image_size=28, layers=4, width=128, patch_size=7),
    text_cfg=dict(context_length=77, vocab_size=49408, width=128, heads=2, layers=2),
)
CONFIG = """
[run]
seed = 11
[model]
name = "tiny-vit"
[data]
train = ["data/pairs-000000.tar"]
[train]
global_batch_size = {batch}
lr = {lr}
warmup_steps = {warmup}
weight_decay = {decay}
precision = "fp32"
[checkpoint]
every_minutes = 1000
[launcher]
threads_per_rank = 1
"""


class Contrail:
    def __init__(self, bin_dir, folder):
        self.bin, self.folder = Path(bin_dir).resolve(), folder
        self.env = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        presets = TOP / "configs/presets"
        (folder / "c.toml").write_text(
            CONFIG.format(batch=BATCH, lr=LR, warmup=WARMUP, decay=DECAY))
        self.run("data", "pack", "data", "--images", f"{PHOTOS}/train-images-idx3-ubyte.gz",
                 "--labels", f"{PHOTOS}/train-labels-idx1-ubyte.gz",
                 "--classes", presets / "fashion_classnames.txt",
                 "--templates", presets / "fashion_templates.txt", "--limit", 2000,
                 "--shard-samples", 2000)

    def run(self, *args):
        done = subprocess.run([self.bin / "contrail", *map(str, args)], cwd=self.folder, env=self.env,
                              capture_output=True, text=True)
        assert done.returncode == 0, f"contrail {' '.join(map(str, args))}\n{done.stderr}"
        return done.stdout

    def train(self, run, ranks, loss, steps, *settings):
        sets = [f"train.loss={loss}", f"train.steps={steps}", *settings]
        self.run("train", "c.toml", "--run", run, "--ranks", ranks,
                 *[word for value in sets for word in ("--set", value)])

    def losses(self, run):
        lines = self.run("view", run, "--json", "--series", "loss").splitlines()
        return [json.loads(line)["value"] for line in lines]

    def keys(self, steps):
        lines = []
        per_epoch = 2000 // BATCH * BATCH  # whole batches only
        for epoch in range(math.ceil(steps * BATCH / per_epoch)):
            count = min(per_epoch, steps * BATCH - len(lines))
            lines += self.run("data", "order", "c.toml", "--epoch", epoch, "--count", count,
                              "--set", f"train.steps={steps}").splitlines()
        return [line.split()[-1] for line in lines]

    def weights(self, run):
        (step,) = (self.folder / run / "checkpoints").glob("step_*")
        with h5py.File(step / "index.h5") as file:
            found = {}
            file["weight"].visititems(
                lambda name, item: found.update({name: np.asarray(item)})
                if isinstance(item, h5py.Dataset) else None)
        return {name.replace("/", "."): torch.from_numpy(value) for name, value in found.items()}


def samples(folder):
    """key -> (normalised image, caption)"""
    tokenizer = get_tokenizer("ViT-B-32")
    mean = torch.tensor(OPENAI_DATASET_MEAN).view(3, 1, 1)
    std = torch.tensor(OPENAI_DATASET_STD).view(3, 1, 1)
    path = folder / "data/pairs-000000.tar"
    found = {}
    with tarfile.open(path) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar.getmembers()}
    for name, data in members.items():
        if not name.endswith(".png"):
            continue
        image = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        assert image.shape == (28, 28, 3)  # the model's size: nothing is resized or cropped
        pixels = torch.from_numpy(image.copy()).permute(2, 0, 1) / 255
        stem = name.rsplit(".", 1)[0]
        caption = members[stem + ".txt"].decode()
        found[f"pairs-000000.tar/{stem}"] = ((pixels - mean) / std, tokenizer([caption])[0])
    return found


def learning_rate(step, steps):
    """open_clip_train/scheduler.py, cosine_lr"""
    if step < WARMUP:
        return LR * (step + 1) / WARMUP
    return 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (steps - WARMUP))) * LR


def open_clip_losses(weights, batches, loss):
    bias = {"init_logit_bias": -10.0} if loss == "siglip" else {}
    model = CLIP(**TINY, quick_gelu=True, **bias)
    missing = set(dict(model.named_parameters())) ^ set(weights)
    assert not missing, f"names differ: {missing}"
    model.load_state_dict(weights, strict=False)
    model.train()
    loss_of = SigLipLoss() if loss == "siglip" else ClipLoss()

    def plain(name, p):  # open_clip 3.3 and before: main.py, exclude
        return p.ndim < 2 or "bn" in name or "ln" in name or "bias" in name or "logit_scale" in name
    named = list(model.named_parameters())
    optimizer = torch.optim.AdamW(
        [{"params": [p for n, p in named if plain(n, p)], "weight_decay": 0.0},
         {"params": [p for n, p in named if not plain(n, p)], "weight_decay": DECAY}],
        lr=LR, betas=(0.9, 0.98), eps=1e-6)
    losses = []
    for step, (images, texts) in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, len(batches))
        optimizer.zero_grad()
        value = loss_of(*model(images, texts))
        value.backward()
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        losses.append(value.item())
    return losses


def check_curves(contrail, pairs, loss, steps):
    contrail.train(f"{loss}_start", 1, loss, 1)  # what both start from
    keys = contrail.keys(steps)
    batches = [tuple(map(torch.stack, zip(*[pairs[key] for key in keys[i:i + BATCH]])))
               for i in range(0, steps * BATCH, BATCH)]
    theirs = open_clip_losses(contrail.weights(f"{loss}_start"), batches, loss)
    for ranks in (1, 4):
        run = f"{loss}_{ranks}"
        contrail.train(run, ranks, loss, steps, f"model.init={contrail.folder}/{loss}_start")
        ours = contrail.losses(run)
        assert len(ours) == steps
        worst = max(abs(a - b) / b for a, b in zip(ours, theirs))
        print(f"{loss}, {ranks} ranks, {steps} steps, loss {theirs[0]:.3f} to {theirs[-1]:.3f}: "
              f"largest relative difference {worst:.1e}", flush=True)
        assert theirs[-1] < 0.9 * theirs[0], "nothing was learned"
        assert worst <= TOLERANCE, [(i, a, b) for i, (a, b) in enumerate(zip(ours, theirs), 1)]


def siglip_of_rank(rank, world, port, features, queue):
    import torch.distributed as dist
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=world)
    image, text = (x.chunk(world)[rank].clone().requires_grad_() for x in features)
    value = SigLipLoss(rank=rank, world_size=world, dist_impl="gather")(
        image, text, torch.tensor(10.0), torch.tensor(-10.0))
    queue.put(value.item())
    dist.barrier()
    dist.destroy_process_group()


def check_siglip_normalisation():
    """open_clip's distributed loss, averaged over ranks as its data parallelism averages gradients,
    is the sum over all pairs by the global batch: what model/sigmoid_loss.h says."""
    torch.manual_seed(3)
    image, text = (torch.nn.functional.normalize(torch.randn(32, 24), dim=1) for _ in range(2))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    world = 4
    context = torch.multiprocessing.get_context("fork")
    queue = context.Queue()
    ranks = [context.Process(target=siglip_of_rank, args=(r, world, port, (image, text), queue))
             for r in range(world)]
    for process in ranks:
        process.start()
    mean = sum(queue.get(timeout=60) for _ in ranks) / world
    for process in ranks:
        process.join()
    logits = 10 * image.double() @ text.double().T - 10
    labels = 2 * torch.eye(32) - 1
    ours = -torch.nn.functional.logsigmoid(labels * logits).sum() / 32
    print(f"SigLipLoss over {world} ranks: {mean:.7f}, by the formula {ours:.7f}")
    assert abs(mean / ours - 1) < 1e-6


def main():
    torch.set_num_threads(1)
    check_siglip_normalisation()
    with tempfile.TemporaryDirectory(prefix="contrail-parity-") as folder:
        contrail = Contrail(sys.argv[1], Path(folder))
        pairs = samples(Path(folder))
        check_curves(contrail, pairs, "clip", 50)
        check_curves(contrail, pairs, "siglip", 20)


if __name__ == "__main__":
    main()
