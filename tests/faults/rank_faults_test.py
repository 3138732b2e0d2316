"""Ranks that die or stop: noticed, named, restarted, and no trace of it in what was trained."""

import glob
import os
import random
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tarfile
import time
import unittest

from tiny_run import (CONTRAIL, HEADER, WORD, TinyRunTest, alive, board_paths, packed_data)


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

    def block_end_record(self, rank, attempt=1):
        """Whoever writes this record hangs for ever, as on a file system that is gone: nobody reads
        the pipe that stands under the name it writes first."""
        os.mkfifo(f"{self.dir}/run/attempts/attempt_{attempt}/end_rank_{rank}.json.tmp")

    def damage_sample(self, position):
        """A copy of the data with the picture at this position of the order broken; its key."""
        data = f"{self.dir}/data"
        shutil.copytree(packed_data(), data)
        self.config = self.write_config("config.toml", data=data)
        key = subprocess.run([CONTRAIL, "data", "order", self.config, "--from", str(position),
                              "--count", "1"], capture_output=True, text=True, check=True,
                             timeout=30).stdout.strip()
        shard, name = key.split("/")
        with tarfile.open(f"{data}/{shard}") as tar:
            member, = (m for m in tar if m.name.split(".")[0] == name and
                       m.name.endswith((".png", ".jpg")))
        with open(f"{data}/{shard}", "r+b") as f:
            f.seek(member.offset_data + member.size // 3)
            f.write(b"\0" * (member.size // 3))
        return key

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
        run.wait_step(3, self.ranks)
        self.block_end_record(1)
        run.wait_for(lambda w: any(x["phase"] == "done" for x in w.values()), what="done")
        begin = time.monotonic()
        self.assertEqual(run.wait(30), 0, run.text())
        self.assertLess(time.monotonic() - begin, 8)
        self.assertEqual(self.summary()["state"], "done")
        self.assertEqual(self.summary()["steps"], 20)
        self.assertEqual(self.incidents(), [])
        self.check_nothing_left()

    def test_a_request_to_stop_ends_what_does_not_go(self):
        run = self.train("--set", "train.steps=20")
        run.wait_step(3, self.ranks)
        self.block_end_record(1)
        run.wait_for(lambda w: any(x["phase"] == "done" for x in w.values()), what="done")
        run.process.send_signal(signal.SIGTERM)
        begin = time.monotonic()
        self.assertIn(run.wait(30), (0, 3), run.text())
        self.assertLess(time.monotonic() - begin, 6)
        self.assertEqual(self.summary()["steps"], 20)

    def test_words_that_no_disk_takes_are_heard(self):
        key = self.damage_sample(32 * 14 + 9)  # of rank 1 in step 15
        run = self.train("--set", "data.max_replaced=0")
        run.wait_step(3, self.ranks)
        for rank in range(self.ranks):
            self.block_end_record(rank)
        run.wait_step(10, self.ranks)
        begin = time.monotonic()
        self.assertEqual(run.wait(60), 2, run.text())
        self.assertLess(time.monotonic() - begin, 20)
        last = run.text().splitlines()[-1]
        self.assertIn("E-DATA-IMAGE", last)
        self.assertIn(key, last)
        self.assertEqual(run.attempt(), 1, run.text())  # not only when it said it again

    def test_a_rank_that_somebody_else_asks_to_stop_is_replaced(self):
        whole = self.train(run="whole")
        self.assertEqual(whole.wait(), 0, whole.text())
        run = self.train()
        words = run.wait_step(13, self.ranks)
        os.kill(words[3]["pid"], signal.SIGTERM)
        self.assertEqual(run.wait(), 0, run.text())
        incident, = self.incidents()
        self.assertEqual((incident["cause"], incident["rank"]), ("rank_terminated", 3), incident)
        self.assertIn("was sent SIGTERM", incident["detail"])
        self.assertEqual(incident["resumed_from"], incident["step"])  # nothing trained again
        self.assertEqual(self.summary()["state"], "done")
        self.assertEqual(self.losses(), self.losses("whole"))

    def test_a_stranger_named_in_shared_memory_is_not_killed(self):
        stranger = subprocess.Popen(["sleep", "300"])
        self.addCleanup(stranger.wait)
        self.addCleanup(stranger.kill)
        run = self.train("--set", "train.steps=30")
        run.wait_step(12, self.ranks)
        path, = board_paths(f"{self.dir}/run", 1)
        info = os.stat(path)
        self.assertEqual((stat.S_IMODE(info.st_mode), info.st_uid), (0o600, os.geteuid()))
        scratch, = glob.glob(path.rpartition(".")[0] + ".mpi.*")
        self.assertEqual(stat.S_IMODE(os.stat(scratch).st_mode), 0o700)
        with open(path, "r+b") as f:
            f.seek(HEADER + 2 * WORD + 4)
            f.write(struct.pack("<i", stranger.pid))
        self.assertEqual(run.wait(), 0, run.text())
        incident, = self.incidents()
        self.assertEqual((incident["cause"], incident["rank"]), ("rank_died", 2), incident)
        self.assertTrue(alive(stranger.pid))
        self.check_nothing_left()


if __name__ == "__main__":
    unittest.main(verbosity=2)
