"""Files of weights that must be refused: one line with its id, exit 2, nothing written.

    files_bad_input_test.py BIN_DIR
"""

import json
import os
import pickle
import random
import shutil
import struct
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from files_models import TINY_VIT, Programs, make
from open_clip.model import CLIP

GELU = ["--set", "model.activation=gelu"]


def edited(state, **changes):
    """The state dict with keys replaced, or dropped where the new value is None."""
    done = {**state, **changes}
    return {key: value for key, value in done.items() if value is not None}


class Case:
    """Writes files into the playground and has them refused."""

    def __init__(self, programs, state):
        self.programs, self.folder, self.state = programs, programs.folder, state

    def raw(self, error, contents, name="w.pt", words=(), saying=""):
        (self.folder / name).write_bytes(contents)
        self.programs.refuse(error, "import", name, "ckpt", *words, saying=saying)
        (self.folder / name).unlink()

    def saved(self, error, value, words=GELU, saying=""):
        torch.save(value, self.folder / "w.pt")
        self.programs.refuse(error, "import", "w.pt", "ckpt", *words, saying=saying)
        (self.folder / "w.pt").unlink()

    def bytes_of(self, value, kind="pt"):
        path = self.folder / f"bytes.{kind}"
        torch.save(value, path) if kind == "pt" else safetensors.torch.save_file(value, path)
        contents = path.read_bytes()
        path.unlink()
        return contents


def foreign_files(case):
    case.programs.refuse("E-WEIGHTS-FILE", "import", "nowhere.pt", "ckpt")
    case.programs.refuse("E-WEIGHTS-FILE", "import", ".", "ckpt")
    case.raw("E-WEIGHTS-FILE", b"", saying="empty")
    case.raw("E-WEIGHTS-FILE", b"hello world, this is a text\n")
    case.raw("E-WEIGHTS-FILE", random.Random(1).randbytes(5000))
    case.raw("E-WEIGHTS-FILE", b"version https://git-lfs.github.com/spec/v1\noid 1\n", saying="LFS")
    case.raw("E-WEIGHTS-FILE", b"\x89HDF\r\n\x1a\n" + bytes(100), saying="HDF5")
    torch.save(case.state, case.folder / "old.pt", _use_new_zipfile_serialization=False)
    case.programs.refuse("E-WEIGHTS-FILE", "import", "old.pt", "ckpt", saying="1.6")
    with zipfile.ZipFile(case.folder / "x.zip", "w") as file:
        file.writestr("readme", "text")
    case.programs.refuse("E-WEIGHTS-FILE", "import", "x.zip", "ckpt", saying="data.pkl")
    (case.folder / "old.pt").unlink()
    (case.folder / "x.zip").unlink()


