"""Runs small enough for tests, with the real programs: data, config, watching, breaking.

Used by tests/faults and tests/slurm; needs Python's standard library only.
"""

import fcntl
import glob
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import tarfile
import tempfile
import time
import unittest

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FASHION = "/usr/share/datasets/fashion-mnist"
# The folder with contrail and contrail-worker.
BIN = os.environ.get("CONTRAIL_TEST_BIN", f"{SOURCE}/build/release/bin")
CONTRAIL = f"{BIN}/contrail"

BATCH = 32
CONFIG = """
[run]
seed = 3
[model]
name = "tiny-vit"
[data]
train = ["{data}/pairs-{{000000..000001}}.tar"]
[train]
global_batch_size = {batch}
steps = {steps}
lr = 1e-3
warmup_steps = 5
[checkpoint]
every_steps = 10
every_minutes = 1000
[launcher]
ranks = {ranks}
threads_per_rank = 1
[telemetry]
status_seconds = 2
"""

# More steps than any run makes: a test ends its run after the event that it is about, however fast
# the machine is.
UNTIL_TOLD = 1_000_000

PHASES = ("absent", "starting", "training", "saving", "done", "failed")


def packed_data():
    """1,000 photos in two shards, packed once into the build folder."""
    if not os.path.exists(CONTRAIL):
        raise AssertionError(f"no {CONTRAIL}; set CONTRAIL_TEST_BIN to the folder of the programs")
    cache = f"{BIN}/../tests/tiny-data"
    os.makedirs(os.path.dirname(cache), exist_ok=True)
    with open(f"{cache}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(f"{cache}/pairs-000001.tar"):
            shutil.rmtree(cache, ignore_errors=True)
            subprocess.run(
                [CONTRAIL, "data", "pack", cache, "--images", f"{FASHION}/train-images-idx3-ubyte.gz",
                 "--labels", f"{FASHION}/train-labels-idx1-ubyte.gz", "--classes",
                 f"{SOURCE}/configs/presets/fashion_classnames.txt", "--templates",
                 f"{SOURCE}/configs/presets/fashion_templates.txt", "--limit", "1000",
                 "--shard-samples", "500"], check=True, capture_output=True)
    return os.path.abspath(cache)


def fnv1a(text):
    value = 0xcbf29ce484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001b3) & 0xffffffffffffffff
    return value


HEADER, WORD = 4096, 128  # bytes of monitoring/progress_word.h


def shared_prefix(run):
    """Of the names in /dev/shm, as launcher/shared_memory.cc makes it."""
    path = os.path.abspath(run)
    info = os.stat(path)
    what = f"{path}\n{info.st_dev}\n{info.st_ino}"
    return f"contrail.{fnv1a(what):016x}."


def board_paths(run, attempt):
    """The attempt's boards in shared memory (one, or none); their names end in the owner's token."""
    if not os.path.exists(run):
        return []
    return glob.glob(f"/dev/shm/{shared_prefix(run)}{attempt}." + "[0-9a-f]" * 16)


def board(run, attempt):
    """rank -> {phase, pid, step, collective}, from the progress words in shared memory."""
    words = {}
    for path in board_paths(run, attempt):
        try:
            with open(path, "rb") as f:
                data = f.read(HEADER + 64 * WORD)
        except FileNotFoundError:
            continue
        count, = struct.unpack_from("<I", data, 8)
        for at in range(HEADER, HEADER + min(count, 64) * WORD, WORD):
            phase, pid, step, collective = struct.unpack_from("<IiQQ", data, at)
            rank, = struct.unpack_from("<i", data, at + 72)
            if phase:
                words[rank] = {"phase": PHASES[phase], "pid": pid, "step": step,
                               "collective": collective}
    return words


