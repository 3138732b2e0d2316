"""Weights as people have them: wrapped, compiled, sharded, with configs of other programs.

    files_cases_test.py BIN_DIR

What open_clip and transformers make of such a file is the reference.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import open_clip
import safetensors.torch
import torch
import transformers
from files_models import (TINY_VIT, Programs, assert_same_features, assert_same_weights, make,
                          open_clip_features)
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

GELU = ["--set", "model.activation=gelu"]
HALF = dict(mean=[0.5] * 3, std=[0.5] * 3)


def pictures(programs, **preprocess):
    transform = image_transform_v2(PreprocessCfg(size=28, **preprocess), is_train=False)
    names = sorted((programs.folder / "pictures-28").glob("*.png"))
    return torch.stack([transform(Image.open(name)) for name in names])


def wrapped(programs, model):
    """Prefixes of DistributedDataParallel and torch.compile, in any order, in both formats."""
    folder, state = programs.folder, model.state_dict()
    for prefix in ("module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."):
        renamed = {prefix + name: value for name, value in state.items()}
        safetensors.torch.save_file(renamed, folder / "w.safetensors")
        torch.save({"state_dict": renamed}, folder / "w.pt")
        for file in ("w.safetensors", "w.pt"):
            programs.run("import", file, "ckpt", *GELU)
            assert_same_weights(folder / "ckpt", state)
            shutil.rmtree(folder / "ckpt")
    # One tower alone was compiled.
    renamed = {name.replace("visual.", "visual._orig_mod.", 1): v for name, v in state.items()}
    torch.save(renamed, folder / "w.pt")
    programs.run("import", "w.pt", "ckpt", *GELU)
    assert_same_weights(folder / "ckpt", state)
    shutil.rmtree(folder / "ckpt")
    # Names that become one.
    torch.save({**state, "_orig_mod.logit_scale": state["logit_scale"]}, folder / "w.pt")
    programs.refuse("E-WEIGHTS-DAMAGED", "import", "w.pt", "ckpt", *GELU, saying="logit_scale")
    for file in ("w.safetensors", "w.pt"):
        (folder / file).unlink()


def hugging_face(programs, model):
    folder = programs.folder
    torch.save(model.state_dict(), folder / "w.pt")
    programs.run("import", "w.pt", "made", *GELU)
    lineage = programs.lineage("made")
    programs.run("export", "made", "--format", "hf", "hf")
    weights = safetensors.torch.load_file(folder / "hf/model.safetensors")
    whole = json.loads((folder / "hf/config.json").read_text())

    # Several files of torch.save with an index.
    sharded = folder / "sharded"
    shutil.copytree(folder / "hf", sharded)
    (sharded / "model.safetensors").unlink()
    names = sorted(weights)
    parts = {"pytorch_model-1.bin": names[::2], "pytorch_model-2.bin": names[1::2]}
    for file, part in parts.items():
        torch.save({name: weights[name] for name in part}, sharded / file)
    (sharded / "pytorch_model.bin.index.json").write_text(json.dumps(
        {"weight_map": {name: file for file, part in parts.items() for name in part}}))
    programs.run("import", "sharded", "again")
    assert programs.lineage("again") == lineage
    shutil.rmtree(folder / "again")
    (sharded / "pytorch_model-2.bin").unlink()
    programs.refuse("E-WEIGHTS-FILE", "import", "sharded", "again")
    shutil.rmtree(sharded)

    # A whole config of old files beside the newer one: what transformers takes of the two.
    safetensors.torch.save_file({f"_orig_mod.{n}": v for n, v in weights.items()},
                                folder / "hf/model.safetensors")
    quick = {tower: {**whole[tower], "hidden_act": "quick_gelu"}
             for tower in ("text_config", "vision_config")}
    cases = {
        "old says gelu": {**quick, **{f"{t}_dict": {**c, "hidden_act": "gelu"}
                                      for t, c in quick.items()}},
        "old says nothing": {f"{t}_dict": {k: v for k, v in c.items() if k != "hidden_act"}
                             for t, c in quick.items()},
        "old alone": {**{t: None for t in quick},
                      **{f"{t}_dict": {**c, "hidden_act": "gelu"} for t, c in quick.items()}},
    }
    for what, changes in cases.items():
        config = {key: value for key, value in {**whole, **changes}.items() if value is not None}
        (folder / "hf/config.json").write_text(json.dumps(config))
        theirs = transformers.CLIPConfig.from_dict(json.loads(json.dumps(config)))
        activation = theirs.text_config.hidden_act
        assert activation == theirs.vision_config.hidden_act
        programs.run("import", "hf", "again")
        found = json.loads(programs.run("checkpoint", "show", "again", "--json").stdout)
        assert found["activation"] == activation, (what, activation, found["activation"])
        shutil.rmtree(folder / "again")
    assert activation == "gelu"
    for done in ("hf", "made"):
        shutil.rmtree(folder / done)
    (folder / "w.pt").unlink()


def open_clip_configs(programs, model):
    folder = programs.folder
    hub = folder / "hub"
    hub.mkdir()
    safetensors.torch.save_file(model.state_dict(), hub / "open_clip_model.safetensors")
    plain = json.loads(json.dumps(TINY_VIT))

    def write(config, **preprocess):
        text = {"model_cfg": config, "preprocess_cfg": dict(size=28, mode="RGB", **preprocess)}
        (hub / "open_clip_config.json").write_text(json.dumps(text))

    # What open_clip writes out for its defaults.
    vision = dict(mlp_ratio=4.0, pool_type="tok", ls_init_value=None, head_width=64,
                  patch_dropout=0.0, attentional_pool=False, output_tokens=False,
                  timm_model_name=None, no_ln_pre=False, final_ln_after_pool=False)
    text = dict(mlp_ratio=4.0, pool_type="argmax", proj_bias=False, pad_id=0,
                hf_tokenizer_name=None, embed_cls=False, no_causal_mask=False, proj_type="linear")
    write(dict(plain, vision_cfg={**plain["vision_cfg"], **vision},
               text_cfg={**plain["text_cfg"], **text}))
    programs.run("import", "hub", "ckpt")
    assert_same_weights(folder / "ckpt", model.state_dict())
    shutil.rmtree(folder / "ckpt")
    write(dict(plain, vision_cfg=dict(plain["vision_cfg"], mlp_ratio=3.0)))
    programs.refuse("E-WEIGHTS-CONFIG", "import", "hub", "ckpt", saying="mlp_ratio = 3.0")

    # What changes pixels is told.
    write(plain, resize_mode="squash", interpolation="bilinear")
    said = programs.run("import", "hub", "ckpt").stderr
    assert "W-WEIGHTS-PIXELS" in said and "squash" in said and "bilinear" in said, said
    shutil.rmtree(folder / "ckpt")
    write(plain, resize_mode="shortest", interpolation="bicubic")
    assert "W-" not in programs.run("import", "hub", "ckpt").stderr
    shutil.rmtree(folder / "ckpt")
    shutil.rmtree(hub)


def normalisation(programs, model):
    """Images to [-1, 1], as LAION-2B's ViT-L/14 has them: through every form and back."""
    folder = programs.folder
    hub = folder / "hub"
    hub.mkdir()
    safetensors.torch.save_file(model.state_dict(), hub / "open_clip_model.safetensors")
    (hub / "open_clip_config.json").write_text(json.dumps(
        {"model_cfg": TINY_VIT, "preprocess_cfg": dict(size=28, **HALF)}))
    programs.run("import", "hub", "ckpt")
    lineage = programs.lineage("ckpt")
    ours = programs.features("ckpt", 28)
    theirs, _, transform = open_clip.create_model_and_transforms(f"local-dir:{hub}")
    assert transform.transforms[-1].mean == HALF["mean"], transform
    with torch.no_grad():
        image = theirs.eval().encode_image(pictures(programs, **HALF), normalize=True)
    assert_same_features(ours[:1], [image.numpy()], "half")
    clip = open_clip_features(theirs, programs, 28)
    assert abs(ours[0] - clip[0]).max() > 1e-3, "the two normalisations can be told apart"
    for other in ("clip", "imagenet"):
        error = "E-WEIGHTS-CONFIG"
        programs.refuse(error, "import", "hub", "no", "--set", f"data.mean_std={other}")
    shutil.rmtree(hub)

    # Out to a folder as model hubs have it, which open_clip reads whole.
    (folder / "out").mkdir()
    programs.run("export", "ckpt", "--format", "open_clip", "out/open_clip_model.safetensors")
    theirs, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder / 'out'}")
    assert transform.transforms[-1].mean == HALF["mean"], transform
    with torch.no_grad():
        image = theirs.eval().encode_image(pictures(programs, **HALF), normalize=True)
    assert_same_features(ours[:1], [image.numpy()], "open_clip")
    exports = ["out", "w.safetensors", "w.pt", "hf"]
    programs.run("export", "ckpt", "--format", "open_clip", "w.safetensors")
    (folder / "w.json").unlink()  # what the file notes about itself is enough
    programs.run("export", "ckpt", "--format", "open_clip", "w.pt")
    programs.run("export", "ckpt", "--format", "hf", "hf")
    processor = transformers.CLIPImageProcessor.from_pretrained(folder / "hf")
    assert list(processor.image_mean) == HALF["mean"] and list(processor.image_std) == HALF["std"]
    for export in exports:
        programs.run("import", export, "again")
        assert programs.lineage("again") == lineage, export
        shutil.rmtree(folder / "again")
    programs.refuse("E-EXPORT-FORMAT", "export", "ckpt", "--format", "openai", "o.pt")

    # Files that say nothing are CLIP's, unless the user knows better.
    torch.save(model.state_dict(), folder / "bare.pt")
    programs.run("import", "bare.pt", "again", *GELU, "--set", "data.mean_std=half")
    assert programs.lineage("again") == lineage
    shutil.rmtree(folder / "again")
    programs.refuse("E-MEAN-STD", "import", "bare.pt", "no", *GELU, "--set", "data.mean_std=x")

    # Training from them, and from its own checkpoints.
    for picture in (folder / "pictures-28").glob("*.png"):
        picture.with_suffix(".txt").write_text("a picture")
    programs.run("data", "pack", "train", "--folder", "pictures-28", "--name", "pairs")
    (folder / "c.toml").write_text("""
[model]
name = "tiny-vit"
activation = "gelu"
init = "ckpt"
[data]
train = ["train/pairs-000000.tar"]
[train]
global_batch_size = 2
steps = 1
""")
    done = programs.run("train", "c.toml", "--run", "run", "--ranks", 1, ok=False)
    assert done.returncode == 2 and 'set data.mean_std = "half"' in done.stderr, done.stderr
    shutil.rmtree(folder / "run", ignore_errors=True)
    programs.run("train", "c.toml", "--run", "run", "--ranks", 1, "--set", "data.mean_std=half",
                 "--set", "train.lr=1e-12", "--set", "train.weight_decay=0",
                 "--set", "train.precision=fp32")
    found = json.loads(programs.run("checkpoint", "show", "run", "--json").stdout)
    assert found["mean_std"] == "half" and found["micro_batch"] == 2 and found["instruction_sets"]
    assert_same_features(programs.features("run", 28)[:1], ours[:1], "the run's own checkpoint")


