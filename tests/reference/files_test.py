"""Weights in and out beside open_clip and transformers: the same bits, the same features.

    files_test.py BIN_DIR FUZZ (quick|whole|long)

quick: the tiny models and every format, and damaged files (FUZZ is built from fuzz.cc);
whole: ViT-B/32 and RN50; long: the other seven.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import h5py
import numpy as np
import open_clip
import safetensors.torch
import torch
import transformers
from files_models import (TEXTS, Programs, as_openai_archive, assert_same_features,
                          assert_same_weights, config, make, open_clip_features)
from open_clip.factory import load_state_dict
from open_clip.model import CLIP, build_model_from_openai_state_dict
from open_clip.openai import load_openai_model


def size_of(model):
    size = model.visual.image_size
    return size[0] if isinstance(size, tuple) else size


def check_imports(programs, name, activation, forms):
    """The forms that open_clip's weights come in (`forms`: all, or the two usual ones); returns the
    model and its features, leaves the checkpoint."""
    folder = programs.folder
    model = make(name, activation)
    state = model.state_dict()
    choose = ["--set", f"model.activation={activation}"]

    torch.save(state, folder / "plain.pt")
    programs.run("import", "plain.pt", "ckpt", *choose)
    assert_same_weights(folder / "ckpt", state)
    programs.run("checkpoint", "verify", "ckpt")
    lineage = programs.lineage("ckpt")
    features = programs.features("ckpt", size_of(model))
    assert_same_features(features, open_clip_features(model, programs, size_of(model)), name)

    def same(*words):
        programs.run("import", words[0], "again", *words[1:])
        assert programs.lineage("again") == lineage, words
        shutil.rmtree(folder / "again")

    safetensors.torch.save_file(state, folder / "plain.safetensors")
    same("plain.safetensors", *choose)
    if forms != "all":
        (folder / "plain.safetensors").unlink()
        (folder / "plain.pt").unlink()
        return model, features
    # open_clip's config beside it says the activation.
    (folder / "plain.json").write_text(json.dumps(config(name, activation)))
    same("plain.safetensors")
    same("plain.pt")
    (folder / "plain.json").unlink()
    hub = folder / "hub"
    hub.mkdir()
    (folder / "plain.safetensors").rename(hub / "open_clip_model.safetensors")
    (hub / "open_clip_config.json").write_text(json.dumps({"model_cfg": config(name, activation)}))
    same("hub")
    shutil.rmtree(hub)
    # A training checkpoint: optimizer state, DistributedDataParallel's prefix, a newer pickle.
    optimizer = torch.optim.AdamW(model.parameters())
    training = {"epoch": 3, "name": "run", "optimizer": optimizer.state_dict(),
                "state_dict": {f"module.{key}": value for key, value in state.items()}}
    torch.save(training, folder / "plain.pt", pickle_protocol=4)
    same("plain.pt", *choose)
    # Tensors that are views, transposed or shared.
    views = dict(state)
    views["text_projection"] = views["text_projection"].t().contiguous().t()
    torch.save(views, folder / "plain.pt")
    same("plain.pt", *choose)
    # The 64-bit form of zip, which torch uses for files of more than 4 GiB.
    torch.save(state, folder / "small.pt")
    limit, zipfile.ZIP64_LIMIT = zipfile.ZIP64_LIMIT, 100
    with zipfile.ZipFile(folder / "small.pt") as small:
        with zipfile.ZipFile(folder / "plain.pt", "w") as large:
            for entry in small.namelist():
                large.writestr(entry, small.read(entry))
    zipfile.ZIP64_LIMIT = limit
    same("plain.pt", *choose)
    (folder / "small.pt").unlink()
    (folder / "plain.pt").unlink()
    return model, features


def check_types(programs, name):
    """bf16, fp16 and fp64 files hold what their numbers are in fp32."""
    model = make(name, "gelu")
    for kind in (torch.bfloat16, torch.float16, torch.float64):
        state = {key: value.to(kind) if value.is_floating_point() else value
                 for key, value in model.state_dict().items()}
        for file in ("kind.pt", "kind.safetensors"):
            save = torch.save if file.endswith(".pt") else safetensors.torch.save_file
            save(state, programs.folder / file)
            programs.run("import", file, "kind", "--set", "model.activation=gelu")
            assert_same_weights(programs.folder / "kind", state)
            shutil.rmtree(programs.folder / "kind")
            (programs.folder / file).unlink()


def check_open_clip(programs, name, activation, model, features):
    """The exports load strictly by the config beside them and compute the same."""
    folder = programs.folder
    for file in ("out.pt", "out.safetensors"):
        programs.run("export", "ckpt", "--format", "open_clip", file)
        written = json.loads((folder / "out.json").read_text())
        assert written["quick_gelu"] == (activation == "quick_gelu")
        open_clip.add_model_config(folder / "out.json")
        loaded = open_clip.create_model("out", pretrained=str(folder / file)).eval()
        assert_same_features(features, open_clip_features(loaded, programs, size_of(model)), file)
        raw = load_state_dict(str(folder / file))
        CLIP(**config(name, activation)).load_state_dict(raw, strict=True)
        assert all(torch.equal(raw[key].float(), value.float())
                   for key, value in model.state_dict().items()
                   if not key.endswith("num_batches_tracked"))
        if file.endswith(".pt"):
            torch.load(folder / file, weights_only=True)
            (folder / "out.json").unlink()  # what the file notes about itself is enough
        programs.run("import", file, "again")
        assert programs.lineage("again") == programs.lineage("ckpt")
        shutil.rmtree(folder / "again")
        (folder / file).unlink()
    (folder / "out.json").unlink()
    programs.refuse("E-EXPORT-FORMAT", "export", "ckpt", "--format", "open_clip", "out.bin")


def check_openai(programs, name, model):
    """In from an archive as OpenAI's, out as a state dict that open_clip takes for OpenAI's."""
    folder = programs.folder
    as_openai_archive(model, folder / "openai.pt")
    half = {key: value for key, value in model.state_dict().items()
            if key not in ("input_resolution", "context_length", "vocab_size")}
    programs.run("import", "openai.pt", "half")
    assert_same_weights(folder / "half", half)
    programs.refuse("E-WEIGHTS-ACTIVATION", "import", "openai.pt", "no", "--set",
                    "model.activation=gelu", saying="OpenAI")
    archive = torch.jit.load(folder / "openai.pt", map_location="cpu").state_dict()
    archive.pop("attn_mask")  # of open_clip's text tower; OpenAI's has none
    theirs = build_model_from_openai_state_dict(archive).float()
    features = programs.features("half", size_of(model))
    assert_same_features(features, open_clip_features(theirs, programs, size_of(model)), "archive")

    programs.run("export", "half", "--format", "openai", "state.pt")
    written = torch.load(folder / "state.pt", weights_only=True)
    for key, value in half.items():
        assert written[key].dtype == value.dtype, (key, written[key].dtype)
        assert key.endswith("num_batches_tracked") or torch.equal(written[key], value), key
    assert set(written) == set(half) | {"input_resolution", "context_length", "vocab_size"}
    theirs = load_openai_model(str(folder / "state.pt"), precision="fp32", device="cpu")
    assert_same_features(features, open_clip_features(theirs, programs, size_of(model)), "openai")
    programs.run("import", "state.pt", "again")
    assert programs.lineage("again") == programs.lineage("half")
    for done in ("half", "again"):
        shutil.rmtree(folder / done)
    for done in ("openai.pt", "state.pt"):
        (folder / done).unlink()


def hugging_face_features(model, programs, size):
    tokens = open_clip.tokenize(TEXTS)
    with torch.no_grad():
        out = model(input_ids=tokens, pixel_values=programs.pictures(size))
    return out.image_embeds.numpy(), out.text_embeds.numpy()


def check_hugging_face_export(programs, model, features):
    folder, size = programs.folder, size_of(model)
    programs.run("export", "ckpt", "--format", "hf", "hf")
    loaded, report = transformers.CLIPModel.from_pretrained(folder / "hf", output_loading_info=True)
    assert not any(report.values()), report
    assert_same_features(features, hugging_face_features(loaded.eval(), programs, size), "hf")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder / "hf")
    ids = tokenizer(TEXTS, truncation=True)["input_ids"]
    reference = [[i for i in row.tolist() if i] for row in open_clip.tokenize(TEXTS)]
    assert ids == reference, (ids, reference)
    processor = transformers.CLIPImageProcessor.from_pretrained(folder / "hf")
    picture = (np.random.default_rng(1).random((40, 60, 3)) * 255).astype(np.uint8)
    from PIL import Image
    theirs = processor(Image.fromarray(picture), return_tensors="pt")["pixel_values"][0]
    ours = open_clip.image_transform(size, is_train=False)(Image.fromarray(picture))
    assert theirs.shape == ours.shape and (theirs - ours).abs().mean() < 0.01
    programs.run("import", "hf", "again")
    assert programs.lineage("again") == programs.lineage("ckpt")
    shutil.rmtree(folder / "again")
    shutil.rmtree(folder / "hf")


def check_hugging_face_import(programs, activation):
    """A model that transformers itself made and saved, in one file and in several."""
    folder = programs.folder
    torch.manual_seed(3)
    shared = dict(hidden_act=activation, projection_dim=128, num_attention_heads=2, hidden_size=128,
                  intermediate_size=512)
    made = transformers.CLIPModel(transformers.CLIPConfig(
        text_config=dict(shared, num_hidden_layers=2, eos_token_id=49407),
        vision_config=dict(shared, num_hidden_layers=4, image_size=28, patch_size=7),
        projection_dim=128)).eval()
    made.save_pretrained(folder / "hf")
    programs.run("import", "hf", "ckpt-hf")
    features = programs.features("ckpt-hf", 28)
    assert_same_features(features, hugging_face_features(made, programs, 28), "from hf")
    shutil.rmtree(folder / "hf")
    made.save_pretrained(folder / "hf", max_shard_size="8MB")
    assert (folder / "hf" / "model.safetensors.index.json").exists()
    programs.run("import", "hf", "again")
    assert programs.lineage("again") == programs.lineage("ckpt-hf")
    for done in ("again", "ckpt-hf", "hf"):
        shutil.rmtree(folder / done)


def check_memory(programs, name, most):
    """Neither way holds more than about two tensors: the process stays below `most` bytes."""
    folder = programs.folder
    torch.save(make(name, "quick_gelu").state_dict(), folder / "large.pt")
    assert (folder / "large.pt").stat().st_size > 1.3 * most
    for words in (["import", "large.pt", "ckpt", "--set", "model.activation=quick_gelu"],
                  ["export", "ckpt", "--format", "open_clip", "out.safetensors"],
                  ["export", "ckpt", "--format", "openai", "out.pt"]):
        # A process's peak counts its parent's size at the fork: let a small one start it.
        measure = ("import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
                   "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
        program = str(programs.bin / "contrail-worker")
        printed = subprocess.run([sys.executable, "-c", measure, program, *words], cwd=folder,
                                 capture_output=True, text=True, check=True).stdout
        peak = int(printed.split()[-1]) * 1024
        assert peak < most, (words, peak)
        print(f"{name} {words[0]} {words[-1]}: {peak / 1e6:.0f} MB at most", flush=True)
    shutil.rmtree(folder / "ckpt")
    for done in ("large.pt", "out.safetensors", "out.json", "out.pt"):
        (folder / done).unlink()


def check_training(programs, name, size):
    """model.init takes an import: one step of a tiny learning rate moves the weights that little."""
    folder = programs.folder
    model = make(name, "quick_gelu")
    torch.save(model.state_dict(), folder / "init.pt")
    programs.run("import", "init.pt", "ckpt", "--set", "model.activation=quick_gelu")
    programs.features("ckpt", size)
    for picture in (folder / f"pictures-{size}").iterdir():
        if picture.suffix == ".png":
            picture.with_suffix(".txt").write_text(f"picture {picture.stem}")
    programs.run("data", "pack", "train", "--folder", f"pictures-{size}", "--name", "pairs")
    (folder / "c.toml").write_text(f"""
