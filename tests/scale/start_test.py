#!/usr/bin/env python3
"""Four ranks start on as many shards as LAION-400M has: in seconds, with two system calls a shard.

  start_test.py BIN_DIR [unittest options]
"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

import many_shards

BIN = None
RANKS = 4
CONFIG = """[run]
dir = "runs"
[model]
name = "tiny-vit"
[data]
train = ["{pattern}"]
index_dir = "{index_dir}"
[train]
global_batch_size = 32
steps = 1
lr = 1e-3
[launcher]
ranks = 4
threads_per_rank = 1
start_seconds = 600
"""
# All that asks for files, or reads them; not the waiting and mapping that grows with time alone.
CALLS = ("open,openat,stat,lstat,newfstatat,statx,access,faccessat,faccessat2,readlink,read,pread64,"
         "close,fstat,getdents64,lseek")
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LC_ALL": "C.UTF-8",
               "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


class ManyShards(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # In memory: what is counted are calls, and disks differ.
        memory = "/dev/shm" if shutil.disk_usage("/dev/shm").free > 1 << 30 else None
        folder = tempfile.TemporaryDirectory(prefix="contrail-shards-", dir=memory)
        cls.addClassCleanup(folder.cleanup)
        cls.path = pathlib.Path(folder.name)
        many_shards.make(cls.path / "many")
        many_shards.make(cls.path / "few", 40)
        for name in ("many", "few"):
            cls.done("data", "index", "--index-dir", cls.path / "indexes", cls.path / name)

    @classmethod
    def done(cls, *words, wrapper=()):
        process = subprocess.run([*map(str, wrapper), str(BIN / "contrail"), *map(str, words)],
                                 cwd=cls.path, env=ENVIRONMENT, capture_output=True, text=True)
        if process.returncode != 0:
            raise AssertionError(f"{words}: exit {process.returncode}\n{process.stderr}")
        return process.stderr

    def start(self, name, pattern, wrapper=()):
        """Seconds of a run of one step, and what its ranks said."""
        (self.path / "c.toml").write_text(CONFIG.format(
            pattern=self.path / name / pattern, index_dir=self.path / "indexes"))
        shutil.rmtree(self.path / "runs", ignore_errors=True)
        begin = time.monotonic()
        self.done("train", "c.toml", wrapper=wrapper)
        seconds = time.monotonic() - begin
        said = (self.path / "runs/c/logs/attempt_1/node_0.log").read_text()
        self.assertIn("steps 1 to 1", said)
        return seconds, said

    def calls(self, name, pattern):
        counts = self.path / "counts"
        _, said = self.start(name, pattern,
                             wrapper=["strace", "-f", "-c", "-U", "calls,name", "-e",
                                      f"trace={CALLS}", "-o", counts])
        self.assertNotIn("were opened", said)
        return sum(int(calls) for calls, call in
                   re.findall(r"^\s*(\d+)\s+(\w+)$", counts.read_text(), re.M) if call != "total")

    def test_a_start_costs_two_calls_a_shard_and_ten_seconds(self):
        shards = many_shards.LAION
        many, few = f"{{00000..{shards - 1:05d}}}.tar", "{00000..00039}.tar"
        calls = self.calls("many", many) - self.calls("few", few)
        seconds = self.start("many", many)[0] - self.start("few", few)[0]
        print(f"{shards} shards, {RANKS} ranks: {calls / shards:.2f} calls a shard, {seconds:.2f} s")
        self.assertLessEqual(calls, 2 * shards)
        self.assertLessEqual(seconds, 10)

    def test_a_shard_that_changed_is_looked_at_anew(self):
        changed = self.path / "few" / "00003.tar"
        whole = changed.read_bytes()
        changed.write_bytes(whole[:2048] + whole.replace(b"0.png", b"1.png").replace(
            b"0.txt", b"1.txt"))
        try:
            with self.assertRaises(AssertionError) as torn:  # its headers' checksums are wrong now
                self.start("few", "{00000..00039}.tar")
            self.assertIn(f"E-DATA-TAR: {changed}", str(torn.exception))
            changed.write_bytes(whole)  # another time, the same contents
            self.assertIn("1 of 40 shards have changed", self.start("few", "")[1])
        finally:
            changed.write_bytes(whole)
            self.done("data", "index", "--index-dir", self.path / "indexes", self.path / "few")


if __name__ == "__main__":
    BIN = pathlib.Path(sys.argv.pop(1)).resolve()
    unittest.main()
