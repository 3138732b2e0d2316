"""Faults on demand in a run: rules for the preloaded library; inject/rules.h says what they mean.

    disk = self.fault("disk", who="rank:1", call="pread", path="*/step_*", error="EIO",
                      switched=True)
    run = self.train()
    disk.on()
    disk.wait_hit()
    disk.off()
"""

import fcntl
import json
import os
import re
import shutil
import subprocess
import tarfile
import time

from tiny_run import BIN, CONTRAIL, TinyRunTest, alive, packed_data

LIBRARY = os.environ.get("CONTRAIL_TEST_INJECT",
                         os.path.abspath(f"{BIN}/../lib/libcontrail_inject.so"))


class Fault:
    """One rule; with a switch it does nothing until it is on."""

    def __init__(self, rules, name, fields, switched):
        self.rules, self.name = rules, name
        self.switch = f"{rules.folder}/{name}.on" if switched else None
        self.fields = dict(fields)
        if switched:
            self.fields["while"] = self.switch

    def line(self):
        return " ".join([f"name={self.name}", *(f"{k}={v}" for k, v in self.fields.items())])

    def on(self):
        with open(self.switch, "w"):
            pass
        return self

    def off(self):
        os.remove(self.switch)

    def hits(self):
        """What was hit: dicts with call, who, pid, number, path."""
        return [hit for hit in self.rules.hits() if hit["rule"] == self.name]

    def wait_hit(self, number=1, seconds=60, run=None):
        """Until the fault was hit `number` times; returns the hits."""
        end = time.monotonic() + seconds
        while len(self.hits()) < number:
            if time.monotonic() > end or (run and run.process.poll() is not None):
                raise AssertionError(f"fault {self.name} was hit {len(self.hits())} times, not "
                                     f"{number}\n{run.text() if run else ''}")
            time.sleep(0.01)
        return self.hits()


class Rules:
    def __init__(self, folder):
        os.makedirs(folder, exist_ok=True)
        self.folder = folder
        self.file = f"{folder}/rules"
        self.faults = []

    def add(self, name, switched=False, **fields):
        """A rule for the processes that start from now on."""
        fault = Fault(self, name, fields, switched)
        self.faults.append(fault)
        with open(f"{self.file}.new", "w") as f:
            f.writelines(fault.line() + "\n" for fault in self.faults)
        os.replace(f"{self.file}.new", self.file)
        return fault

    def environment(self):
        if not os.path.exists(LIBRARY):
            raise AssertionError(f"no {LIBRARY}; set CONTRAIL_TEST_INJECT to the library's path")
        return {**os.environ, "LD_PRELOAD": LIBRARY, "CONTRAIL_TEST_FAULTS": self.file}

    def hits(self):
        try:
            with open(f"{self.file}.hits") as f:
                return [dict(word.split("=", 1) for word in line.split(" ", 5)) for line in
                        f.read().splitlines()]
        except FileNotFoundError:
            return []


BATCH = 32  # of tiny_run.CONFIG


def step_name(step):
    return f"step_{step:08d}"


