"""Faults on demand in a run: rules for the preloaded library of inject/ (rules.h says what they mean).

    disk = self.fault("disk", who="rank:1", call="pread", path="*/step_*", error="EIO", switched=True)
    run = self.train()
    disk.on()
    disk.wait_hit()
    disk.off()
"""

import os
import time

from tiny_run import BIN, TinyRunTest

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


class FaultTest(TinyRunTest):
    """A run whose programs load the library, with a folder of rules."""

    def setUp(self):
        super().setUp()
        self.rules = Rules(f"{self.dir}/faults")

    def fault(self, name, **fields):
        return self.rules.add(name, **fields)

    def start(self, *args, run="run", **popen):
        if self.rules.faults:
            popen.setdefault("env", self.rules.environment())
        return super().start(*args, run=run, **popen)
