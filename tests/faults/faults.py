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
import subprocess
import time

from tiny_run import BIN, CONTRAIL, UNTIL_TOLD, TinyRunTest, alive

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

    def wait_hit(self, number=1, seconds=120, run=None):
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

    def undisturbed(self, least=60):
        """This test's run without faults: its losses of at least so many steps (of all where it has
        an end) and the bytes of a checkpoint; trained once a build, and again where more steps are
        asked for."""
        stamp = os.stat(f"{BIN}/contrail-worker").st_mtime_ns
        cache = f"{BIN}/../tests/undisturbed-{self.ranks}-{self.steps}-{stamp}.json"
        least = min(least, self.steps)
        with open(f"{cache}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not os.path.exists(cache) or self.read_undisturbed(cache)["last"] < least:
                name = f"whole-{least}"
                run = super().start("train", self.config, "--run", f"{self.dir}/{name}", run=name)
                if self.steps < UNTIL_TOLD:
                    self.assertEqual(run.wait(600), 0, run.text())
                    last = self.steps
                else:
                    run.wait_step(2 * least, self.ranks, 600)
                    last = self.tell_to_end(run)
                size = self.size_of(self.step_dir(last, name))
                with open(f"{cache}.new", "w") as f:
                    json.dump({"losses": self.losses(name), "last": last, "bytes": size}, f)
                os.replace(f"{cache}.new", cache)
        return self.read_undisturbed(cache)

    @staticmethod
    def read_undisturbed(cache):
        with open(cache) as f:
            whole = json.load(f)
        whole["losses"] = {int(step): loss for step, loss in whole["losses"].items()}
        return whole

    def check_losses(self, run="run"):
        """Nothing that happened has left a trace in what was trained."""
        mine = self.losses(run)
        whole = self.undisturbed(max(mine))["losses"]
        self.assertEqual(mine, {step: whole[step] for step in range(1, max(mine) + 1)})

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
        return self.tell_to_end(first)

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

    def kill_rank(self, run, rank, signal_number=9):
        """Sends the signal to a rank that trains; returns its word."""
        word = run.board()[rank]
        os.kill(word["pid"], signal_number)
        return word


__all__ = ["CONTRAIL", "FaultTest", "Rules", "alive", "step_name"]