def nothing_is_lost(programs, model):
    """A folder or file of the old temporary name is somebody else's."""
    folder = programs.folder
    precious = folder / "precious"
    precious.mkdir()
    (precious / "keep.txt").write_text("kept")
    torch.save(model.state_dict(), folder / "w2.pt")
    for name in ("made.tmp", "hf2.tmp", "o2.safetensors.tmp", "f.h5.tmp"):
        (folder / name).mkdir()
        os.symlink("../precious", folder / name / "link")
    programs.run("import", "w2.pt", "made", *GELU)
    programs.run("export", "made", "--format", "hf", "hf2")
    programs.run("export", "made", "--format", "open_clip", "o2.safetensors")
    programs.run("embed", "--checkpoint", "made", "--texts", "texts.txt", "f.h5")
    assert (precious / "keep.txt").read_text() == "kept"
    for name in ("made.tmp", "hf2.tmp", "o2.safetensors.tmp", "f.h5.tmp"):
        assert (folder / name / "link").is_symlink(), name
    os.symlink("nowhere", folder / "dangling")
    programs.refuse("E-OUT-EXISTS", "import", "w2.pt", "dangling", *GELU)
    assert not [path for path in folder.iterdir() if ".tmp-" in path.name]


def main():
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="contrail-cases-") as folder:
        programs = Programs(Path(sys.argv[1]).resolve(), folder)
        model = make("tiny-vit", "gelu")
        for check in (wrapped, hugging_face, open_clip_configs, normalisation, nothing_is_lost):
            check(programs, model)
            print(f"{check.__name__}: as it should be", flush=True)


if __name__ == "__main__":
    main()
