"""Trains for a given time while something is killed or stopped every few seconds.

Rounds of one undisturbed and one disturbed run of the same seed; the losses must be the same bytes.
"""

import os
import random
import signal
import sys
import time

from tiny_run import TinyRunTest


class Soak(TinyRunTest):
    steps = 200
    ranks = 4

    def runTest(self):
        pass


def break_something(draw, run):
    """Breaks one thing; returns what."""
    words = run.board()
    if not words:
        return None
    what = draw.choice(("kill", "kill", "kill", "stop", "mpirun", "launcher"))
    rank = draw.choice(sorted(words))
    pid = words[rank]["pid"]
    if what == "launcher":
        run.process.kill()
        run.process.wait()
    elif what == "mpirun":
        with open(f"/proc/{pid}/stat") as f:
            os.kill(int(f.read().rpartition(")")[2].split()[1]), signal.SIGKILL)
    else:
        os.kill(pid, signal.SIGKILL if what == "kill" else signal.SIGSTOP)
    return f"{what} rank={rank} step={words[rank]['step']}"


def disturbed(test, draw, name, counts):
    """One run to its end; restarts the launcher when it was the victim or gave up."""
    options = ("--set", "launcher.hang_seconds=3", "--set", "launcher.max_restarts=1000")
    run = test.train(*options, run=name)
    while True:
        pause = time.monotonic() + draw.uniform(1, 12)
        while time.monotonic() < pause and run.process.poll() is None:
            time.sleep(0.05)
        if run.process.poll() == 0:
            return
        if run.process.poll() is None:
            try:
                what = break_something(draw, run)
            except (ProcessLookupError, FileNotFoundError):
                continue  # it was gone already
            if what:
                print(f"  {what}", flush=True)
                counts[what.split()[0]] = counts.get(what.split()[0], 0) + 1
        if run.process.poll() is not None and run.process.poll() != 0:
            # -9: we killed it. 4: many deaths in a row without a checkpoint is what it gives up for.
            if run.process.poll() not in (-9, 4):
                raise AssertionError(run.text())
            run = test.resume(run=name)


def main(seconds):
    seed = random.randrange(1 << 30)
    draw = random.Random(seed)
    print(f"seed {seed}", flush=True)
    end = time.monotonic() + seconds
    rounds, counts = 0, {}
    while time.monotonic() < end:
        test = Soak()
        test.setUp()
        try:
            whole = test.train(run="whole")
            test.assertEqual(whole.wait(600), 0, whole.text())
            disturbed(test, draw, "run", counts)
            test.assertEqual(test.losses(), test.losses("whole"))
            test.check_nothing_left()
            rounds += 1
            print(f"round {rounds}: same losses, {len(test.incidents())} incidents", flush=True)
        finally:
            test.doCleanups()
    print(f"{rounds} rounds, broken: {counts}")


if __name__ == "__main__":
    main(float(sys.argv[1]))
