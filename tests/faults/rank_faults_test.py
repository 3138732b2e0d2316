"""Ranks that die or stop: noticed, named, restarted, and no trace of it in what was trained."""

import glob
import os
import random
import signal
import stat
import struct
import subprocess
import sys
import time
import unittest

from faults import FaultTest
from tiny_run import HEADER, WORD, alive, board_paths


class RankFaults(FaultTest):
    ranks = 4

    def test_killed_ranks_leave_no_trace_in_the_losses(self):
        seed = random.randrange(1 << 30)
        print(f"seed {seed}", file=sys.stderr)
        draw = random.Random(seed)
        run = self.train()
        killed = []
        for first in (11, 45):
            rank = draw.randrange(self.ranks)
            words = run.wait_step(draw.randrange(first, first + 8), self.ranks)
            os.kill(words[rank]["pid"], signal.SIGKILL)
            killed.append((rank, words[rank]["step"]))
            run.wait_recovered(len(killed))
        end = self.tell_to_end(run)
        self.train_to(end, run="whole")
        self.check_same_losses("run", "whole", least=end)
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
        run.wait_recovered()
        self.tell_to_end(run)
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
        run.wait_recovered()
        self.tell_to_end(run)
        incident, = self.incidents()
        self.assertEqual((incident["cause"], incident["rank"]), ("rank_hung", 2), incident)
        self.assertIn("E-MPI-TIMEOUT: rank ", incident["detail"])
        self.assertIn("not arrived: rank 2 (no answer)", incident["detail"])

    def held_in_its_start(self, *args):
        """A run whose rank 1 waits for its data in the start; what holds it, and the words."""
        gate = self.fault("gate", who="rank:1", call="stat", path="*/tiny-data/*.tar", hang="yes",
                          switched=True).on()
        run = self.train(*args)
        gate.wait_hit(run=run)
        words = run.wait_for(lambda w: w if len(w) == self.ranks else None, what="all ranks")
        return run, gate, words

    def test_killed_while_starting(self):
        run, gate, words = self.held_in_its_start()
        os.kill(words[1]["pid"], signal.SIGKILL)
        gate.off()
        run.wait_recovered()
        self.tell_to_end(run)
        incident, = self.incidents()
        self.assertEqual((incident["cause"], incident["rank"]), ("rank_died", 1))
        self.assertEqual(incident["resumed_from"], 0)

    def test_stopped_while_starting(self):
        run, gate, words = self.held_in_its_start("--set", "launcher.hang_seconds=4")
        os.kill(words[1]["pid"], signal.SIGSTOP)
        run.wait_text("start_failed rank=1")
        gate.off()
        run.wait_recovered()
        self.tell_to_end(run)
        incident, = self.incidents()
        self.assertEqual((incident["cause"], incident["rank"]), ("start_failed", 1), incident)
        self.assertIn("stopped (state T)", incident["detail"])

    def test_mpirun_killed(self):
        run = self.train()
        words = run.wait_step(3, self.ranks)
        with open(f"/proc/{words[0]['pid']}/stat") as f:
            mpirun = int(f.read().rpartition(")")[2].split()[1])
        os.kill(mpirun, signal.SIGKILL)
        run.wait_recovered()
        self.tell_to_end(run)
        self.assertEqual(len(self.incidents()), 1)

    def block(self, name, attempt=1):
        """Whoever writes this file of the attempt hangs for ever, as on a file system that is gone:
        nobody reads the pipe that stands under the name it writes first."""
        os.mkfifo(f"{self.dir}/run/attempts/attempt_{attempt}/{name}.tmp")

    def test_long_steps_are_no_hang(self):
        # A step is many micro-batches, longer than hang_seconds, with no collective in between.
        run = self.train("--set", "launcher.hang_seconds=1", "--set", "launcher.ranks=2",
                         "--set", "train.global_batch_size=960", "--set", "train.micro_batch_size=8",
                         "--set", "train.steps=3", "--set", "train.warmup_steps=1")
        begin = run.wait_for(lambda w: time.monotonic() if len(w) == 2 and
                             all(x["step"] >= 1 for x in w.values()) else None, what="step 1")
        self.assertEqual(run.wait(), 0, run.text())
        print(f"a step took {(time.monotonic() - begin) / 2:.1f} s", file=sys.stderr)
        self.assertEqual(self.incidents(), [])

    def test_a_rank_that_does_not_go_after_its_last_step(self):
        run = self.train("--set", "launcher.hang_seconds=3", "--set", "train.steps=20")
        run.wait_for(lambda words: words, what="a rank")
        self.block("ends.jsonl")
        self.assertEqual(run.wait(60), 0, run.text())
        self.assertEqual(self.summary()["state"], "done")
        self.assertEqual(self.summary()["steps"], 20)
        self.assertEqual(self.incidents(), [])
        self.check_nothing_left()

    def test_a_request_to_stop_ends_what_does_not_go(self):
        run = self.train("--set", "train.steps=20", "--set", "launcher.hang_seconds=300")
        run.wait_for(lambda words: words, what="a rank")
        self.block("ends.jsonl")
        run.wait_for(lambda w: any(x["phase"] == "done" for x in w.values()), what="done")
        run.process.send_signal(signal.SIGTERM)
        self.assertIn(run.wait(60), (0, 3), run.text())  # long before launcher.hang_seconds
        self.assertEqual(self.summary()["steps"], 20)

    def test_words_that_no_disk_takes_are_heard(self):
        self.config, key = self.spoiled_data(15, rank=1)
        run = self.train()
        run.wait_for(lambda words: words, what="a rank")  # they check data and loss before they train
        for rank in range(self.ranks):
            self.block(f"end_rank_{rank}.json")
        self.assertEqual(run.wait(60), 2, run.text())
        last = run.text().splitlines()[-1]
        self.assertIn("E-DATA-IMAGE", last)
        self.assertIn(key.rsplit("/", 1)[1], last)
        self.assertEqual(run.attempt(), 1, run.text())  # not only when it said it again

    def test_a_rank_that_somebody_else_asks_to_stop_is_replaced(self):
        run = self.train()
        words = run.wait_step(13, self.ranks)
        os.kill(words[3]["pid"], signal.SIGTERM)
        run.wait_recovered()
        end = self.tell_to_end(run)
        incident, = self.incidents()
        self.assertEqual((incident["cause"], incident["rank"]), ("rank_terminated", 3), incident)
        self.assertIn("was sent SIGTERM", incident["detail"])
        self.assertEqual(incident["resumed_from"], incident["step"])  # nothing trained again
        self.train_to(end, run="whole")
        self.check_same_losses("run", "whole", least=end)

    def test_a_stranger_named_in_shared_memory_is_not_killed(self):
        stranger = subprocess.Popen(["sleep", "300"])
        self.addCleanup(stranger.wait)
        self.addCleanup(stranger.kill)
        run = self.train()
        run.wait_step(12, self.ranks)
        path, = board_paths(f"{self.dir}/run", 1)
        info = os.stat(path)
        self.assertEqual((stat.S_IMODE(info.st_mode), info.st_uid), (0o600, os.geteuid()))
        scratch, = glob.glob(path.rpartition(".")[0] + ".mpi.*")
        self.assertEqual(stat.S_IMODE(os.stat(scratch).st_mode), 0o700)
        with open(path, "r+b") as f:
            f.seek(HEADER + 2 * WORD + 4)
            f.write(struct.pack("<i", stranger.pid))
        run.wait_recovered()
        self.tell_to_end(run)
        incident, = self.incidents()
        self.assertEqual((incident["cause"], incident["rank"]), ("rank_died", 2), incident)
        self.assertTrue(alive(stranger.pid))
        self.check_nothing_left()


if __name__ == "__main__":
    unittest.main(verbosity=2)
