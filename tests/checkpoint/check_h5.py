"""Reads a step with h5py as a person would and compares it with the raw values.

usage: check_h5.py STEP_DIR EXPECTED.f32 (per kind: all elements of the flat space; then the buffers)
"""
import json
import pathlib
import sys

import h5py
import numpy as np

step_dir, expected_file = pathlib.Path(sys.argv[1]), sys.argv[2]
commit = json.loads((step_dir / "COMMIT").read_text().splitlines()[0])
layout, kinds = commit["layout"], ["weight", "exp_avg", "exp_avg_sq"]
everything = np.fromfile(expected_file, "<f4")
expected = everything[: 3 * layout["num_elements"]].reshape(3, layout["num_elements"])
buffers = everything[expected.size :]

with h5py.File(step_dir / "index.h5", "r") as index:
    assert sorted(index) == sorted(kinds + ["buffer", "config_toml"]), list(index)
    for k, kind in enumerate(kinds):
        assert set(index[kind]) == {t["name"] for t in layout["tensors"]}
        for t in layout["tensors"]:
            dataset = index[kind][t["name"]]
            assert dataset.shape == tuple(t["shape"]), (t, dataset.shape)
            assert np.isnan(dataset.fillvalue)
            size = int(np.prod(t["shape"], dtype=np.int64))
            want = expected[k, t["begin"]:t["begin"] + size].reshape(t["shape"])
            got = np.asarray(dataset[()])
            assert got.dtype == np.float32
            assert np.array_equal(got.view(np.uint32), want.view(np.uint32)), (kind, t)
            sources = dataset.virtual_sources()
            assert all("/" not in s.file_name for s in sources), "absolute or nested source"
    at = 0
    for array in commit["buffers"]["arrays"]:
        got = np.asarray(index["buffer"][array["name"]][()])
        assert got.shape == tuple(array["shape"]) and got.dtype == np.float32
        want = buffers[at : at + got.size].reshape(got.shape)
        assert np.array_equal(got.view(np.uint32), want.view(np.uint32)), array
        at += got.size
    assert at == buffers.size and set(index["buffer"]) == {a["name"] for a in commit["buffers"]["arrays"]}
    assert index.attrs["model"] == "tiny-vit"
    assert index.attrs["step"] == commit["state"]["step"]
    assert index.attrs["loss"] == commit["state"]["loss"]
    assert index.attrs["lineage"] == commit["lineage"]
    assert "contrail checkpoint verify" in index.attrs["note"]
    assert index["config_toml"][()].decode() == commit["state"]["config_toml"]

# The shards are ordinary HDF5 files, one group a rank.
seen = np.full_like(expected, np.nan)
for shard in commit["shards"]:
    with h5py.File(step_dir / shard["file"], "r") as file:
        assert file.attrs["step"] == commit["state"]["step"]
        assert file.attrs["node"] == shard["node"]
        for rank in shard["ranks"]:
            group = file["rank_%05d" % rank["rank"]]
            ranges = group["ranges"][:]
            assert ranges.tolist() == rank["ranges"]
            for k, kind in enumerate(kinds):
                flat, at = group[kind][:], 0
                for begin, end in ranges.astype(int):
                    seen[k, begin:end] = flat[at:at + end - begin]
                    at += end - begin
                assert at == len(flat)
assert np.array_equal(seen.view(np.uint32), expected.view(np.uint32))
print("ok")