class FaultTest(TinyRunTest):
    """A run whose programs load the library, with a folder of rules."""

    ranks = 2

    def setUp(self):
        super().setUp()
        self.rules = Rules(f"{self.dir}/faults")

    def fault(self, name, **fields):
        return self.rules.add(name, **fields)

    def start(self, *args, run="run", **popen):
        if self.rules.faults:
            popen.setdefault("env", self.rules.environment())
        return super().start(*args, run=run, **popen)

    def undisturbed(self):
        """Losses and a checkpoint's bytes of this test's run without faults; trained once a build."""
        stamp = os.stat(f"{BIN}/contrail-worker").st_mtime_ns
        cache = f"{BIN}/../tests/undisturbed-{self.ranks}-{self.steps}-{stamp}.json"
        with open(f"{cache}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not os.path.exists(cache):
                run = super().start("train", self.config, "--run", f"{self.dir}/whole", run="whole")
                self.assertEqual(run.wait(600), 0, run.text())
                size = self.size_of(self.step_dir(self.steps, "whole"))
                with open(f"{cache}.new", "w") as f:
                    json.dump({"losses": self.losses("whole"), "bytes": size}, f)
                os.replace(f"{cache}.new", cache)
        with open(cache) as f:
            return json.load(f)

    def check_losses(self, run="run"):
        """Nothing that happened has left a trace in what was trained."""
        self.assertEqual(self.losses(run), self.undisturbed()["losses"])

    @staticmethod
    def size_of(folder):
        return sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(folder)
                   for name in names)

    def step_dir(self, step, run="run"):
        return f"{self.dir}/{run}/checkpoints/{step_name(step)}"

    def steps_on_disk(self, run="run"):
        """Committed steps, oldest first, as the program lists them."""
        done = subprocess.run([CONTRAIL, "checkpoint", "list", f"{self.dir}/{run}", "--json"],
                              capture_output=True, text=True, timeout=30)
        return sorted(entry["step"] for entry in json.loads(done.stdout))

    def stopped_at(self, step, *args, run="run"):
        """Trains until every rank has finished `step`, stops, returns the step that was saved."""
        first = self.train(*args, run=run)
        first.wait_step(step, self.ranks)
        first.process.terminate()
        self.assertEqual(first.wait(), 3, first.text())
        return self.summary(run)["steps"]

    def spoiled_data(self, step, rank):
        """A copy of the data where the rank's first picture of that step cannot be decoded, and a
        config that does not let it be replaced."""
        data = f"{self.dir}/data"
        shutil.copytree(packed_data(), data)
        config = self.write_config("spoiled.toml", data=data)
        with open(config) as f:
            text = f.read()
        with open(config, "w") as f:
            f.write(text.replace("[data]\n", "[data]\nmax_replaced = 0\n"))
        position = (step - 1) * BATCH + rank * BATCH // self.ranks
        sample, = subprocess.run(
            [CONTRAIL, "data", "order", config, "--from", str(position), "--count", "1"],
            capture_output=True, text=True, check=True, timeout=30).stdout.split()
        shard, key = sample.rsplit("/", 1)
        before = os.stat(f"{data}/{shard}")
        with tarfile.open(f"{data}/{shard}") as tar:
            picture = next(m for m in tar if m.name.startswith(f"{key}.") and
                           m.name.endswith((".png", ".jpg")))
        with open(f"{data}/{shard}", "r+b") as f:
            f.seek(picture.offset_data + picture.size // 3)
            f.write(bytes(picture.size // 3))
        os.utime(f"{data}/{shard}", ns=(before.st_atime_ns, before.st_mtime_ns))
        return config, sample

    def damage(self, step, run="run"):
        """One byte of a weight or moment in the step's largest file is another one."""
        folder = self.step_dir(step, run)
        name = max(os.listdir(folder), key=lambda n: os.path.getsize(f"{folder}/{n}"))
        with open(f"{folder}/{name}", "r+b") as f:
            f.seek(os.path.getsize(f"{folder}/{name}") // 3)
            byte = f.read(1)[0]
            f.seek(-1, os.SEEK_CUR)
            f.write(bytes([byte ^ 0x55]))

    @staticmethod
    def resumed(run):
        """The first step seen of every attempt that went on; some may have passed unseen."""
        found = re.findall(r"^contrail: resumed step=(\d+)", run.text(), re.M)
        return [int(step) for step in found]

    def check_resumed_after(self, step, run):
        """Every later attempt went on from `step` or beyond."""
        self.assertTrue(self.resumed(run), run.text())
        self.assertGreater(min(self.resumed(run)), step, run.text())

    def wait_text(self, run, text, seconds=60):
        run.wait_for(lambda _: text in run.text(), seconds, f"'{text}'")

    def kill_rank(self, run, rank, signal_number=9):
        """Sends the signal to a rank that trains; returns its word."""
        word = run.board()[rank]
        os.kill(word["pid"], signal_number)
        return word


__all__ = ["CONTRAIL", "FaultTest", "Rules", "alive", "step_name"]