def torn_files(case):
    for kind in ("pt", "safetensors"):
        whole = case.bytes_of(case.state, kind)
        draw = random.Random(2)
        for size in [1, 8, 100] + [draw.randrange(200, len(whole)) for _ in range(4)]:
            # The first bytes may not tell the format yet.
            error = "E-WEIGHTS-DAMAGED" if size >= 100 else "E-WEIGHTS-FILE"
            case.raw(error, whole[:size], name=f"w.{kind}")
        case.raw("E-WEIGHTS-DAMAGED", whole + b"tail", name=f"w.{kind}")
    # One changed bit in a tensor: archives have checksums.
    whole = bytearray(case.bytes_of(case.state))
    whole[len(whole) // 2] ^= 1
    case.raw("E-WEIGHTS-DAMAGED", bytes(whole), words=GELU, saying="checksum")


def header_lies(case):
    def safetensors_of(header, data=b""):
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data

    f32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    for header in (
            b"{}{}", b'{"a": [1', b'{"a": ' + b"[" * 100_000, b'{"a": 1}', {"a": dict(f32, dtype="F33")},
            {"a": dict(f32, shape=[3])}, {"a": dict(f32, shape=[-2])},
            {"a": dict(f32, shape=[2**40, 2**40])}, {"a": dict(f32, shape=[1.5])},
            {"a": dict(f32, data_offsets=[8, 0])}, {"a": dict(f32, data_offsets=[0, 2**64 - 1])},
            {"a": f32, "b": f32}, {"a": dict(f32, data_offsets=[4, 12])}, {"__metadata__": 3},
            b'{"a": %s, "a": %s}' % ((json.dumps(f32).encode(),) * 2)):
        case.raw("E-WEIGHTS-DAMAGED", safetensors_of(header, bytes(8)), name="w.safetensors")
    # 50 MB of them asked for 4 GB.
    case.raw("E-WEIGHTS-DAMAGED", safetensors_of(b'{"a": ' + b"[" * 50_000_000),
             name="w.safetensors", saying="nested more than 64 deep")
    case.raw("E-WEIGHTS-DAMAGED", safetensors_of(b'{"a": [' + b"1," * 5_000_000 + b"1]}"),
             name="w.safetensors", saying="values")
    case.raw("E-WEIGHTS-DAMAGED", safetensors_of({"n" * 1000: f32}, bytes(8)),
             name="w.safetensors", saying="1000 bytes")
    case.raw("E-WEIGHTS-DAMAGED", safetensors_of({"a\n\x1b[2J": dict(f32, dtype="F33")}, bytes(8)),
             name="w.safetensors", saying="a\\x0a\\x1b[2J")
    case.raw("E-WEIGHTS-FILE", struct.pack("<Q", 2**63) + b"{}", name="w.safetensors")
    case.raw("E-WEIGHTS-DAMAGED", struct.pack("<Q", 90_000_000) + b"{}", name="w.safetensors")


class Runs:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def hostile_pickles(case):
    marker = case.folder / "marker"
    refused = [
        (Runs(os.system, f"touch {marker}"), "system"),
        ({"a": Runs(os.system, f"touch {marker}")}, "system"),
        ({"state_dict": case.state, "args": Runs(eval, "1")}, "eval"),
        ({"a": np.zeros(3)}, "numpy"),
        ({"a": torch.float16}, "torch.float16"),
        (dict(case.state, note="text"), "'note'"),
        (dict(case.state, inner={"a": torch.zeros(1)}), "'inner'"),
        ([torch.zeros(1)], "dictionary"),
        ({1: torch.zeros(1)}, "no text"),
        ({"state_dict": 7}, "state_dict"),
        ({"a": 2**80}, "64 bits"),
        (torch.nn.Linear(2, 2), "Linear"),
    ]
    for value, saying in refused:
        case.saved("E-WEIGHTS-PICKLE", value, saying=saying)

    def archive(pickled, **entries):
        path = case.folder / "made.zip"
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("a/data.pkl", pickled)
            for name, contents in entries.items():
                file.writestr(f"a/{name}", contents)
        contents = path.read_bytes()
        path.unlink()
        return contents

    case.raw("E-WEIGHTS-PICKLE", archive(b"cposix\nsystem\nX\x04\0\0\0true\x85R."), saying="posix")
    case.raw("E-WEIGHTS-PICKLE", archive(pickle.dumps({"a": Runs(os.getcwd)}, protocol=0)))
    case.raw("E-WEIGHTS-DAMAGED", archive(b"\x80\x02}q\x00"))
    case.raw("E-WEIGHTS-DAMAGED", archive(b"\x80\x02t."))
    case.raw("E-WEIGHTS-PICKLE", archive(b"\x80\x02" + b"]" * 2_000_000 + b"."), saying="too many")
    case.raw("E-WEIGHTS-PICKLE", archive(b"\x80\x02]q\x00h\x00a."))  # a list that holds itself
    case.raw("E-WEIGHTS-PICKLE", archive(b"\x80\x02}(X\x01\0\0\0a}u.", version="3\n"))
    # One long name said often: each costs two bytes here and would be copied.
    tensor = (b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n"
              b"X\x01\0\0\x000X\x03\0\0\0cpuK\x01tQK\x00K\x01\x85K\x01\x85\x89}tRq\x02")
    many = (b"\x80\x02}q\x00(X" + struct.pack("<I", 1_000_000) + b"n" * 1_000_000 + b"q\x01" +
            tensor + b"h\x01h\x02" * 60_000 + b"u.")
    case.raw("E-WEIGHTS-PICKLE", archive(many, **{"data/0": bytes(4)}), saying="1000000 bytes")
    # A module that is its own child, twice a level: no end and 2^n tensors.
    case.raw("E-WEIGHTS-PICKLE", archive(
        b"\x80\x02c__torch__.m\nM\n)\x81q\x00}(X\x01\0\0\0ah\x00X\x01\0\0\0bh\x00ub.",
        **{"constants.pkl": b"\x80\x02)."}), saying="without an end")
    assert not marker.exists()


def compressed_archives(case):
    def archive(method, contents, level=9):
        path = case.folder / "bomb.zip"
        with zipfile.ZipFile(path, "w", method, compresslevel=level) as file:
            for name, data in contents.items():
                file.writestr(f"a/{name}", data)
        made = path.read_bytes()
        path.unlink()
        return made

    bomb = archive(zipfile.ZIP_DEFLATED, {"data.pkl": bytes(300_000_000)})
    assert len(bomb) < 400_000
    case.raw("E-WEIGHTS-COMPRESSED", bomb, saying="for 300 MB")
    torch.save(case.state, case.folder / "w.pt")
    with zipfile.ZipFile(case.folder / "w.pt") as file:
        contents = {name.split("/", 1)[1]: file.read(name) for name in file.namelist()}
    (case.folder / "w.pt").unlink()
    case.raw("E-WEIGHTS-COMPRESSED", archive(zipfile.ZIP_DEFLATED, contents))
    # A size that is a lie: 30 bytes said to be many.
    stored = bytearray(archive(zipfile.ZIP_STORED, {"data.pkl": bytes(30)}))
    at = stored.find(b"PK\x01\x02")
    stored[at + 24:at + 28] = struct.pack("<I", 2**31)
    case.raw("E-WEIGHTS-DAMAGED", bytes(stored))
    # Two entries over the same bytes.
    stored = bytearray(archive(zipfile.ZIP_STORED, {"data.pkl": bytes(30), "data/0": bytes(30)}))
    second = stored.find(b"PK\x03\x04", 4)
    at = stored.find(b"PK\x01\x02", stored.find(b"PK\x01\x02") + 4)
    stored[at + 42:at + 46] = struct.pack("<I", second - 20)
    case.raw("E-WEIGHTS-DAMAGED", bytes(stored))


def broken_weights(case):
    name = "transformer.resblocks.1.mlp.c_fc.weight"
    for value, saying in ((float("nan"), "nan"), (float("inf"), "inf"), (float("-inf"), "-inf")):
        broken = case.state[name].clone()
        broken.view(-1)[77] = value
        case.saved("E-WEIGHTS-NONFINITE", edited(case.state, **{name: broken}),
                   saying=f"'{name}' holds {saying} at element 77")
    broken = case.state["visual.proj"].double() * 1e300  # infinite in fp32
    case.saved("E-WEIGHTS-NONFINITE", edited(case.state, **{"visual.proj": broken}))
    integers = case.state["visual.proj"].to(torch.int8)
    case.saved("E-WEIGHTS-TYPE", edited(case.state, **{"visual.proj": integers}), saying="int8")


def other_models(case):
    state = case.state
    case.saved("E-WEIGHTS-MODEL", edited(state, **{"visual.proj": None}),
               saying="nearest is tiny-vit: it has no 'visual.proj' [128, 128]")
    case.saved("E-WEIGHTS-MODEL", edited(state, extra=torch.zeros(3)), saying="'extra' [3]")
    case.saved("E-WEIGHTS-MODEL", edited(state, **{"ln_final.bias": torch.zeros(64)}),
               saying="'ln_final.bias' is [64] where the model has [128]")
    case.saved("E-WEIGHTS-MODEL", {"a": torch.zeros(1)})
    case.saved("E-WEIGHTS-MODEL", {})
    case.saved("E-WEIGHTS-MODEL", state, words=["--set", "model.name=tiny-rn"], saying="tiny-rn")
    case.saved("E-MODEL-NAME", state, words=["--set", "model.name=tiny-vitt"], saying="tiny-vit")
    case.saved("E-MODEL-ACTIVATION", state, words=["--set", "model.activation=relu"])
    case.saved("E-CONFIG-KEY", state, words=["--set", "train.lr=1"], saying="train.lr")
    case.saved("E-CONFIG-TYPE", state, words=["--set", "model.resolution=big"])


def resolutions(case):
    larger = dict(TINY_VIT, vision_cfg=dict(TINY_VIT["vision_cfg"], image_size=35))
    state = CLIP(**larger).state_dict()
    case.saved("E-WEIGHTS-RESOLUTION", state, saying="35 px")
    case.saved("E-WEIGHTS-RESOLUTION", state, words=[*GELU, "--set", "model.resolution=28"])
    case.saved("E-WEIGHTS-MODEL",
               edited(state, **{"visual.positional_embedding": torch.zeros(25, 128)}),
               saying="'visual.positional_embedding' is [25, 128]")
    (case.folder / "w.json").write_text(json.dumps(TINY_VIT))
    case.saved("E-WEIGHTS-RESOLUTION", state, saying="w.json says 28 px")
    (case.folder / "w.json").write_text(json.dumps(larger))
    torch.save(state, case.folder / "w.pt")
    case.programs.run("import", "w.pt", "larger")
    shutil.rmtree(case.folder / "larger")
    (case.folder / "w.json").unlink()
    case.programs.run("import", "w.pt", "larger", *GELU, "--set", "model.resolution=35")
    case.programs.features("larger", 35)
    case.programs.run("export", "larger", "--format", "open_clip", "larger.pt")
    (case.folder / "larger.json").unlink()
    case.programs.run("import", "larger.pt", "again")  # it notes its resolution
    shutil.rmtree(case.folder / "larger")
    shutil.rmtree(case.folder / "again")
    (case.folder / "w.pt").unlink()
    (case.folder / "larger.pt").unlink()


def open_clip_configs(case):
    safetensors.torch.save_file(case.state, case.folder / "w.safetensors")

    def refuse(error, config, *words, saying=""):
        (case.folder / "w.json").write_text(config if isinstance(config, str) else
                                            json.dumps(config))
        case.programs.refuse(error, "import", "w.safetensors", "ckpt", *words, saying=saying)
        (case.folder / "w.json").unlink()

    quick = dict(TINY_VIT, quick_gelu=True)
    refuse("E-WEIGHTS-ACTIVATION", quick, *GELU, saying="w.json")
    refuse("E-WEIGHTS-ACTIVATION", TINY_VIT, "--set", "model.activation=quick_gelu")
    refuse("E-WEIGHTS-CONFIG", "{", saying="JSON")
    refuse("E-WEIGHTS-CONFIG", "[]")
    refuse("E-WEIGHTS-CONFIG", dict(quick, quick_gelu="yes"), saying="quick_gelu")
    text = dict(TINY_VIT["text_cfg"])
    refuse("E-WEIGHTS-CONFIG", dict(quick, text_cfg=dict(text, heads=4)), saying="4 heads")
    refuse("E-WEIGHTS-CONFIG", dict(quick, text_cfg=dict(text, no_causal_mask=True)),
           saying="no_causal_mask")
    refuse("E-WEIGHTS-CONFIG", {"model_cfg": quick, "preprocess_cfg": {"mean": [0.485, 0.456, 0.406]}},
           saying="mean and std")
    # Each of these overran the stack.
    for deep in ('{"vision_cfg": ' + "[" * 100_000 + "]" * 100_000 + "}",
                 '{"a": ' * 100_000 + "1" + "}" * 100_000):
        refuse("E-WEIGHTS-CONFIG", deep, saying="nested more than 64 deep")
    (case.folder / "w.safetensors").unlink()


def hugging_face_configs(case):
    (case.folder / "w.pt").write_bytes(case.bytes_of(case.state))
    case.programs.run("import", "w.pt", "made", *GELU)
    case.programs.run("export", "made", "--format", "hf", "hf")
    path = case.folder / "hf/config.json"
    whole = json.loads(path.read_text())

    def refuse(error, *words, saying="", vision=(), **changes):
        config = {**whole, **changes}
        config["vision_config"] = {**config["vision_config"], **dict(vision)}
        path.write_text(json.dumps(config))
        case.programs.refuse(error, "import", "hf", "ckpt", *words, saying=saying)
        path.write_text(json.dumps(whole))

    refuse("E-WEIGHTS-ACTIVATION", "--set", "model.activation=quick_gelu", saying="config.json")
    refuse("E-WEIGHTS-ACTIVATION", vision=dict(hidden_act="quick_gelu"), saying="two towers")
    refuse("E-WEIGHTS-CONFIG", vision=dict(hidden_act="silu"), saying="silu")
    refuse("E-WEIGHTS-CONFIG", vision=dict(layer_norm_eps=1e-6), saying="layer_norm_eps")
    refuse("E-WEIGHTS-CONFIG", vision=dict(num_attention_heads=4), saying="4 heads")
    refuse("E-WEIGHTS-CONFIG", model_type="siglip", saying="siglip")
    refuse("E-WEIGHTS-RESOLUTION", vision=dict(image_size=56), saying="56 px")
    # Our own note inside the file and the config disagree.
    for tower in ("text_config", "vision_config"):
        whole[tower]["hidden_act"] = "quick_gelu"
    refuse("E-WEIGHTS-ACTIVATION", saying="trained with gelu")
    # A sharded model whose index names a file that is not there, or lies elsewhere.
    (case.folder / "hf/model.safetensors").rename(case.folder / "hf/part.safetensors")
    index = case.folder / "hf/model.safetensors.index.json"
    names = list(safetensors.torch.load_file(case.folder / "hf/part.safetensors"))
    for mapping, error in (({name: "gone.safetensors" for name in names}, "E-WEIGHTS-FILE"),
                           ({name: "../x.safetensors" for name in names}, "E-WEIGHTS-CONFIG"),
                           ({name: "part.safetensors" for name in names[1:]}, "E-WEIGHTS-DAMAGED"),
                           (dict({name: "part.safetensors" for name in names},
                                 more="part.safetensors"), "E-WEIGHTS-DAMAGED")):
        index.write_text(json.dumps({"weight_map": mapping}))
        case.programs.refuse(error, "import", "hf", "ckpt")
    shutil.rmtree(case.folder / "hf")
    shutil.rmtree(case.folder / "made")
    (case.folder / "w.pt").unlink()


def outputs(case):
    programs, folder = case.programs, case.folder
    large = case.state["visual.proj"] * 1e7
    torch.save(edited(case.state, **{"visual.proj": large}), folder / "w.pt")
    programs.run("import", "w.pt", "made", "--set", "model.activation=quick_gelu")
    programs.refuse("E-OUT-EXISTS", "import", "w.pt", "made")
    programs.refuse("E-OUT-DIR", "import", "w.pt", "no/where", *GELU)
    programs.refuse("E-EXPORT-RANGE", "export", "made", "--format", "openai", "o.pt",
                    saying="visual.proj")
    programs.refuse("E-EXPORT-FORMAT", "export", "made", "--format", "onnx", "o.pt")
    programs.refuse("E-EXPORT-FORMAT", "export", "made", "o.pt")
    programs.refuse("E-OUT-EXISTS", "export", "made", "--format", "hf", "made")
    programs.refuse("E-OUT-EXISTS", "export", "made", "--format", "openai", "w.pt")
    programs.refuse("E-CKPT-MISSING", "export", "nowhere", "--format", "hf", "o")
    (folder / "o.json").write_text("{}")
    programs.refuse("E-OUT-EXISTS", "export", "made", "--format", "open_clip", "o.pt")
    (folder / "o.json").unlink()
    # embed takes the file itself, and refuses it the same way.
    torch.save(case.state, folder / "w.pt")
    programs.features("w.pt", 28)
    (folder / "w.pt").write_bytes(b"no weights")
    programs.refuse("E-WEIGHTS-FILE", "embed", "--checkpoint", "w.pt", "--texts", "texts.txt", "o.h5")


def main():
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="contrail-files-") as folder:
        programs = Programs(Path(sys.argv[1]).resolve(), folder)
        case = Case(programs, make("tiny-vit", "gelu").state_dict())
        for check in (foreign_files, torn_files, header_lies, hostile_pickles, compressed_archives,
                      broken_weights, other_models, resolutions, open_clip_configs,
                      hugging_face_configs, outputs):
            check(case)
            print(f"{check.__name__}: refused", flush=True)


if __name__ == "__main__":
    main()