[model]
name = "{name}"
init = "ckpt"
[data]
train = ["train/pairs-000000.tar"]
[train]
global_batch_size = 2
steps = 1
lr = 1e-6
warmup_steps = 1
weight_decay = 0.0
precision = "fp32"
""")
    programs.run("train", "c.toml", "--run", "run", "--ranks", 1)
    with h5py.File(folder / "run/checkpoints/step_00000001/index.h5") as file:
        moved = [np.abs(file["weight"][key][()] - value.numpy()).max()
                 for key, value in model.state_dict().items() if key in file["weight"]]
    assert len(moved) == len(list(model.parameters())) and 0 < max(moved) < 2e-6, max(moved)
    for done in ("ckpt", "train", "run"):
        shutil.rmtree(folder / done)
    for picture in (folder / f"pictures-{size}").glob("*.txt"):
        picture.unlink()
    (folder / "c.toml").unlink()
    (folder / "init.pt").unlink()


def check_logit_bias(programs):
    """A model of the sigmoid loss has a place in open_clip's form alone."""
    folder = programs.folder
    torch.manual_seed(4)
    cfg = dict(config("tiny-vit", "gelu"), init_logit_bias=-10)
    state = CLIP(**cfg).state_dict()
    torch.save(state, folder / "bias.pt")
    programs.run("import", "bias.pt", "ckpt", "--set", "model.activation=gelu")
    assert_same_weights(folder / "ckpt", state)
    programs.refuse("E-EXPORT-FORMAT", "export", "ckpt", "--format", "hf", "hf", saying="logit_bias")
    programs.run("export", "ckpt", "--format", "open_clip", "out.pt")
    open_clip.add_model_config(folder / "out.json")
    loaded = open_clip.create_model("out", pretrained=str(folder / "out.pt"))
    assert loaded.logit_bias.item() == -10
    for done in ("bias.pt", "out.pt", "out.json"):
        (folder / done).unlink()
    shutil.rmtree(folder / "ckpt")


