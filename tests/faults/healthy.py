"""Healthy but slow runs: slow starts, steps, saves and data. No rank may be taken for hung.

    healthy.py [--runs N] [--at-once M]

Every run has a start of 200 s before its ranks can speak, steps of 60 s, saves of 150 s and a stall
of the data for 60 s, with the default limits (launcher.hang_seconds = 15, start_seconds = 120). It
is good where it ends with 0, in its first attempt, without an incident, with as many steps as asked
for. The ranks sleep nearly all the time, so many runs go at once.
"""

import argparse
import collections
import concurrent.futures
import sys
import time

from faults import FaultTest

STEPS = 4
# Where they sleep. MPI asks for its plug-ins more than a hundred times; a step of this size looks at
# the clock about 180 times, with every sign of progress among them.
START = {"call": "readdir", "path": "*/openmpi*", "delay": 2, "count": 100}
STEP = {"call": "clock", "thread": "main", "every": 18, "delay": 4}
WRITE = {"call": "pwrite", "path": "*/checkpoints/*/shard_*", "delay": 5}
SYNC = {"call": "fsync", "path": "*/checkpoints/*/shard_*", "delay": 60}
STALL = {"call": "pread,read", "path": "*.tar", "nth": 40, "count": 1, "delay": 60}
OPTIONS = ("--set", f"train.steps={STEPS}", "--set", "train.warmup_steps=1", "--set",
           "checkpoint.every_steps=2")


class Healthy(FaultTest):

    def runTest(self):
        begin = time.monotonic()
        rules = {name: self.fault(name, who="worker", **fields) for name, fields in
                 (("start", START), ("step", STEP), ("write", WRITE), ("sync", SYNC),
                  ("stall", STALL))}
        run = self.train(*OPTIONS)
        run.wait_for(lambda words: any(word["phase"] == "training" for word in words.values()),
                     1200, "training")
        self.started = time.monotonic() - begin
        code = run.wait(3600)
        self.seconds = time.monotonic() - begin
        text = run.text()
        self.assertEqual(code, 0, text)
        self.assertEqual(self.incidents(), [], text)
        self.assertNotIn("restarting", text)
        summary = self.summary()
        self.assertEqual((summary["state"], summary["attempts"], summary["steps"]),
                         ("done", 1, STEPS), text)
        self.check_nothing_left()
        self.slept = self.seconds_slept(rules)

    def seconds_slept(self, rules):
        """By what was slow, as rank 0 met it; less than was promised is no test."""
        slept = collections.Counter()
        for name, rule in rules.items():
            slept[name] = rule.fields["delay"] * sum(hit["who"] == "rank:0" for hit in rule.hits())
        saves = slept.pop("write") + slept.pop("sync")
        each = {"start": slept["start"], "step": slept["step"] / STEPS, "save": saves / 2,
                "stall": slept["stall"]}
        for name, least in (("start", 195), ("step", 50), ("save", 140), ("stall", 60)):
            self.assertGreaterEqual(each[name], least, each)
        return each


def play(number):
    """One run; what was wrong, or None, and the test."""
    test = Healthy()
    result = test.defaultTestResult()
    test.run(result)
    wrong = [text for _, text in (*result.failures, *result.errors)]
    return number, "\n".join(wrong), test


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--at-once", type=int, default=10)
    wanted = parser.parse_args()
    begin = time.monotonic()
    alarms = 0
    with concurrent.futures.ThreadPoolExecutor(wanted.at_once) as pool:
        for number, wrong, test in pool.map(play, range(1, wanted.runs + 1)):
            if wrong:
                alarms += 1
                print(f"run {number}: {wrong}", flush=True)
            else:
                print(f"run {number}: no alarm in {test.seconds:.0f} s; start {test.started:.0f} s; "
                      f"slept {test.slept}", flush=True)
    print(f"{wanted.runs} runs, {alarms} with a false alarm, "
          f"{time.monotonic() - begin:.0f} s in all", flush=True)
    return 1 if alarms else 0


if __name__ == "__main__":
    sys.exit(main())
