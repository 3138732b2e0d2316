"""Ranks that die or stop: noticed, named, restarted, and no trace of it in what was trained."""

import os
import random
import signal
import sys
import unittest

from tiny_run import TinyRunTest


class RankFaults(TinyRunTest):

    def test_killed_ranks_leave_no_trace_in_the_losses(self):
        whole = self.train(run="whole")
        self.assertEqual(whole.wait(), 0, whole.text())

        seed = random.randrange(1 << 30)
        print(f"seed {seed}", file=sys.stderr)
        draw = random.Random(seed)
        run = self.train()
        killed = []
        for first in (11, 25):
            rank = draw.randrange(self.ranks)
            words = run.wait_step(draw.randrange(first, first + 8), self.ranks)
            os.kill(words[rank]["pid"], signal.SIGKILL)
            killed.append((rank, words[rank]["step"]))
            run.wait_for(lambda _: run.attempt() == len(killed) + 1, what="restart")
        self.assertEqual(run.wait(), 0, run.text())

        self.assertEqual(self.losses(), self.losses("whole"))
        incidents = self.incidents()
        self.assertEqual(len(incidents), 2, run.text())
        for (rank, step), incident in zip(killed, incidents):
            self.assertEqual(incident["cause"], "rank_died")
            self.assertEqual(incident["rank"], rank)
            self.assertIn(incident["detail"], ("killed by signal 9 (Killed)", "gone"))
            self.assertGreaterEqual(incident["step"], step)
            self.assertEqual(incident["resumed_from"] % 10, 0)
            self.assertLess(incident["detect"], 1)
            self.check_ledger(incident)
            print(f"from kill to next step: {incident['to_next_step']:.2f} s {incident}",
                  file=sys.stderr)
        self.assertEqual(self.summary()["incidents"], 2)
        self.assertEqual(self.summary()["attempts"], 3)
        self.check_nothing_left()

    def test_a_stopped_rank_is_noticed_and_named(self):
        run = self.train("--set", "launcher.hang_seconds=3")
        words = run.wait_step(12, self.ranks)
        os.kill(words[2]["pid"], signal.SIGSTOP)
        self.assertEqual(run.wait(), 0, run.text())
        incident, = self.incidents()
        self.assertEqual(incident["cause"], "rank_hung")
        self.assertEqual(incident["rank"], 2, incident)
        self.assertIn("rank 2 stopped (state T)", incident["detail"])
        self.assertLess(incident["detect"], 8)
        self.check_ledger(incident)

    def test_a_stopped_rank_is_named_by_those_who_waited(self):
        run = self.train("--set", "launcher.hang_seconds=60",
                         "--set", "launcher.collective_seconds=3")
        words = run.wait_step(12, self.ranks)
        os.kill(words[2]["pid"], signal.SIGSTOP)
        self.assertEqual(run.wait(), 0, run.text())
        incident, = self.incidents()
        self.assertEqual((incident["cause"], incident["rank"]), ("rank_hung", 2), incident)
        self.assertIn("E-MPI-TIMEOUT: rank ", incident["detail"])
        self.assertIn("not arrived: rank 2 (no answer)", incident["detail"])

    def test_killed_while_starting(self):
        run = self.train("--set", "train.steps=10")
        words = run.wait_for(lambda w: w if any(x["phase"] == "starting" for x in w.values())
                             else None)
        rank = next(r for r, word in words.items() if word["phase"] == "starting")
        os.kill(words[rank]["pid"], signal.SIGKILL)
        self.assertEqual(run.wait(), 0, run.text())
        incident, = self.incidents()
        self.assertEqual((incident["cause"], incident["rank"]), ("rank_died", rank))
        self.assertEqual(incident["resumed_from"], 0)

    def test_stopped_while_starting(self):
        run = self.train("--set", "train.steps=10", "--set", "launcher.hang_seconds=4")
        words = run.wait_for(lambda w: w if any(x["phase"] == "starting" for x in w.values())
                             else None)
        rank = next(r for r, word in words.items() if word["phase"] == "starting")
        os.kill(words[rank]["pid"], signal.SIGSTOP)
        self.assertEqual(run.wait(), 0, run.text())
        incident, = self.incidents()
        self.assertEqual((incident["cause"], incident["rank"]), ("start_failed", rank), incident)
        self.assertLess(incident["detect"], 10)

    def test_mpirun_killed(self):
        run = self.train("--set", "train.steps=20")
        words = run.wait_step(3, self.ranks)
        with open(f"/proc/{words[0]['pid']}/stat") as f:
            mpirun = int(f.read().rpartition(")")[2].split()[1])
        os.kill(mpirun, signal.SIGKILL)
        self.assertEqual(run.wait(), 0, run.text())
        self.assertEqual(len(self.incidents()), 1)
        self.assertEqual(self.summary()["state"], "done")


if __name__ == "__main__":
    unittest.main(verbosity=2)