def check_model(programs, name, activation, archive, forms="usual"):
    model, features = check_imports(programs, name, activation, forms)
    check_open_clip(programs, name, activation, model, features)
    if name.startswith(("ViT", "tiny-vit")):
        check_hugging_face_export(programs, model, features)
    else:
        programs.refuse("E-EXPORT-FORMAT", "export", "ckpt", "--format", "hf", "hf")
    if activation == "gelu":
        programs.refuse("E-EXPORT-FORMAT", "export", "ckpt", "--format", "openai", "o.pt")
    elif archive:
        check_openai(programs, name, model)
    shutil.rmtree(programs.folder / "ckpt")
    print(f"{name} {activation}: same bits, same features", flush=True)


def check_damaged(programs, fuzz):
    """Cut anywhere and changed anywhere, a file is refused or read, nothing else."""
    folder = programs.folder
    for name in ("tiny-vit", "tiny-rn"):
        model = make(name, "quick_gelu")
        torch.save(model.state_dict(), folder / "plain.pt")
        safetensors.torch.save_file(model.state_dict(), folder / "plain.safetensors")
        as_openai_archive(model, folder / "openai.pt")
        for file in ("plain.pt", "plain.safetensors", "openai.pt"):
            done = subprocess.run([fuzz, folder / file, "200"], capture_output=True, text=True)
            assert done.returncode == 0, (name, file, done.stdout, done.stderr)
            print(f"{name} {file}: {done.stdout.strip()}", flush=True)
            (folder / file).unlink()


def main():
    bin_dir, fuzz, extent = sys.argv[1:]
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="contrail-files-") as folder:
        programs = Programs(Path(bin_dir).resolve(), folder)
        if extent == "quick":
            for activation in ("quick_gelu", "gelu"):
                check_model(programs, "tiny-vit", activation, True, "all")
                check_model(programs, "tiny-rn", activation, True, "all")
                check_hugging_face_import(programs, activation)
            check_types(programs, "tiny-rn")
            check_logit_bias(programs)
            check_training(programs, "tiny-vit", 28)
            check_training(programs, "tiny-rn", 32)
            check_damaged(programs, fuzz)
        elif extent == "whole":
            check_memory(programs, "ViT-B/32", 450_000_000)
            check_model(programs, "ViT-B/32", "quick_gelu", archive=True)
            check_model(programs, "RN50", "quick_gelu", archive=False)
        else:
            for name in ("ViT-B/16", "ViT-L/14", "ViT-L/14@336", "RN101", "RN50x4", "RN50x16",
                         "RN50x64"):
                check_model(programs, name, "quick_gelu", archive=True)


if __name__ == "__main__":
    main()