def alive(pid):
    """Any thread of it: the first may be a zombie while others hold what is locked and open."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except (FileNotFoundError, ProcessLookupError):
        return False
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/stat") as f:
                if f.read().rpartition(")")[2].split()[0] not in "ZX":
                    return True
        except (FileNotFoundError, ProcessLookupError):
            pass
    return False


class Supervised:
    """A `contrail train` or `contrail resume` at work."""

    def __init__(self, run, *args, command=(), **popen):
        """`command` runs contrail: unshare and the like."""
        self.run = run
        self.log = open(f"{run}.{args[0]}.{time.monotonic_ns()}.log", "w+")
        self.process = subprocess.Popen([*command, CONTRAIL, *args], stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log, **popen)

    def text(self):
        with open(self.log.name) as f:
            return f.read()

    def attempt(self):
        found = re.findall(r"^contrail: started .* attempt=(\d+)", self.text(), re.M)
        return int(found[-1]) if found else 0

    def board(self):
        return board(self.run, self.attempt())

    def wait_for(self, condition, seconds=120, what="condition"):
        """Polls condition(words) fast; returns its first true value."""
        end = time.monotonic() + seconds
        while True:
            value = condition(self.board())
            if value:
                return value
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"no {what}; exit {self.process.poll()}\n{self.text()}")
            time.sleep(0.01)

    def wait_step(self, step, ranks, seconds=120):
        """Until every rank has finished `step`; returns the words."""
        return self.wait_for(
            lambda words: words if len(words) == ranks and
            min(word["step"] for word in words.values()) >= step else None,
            seconds, f"step {step}")

    def wait_text(self, text, seconds=120, times=1):
        """Until it has said it so many times."""
        self.wait_for(lambda _: self.text().count(text) >= times, seconds, f"'{text}'")

    def wait_committed(self, step, seconds=120):
        """Until a checkpoint of that step or a later one is committed; returns its step."""
        return self.wait_for(lambda _: next((s for s in self.committed() if s >= step), None),
                             seconds, f"checkpoint from step {step} on")

    def committed(self):
        """Steps whose commit was reported; of commits close together some are passed over."""
        return [int(s) for s in re.findall(r"^contrail: checkpoint step=(\d+)", self.text(), re.M)]

    def wait_recovered(self, times=1, seconds=180):
        """Until so many restarts have made a step that is new."""
        self.wait_text("contrail: recovered ", seconds, times)

    def wait_started(self, seconds=120):
        """Until it goes on with an earlier run, or has ended."""
        end = time.monotonic() + seconds
        while "resumed step=" not in self.text() and self.process.poll() is None:
            if time.monotonic() > end:
                raise AssertionError(f"not gone on after {seconds} s\n{self.text()}")
            time.sleep(0.01)

    def wait(self, seconds=120):
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds} s\n{self.text()}") from None

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log.close()


class TinyRunTest(unittest.TestCase):
    """Temporary folder, config file, and what every test asks of a run.

    Runs go on until they are told to end: tell_to_end. Tests of an end of their own set train.steps.
    """

    steps = UNTIL_TOLD
    ranks = 4

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="contrail-fault-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.config = self.write_config("config.toml")

    def write_config(self, name, extra="", **values):
        values = {"data": packed_data(), "steps": self.steps, "ranks": self.ranks, **values}
        path = f"{self.dir}/{name}"
        with open(path, "w") as f:
            f.write(CONFIG.format(batch=BATCH, **values) + extra)
        return path

    def start(self, *args, run="run", **popen):
        supervised = Supervised(f"{self.dir}/{run}", *args, **popen)
        self.addCleanup(supervised.end)
        return supervised

    def train(self, *args, run="run", **popen):
        return self.start("train", self.config, "--run", f"{self.dir}/{run}", *args, run=run, **popen)

    def resume(self, *args, run="run", **popen):
        return self.start("resume", f"{self.dir}/{run}", *args, run=run, **popen)

    def tell_to_end(self, run):
        """Asks for the end, which comes with a checkpoint of the very step; returns that step."""
        run.process.terminate()
        self.assertEqual(run.wait(), 3, run.text())
        summary = self.summary(os.path.basename(run.run))
        self.assertEqual(summary["state"], "stopped", run.text())
        return summary["steps"]

    def losses(self, run="run"):
        """step -> loss, as exactly as the program prints it: the text of the number."""
        done = subprocess.run([CONTRAIL, "view", f"{self.dir}/{run}", "--json", "--series", "loss"],
                              capture_output=True, text=True, check=True, timeout=30)
        points = (json.loads(line, parse_float=str) for line in done.stdout.splitlines())
        return {point["step"]: point["value"] for point in points}

    def check_same_losses(self, run, other, least):
        """Two runs made the same steps, as far as both have come, which is at least that far."""
        one, two = self.losses(run), self.losses(other)
        steps = sorted(one.keys() & two.keys())
        self.assertEqual(steps, list(range(1, len(steps) + 1)))
        self.assertGreaterEqual(len(steps), least)
        for step in steps:
            self.assertEqual(one[step], two[step], f"loss of step {step}")

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

    def train_to(self, step, *args, run):
        """An undisturbed run of at least so many steps."""
        whole = self.train(*args, run=run)
        whole.wait_step(step, self.ranks, seconds=600)
        self.tell_to_end(whole)
        return whole

    def view(self, run="run"):
        done = subprocess.run([CONTRAIL, "view", f"{self.dir}/{run}", "--json"], timeout=30,
                              capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    def incidents(self, run="run"):
        path = f"{self.dir}/{run}/incidents.jsonl"
        if not os.path.exists(path):
            return []
        with open(path) as f:
            return [json.loads(line) for line in f]

    def summary(self, run="run"):
        with open(f"{self.dir}/{run}/summary.json") as f:
            return json.load(f)

    def check_ledger(self, incident):
        """The parts follow each other without a gap; what is left over is the new step."""
        parts = sum(incident[key] for key in ("detect", "stop", "restart", "load", "redone"))
        self.assertGreaterEqual(min(incident[key] for key in ("detect", "stop", "restart", "load",
                                                              "redone")), 0)
        self.assertGreaterEqual(incident["to_next_step"], parts - 1e-6)
        self.assertLess(incident["to_next_step"] - parts, 10)

    def check_nothing_left(self, run="run"):
        prefix = shared_prefix(f"{self.dir}/{run}")
        self.assertEqual([n for n in os.listdir("/dev/shm") if n.startswith(prefix)], [])


__all__ = ["TinyRunTest", "Supervised", "CONTRAIL", "BIN", "SOURCE", "HEADER", "UNTIL_TOLD", "WORD",
           "alive", "board", "board_paths", "packed_data", "signal"]
