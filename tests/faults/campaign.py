"""Trains while ranks, mpirun and the launcher are killed, and files fail, at random; counts losses.

    campaign.py [--seconds S] [--kills K] [--faults F] [--seed X]

Rounds of one run each until the time is over, or so many kills and faults were met. Nothing is
restarted here but a launcher that was itself the victim: what it gives up is a loss. A round is won
when the losses are, byte for byte, those of the undisturbed run.

A disturbance kills or stops something now, and most of them also arm a fault for the attempt that
comes: at the n-th call in one of the places below a rank is killed, or the call fails.
"""

import argparse
import collections
import os
import random
import shutil
import signal
import sys
import time

from faults import FaultTest

# Where: what a worker does there, as calls and paths.
PLACES = {
    "start": ("open,pread", "*/tiny-data/*"),
    "load": ("open,pread", "*/checkpoints/step_*"),
    "list": ("opendir,readdir", "*/checkpoints"),
    "save": ("open,pwrite,fsync", "*/checkpoints/step_*.tmp*"),
    "commit": ("open,pwrite,write,fsync", "*/COMMIT*"),
    "rename": ("rename", "*/checkpoints/*"),
    "prune": ("unlink,rmdir", "*/checkpoints/*"),
}
LAUNCHER_PLACES = {
    "lease": ("open,rename,fsync,read", "*/lease.json*"),
    "records": ("open,pwrite,write,fsync", "*/incidents.jsonl"),
    "attempts": ("mkdir,open", "*/attempt_*"),
}
# What a call does there, other than to kill its process.
KINDS = {
    "EIO": {"error": "EIO"},
    "ESTALE": {"error": "ESTALE"},
    "EMFILE": {"error": "EMFILE"},
    "ENOSPC": {"error": "ENOSPC"},
    "EACCES": {"error": "EACCES"},
    "slow": {"delay": 2},
    "stall": {"delay": 12},
    "short": {"short": 4096},
}
OPTIONS = ("--set", "launcher.hang_seconds=4", "--set", "launcher.start_seconds=20", "--set",
           "checkpoint.every_steps=10")


class Round(FaultTest):
    steps = 200
    ranks = 4

    def runTest(self):
        pass


class Campaign:
    def __init__(self, draw):
        self.draw = draw
        self.kills = collections.Counter()   # victim or place
        self.faults = collections.Counter()  # (kind, place)
        self.outcomes = collections.Counter()
        self.longest = 0.0

    def arm(self, test, who, places):
        """A rule for the processes that start from now on, in the place of the one before."""
        place = self.draw.choice(sorted(places))
        kind = self.draw.choice(("kill", "kill", *sorted(KINDS)))
        calls, path = places[place]
        test.rules.faults.clear()
        self.armed += 1
        what = {"kill": 9} if kind == "kill" else KINDS[kind]
        test.fault(f"{kind}.{place}.{self.armed}", who=who, call=calls, path=path,
                   nth=self.draw.choice((1, 1, 2, 5, 20)), count=1,
                   once=f"{test.dir}/claim-{self.armed}", **what)

    def disturb(self, test, run):
        """Kills or stops one thing; False where there was nothing to kill."""
        words = run.board()
        if not words:
            return False
        victim = self.draw.choice(("rank", "rank", "rank", "stop", "mpirun", "launcher"))
        pid = words[self.draw.choice(sorted(words))]["pid"]
        if victim == "launcher":
            self.arm(test, "launcher", LAUNCHER_PLACES)
            run.process.kill()
            run.process.wait()
        else:
            self.arm(test, "worker", PLACES)
            if victim == "mpirun":
                with open(f"/proc/{pid}/stat") as f:
                    pid = int(f.read().rpartition(")")[2].split()[1])
            os.kill(pid, signal.SIGSTOP if victim == "stop" else signal.SIGKILL)
        self.kills[victim] += 1
        return True

    def round(self, test):
        """One run to its end; the text of the launcher where it was lost, else None."""
        self.armed = 0
        test.fault("none", call="open", path="/nowhere", error="EIO")
        run = test.train(*OPTIONS)
        text = ""
        while True:
            # Most attempts are let train for a while; some are disturbed on their way there.
            if self.draw.random() < 0.7:
                self.wait_training(run)
            pause = time.monotonic() + self.draw.uniform(0.5, 6)
            while time.monotonic() < pause and run.process.poll() is None:
                time.sleep(0.05)
            if run.process.poll() is None:
                try:
                    self.disturb(test, run)
                except (ProcessLookupError, FileNotFoundError):
                    continue  # it was gone already
            code = run.process.poll()
            if code == 0:
                return None if test.losses() == test.undisturbed()["losses"] else \
                    text + run.text() + "\nother losses than undisturbed\n"
            if code is not None:
                text += run.text()
                if code != -signal.SIGKILL:
                    return f"{text}\nended with {code}\n"
                run = test.resume()

    @staticmethod
    def wait_training(run, seconds=120):
        end = time.monotonic() + seconds
        while run.process.poll() is None and time.monotonic() < end and \
                not any(word["phase"] == "training" for word in run.board().values()):
            time.sleep(0.05)

    def play(self):
        test = Round()
        test.setUp()
        try:
            test.undisturbed()
            begin = time.monotonic()
            lost = self.round(test)
            self.longest = max(self.longest, time.monotonic() - begin)
            for hit in test.rules.hits():
                kind, place, _ = hit["rule"].split(".")
                if kind == "kill":
                    self.kills[f"{'worker' if place in PLACES else 'launcher'} in {place}"] += 1
                else:
                    self.faults[kind, place] += 1
            if not lost:
                test.check_nothing_left()
            else:
                kept = f"{test.dir}-lost"
                shutil.copytree(test.dir, kept, symlinks=True,
                                ignore=shutil.ignore_patterns("*.h5"))
                print(f"{lost}kept: {kept}", flush=True)
            self.outcomes["lost" if lost else "same losses"] += 1
        finally:
            test.doCleanups()

    def table(self):
        lines = [f"rounds: {dict(self.outcomes)}, the longest {self.longest:.0f} s",
                 f"kills: {sum(self.kills.values())}"]
        lines += [f"  {count:5} {what}" for what, count in sorted(self.kills.items())]
        lines.append(f"faults met: {sum(self.faults.values())}")
        places = [*PLACES, *LAUNCHER_PLACES]
        lines.append(f"  {'':8}" + "".join(f"{place:>9}" for place in places))
        for kind in KINDS:
            lines.append(f"  {kind:8}" + "".join(f"{self.faults[kind, p]:9}" for p in places))
        return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--faults", type=int, default=0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    wanted = parser.parse_args()
    counted = wanted.kills + wanted.faults > 0
    print(f"seed {wanted.seed}", flush=True)
    campaign = Campaign(random.Random(wanted.seed))
    end = time.monotonic() + wanted.seconds
    while time.monotonic() < end and not (
            counted and sum(campaign.kills.values()) >= wanted.kills and
            sum(campaign.faults.values()) >= wanted.faults):
        campaign.play()
        print(campaign.table(), flush=True)
    return 1 if campaign.outcomes["lost"] else 0


if __name__ == "__main__":
    sys.exit(main())
