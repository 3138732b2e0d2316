"""Slow is not hung, and what hangs is ended wherever it is: saving, computing, at the very end."""

import os
import signal
import unittest

from faults import FaultTest
from tiny_run import packed_data

# Far shorter than what the tests below do; start-up of the programs themselves takes 1 to 3 s.
IMPATIENT = ("--set", "launcher.hang_seconds=3", "--set", "launcher.start_seconds=8")
ONLY_LAST = ("--set", "checkpoint.every_steps=1000")


def evaluation(run):
    """Pid of the evaluation of a run, or None."""
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{name}/cmdline") as f:
                words = f.read().split("\0")
        except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
            continue
        if words[0].endswith("contrail-worker") and words[1:2] == ["eval"] and run in words:
            return int(name)
    return None


class Patience(FaultTest):

    def test_a_last_save_may_take_longer_than_any_limit_on_silence(self):
        self.steps = 12
        self.config = self.write_config("config.toml")
        slow = self.fault("slow", who="rank:1", call="fsync", path="*/checkpoints/step_*.h5",
                          count=1, delay=14)
        run = self.train(*IMPATIENT, *ONLY_LAST)
        self.assertEqual(run.wait(), 0, run.text())
        self.assertEqual(len(slow.hits()), 1, "saved once")
        self.assertEqual(self.incidents(), [])
        self.assertIn(12, self.steps_on_disk())

    def test_a_requested_stop_waits_for_its_checkpoint(self):
        slow = self.fault("slow", who="rank:1", call="fsync", path="*/checkpoints/step_*.h5",
                          count=1, delay=14)
        run = self.train(*IMPATIENT, *ONLY_LAST, "--set", "train.steps=4000")
        run.wait_step(5, self.ranks)
        run.process.terminate()
        self.assertEqual(run.wait(), 3, run.text())
        self.assertEqual(len(slow.hits()), 1)
        self.assertIn(self.summary()["steps"], self.steps_on_disk(), run.text())
        self.assertEqual(self.incidents(), [])

    def test_a_save_that_hangs_is_told_and_written_anew(self):
        stuck = self.fault("stuck", who="rank:1", call="fsync", path="*/checkpoints/step_*.h5",
                           hang="yes", switched=True, once=f"{self.dir}/claimed").on()
        run = self.train("--set", "checkpoint.stall_seconds=2", "--set", "train.steps=1000")
        stuck.wait_hit(run=run)
        self.wait_text(run, "checkpoint step=", 30)  # while the first one still hangs
        self.assertTrue(os.path.exists(stuck.switch))
        step = self.steps_on_disk()[0]
        stuck.off()
        self.wait_text(run, "ckpt=")
        run.process.terminate()
        self.assertEqual(run.wait(), 3, run.text())
        self.assertGreaterEqual(step, 10)
        self.assertIn(self.summary()["steps"], self.steps_on_disk())

    def test_ranks_that_compute_are_not_hung(self):
        # Two seconds and more between collectives, on a limit of half a second.
        self.steps = 4
        self.config = self.write_config("config.toml")
        run = self.train("--set", "launcher.hang_seconds=0.5",
                         "--set", "train.global_batch_size=960")
        self.assertEqual(run.wait(), 0, run.text())
        self.assertEqual(self.incidents(), [], run.text())

    def test_data_that_comes_late_is_no_hang(self):
        late = self.fault("late", who="rank:1", call="pread,read", path="*.tar", nth=300, delay=6,
                          once=f"{self.dir}/claimed")
        run = self.train("--set", "launcher.hang_seconds=2", "--set", "launcher.start_seconds=40")
        self.assertEqual(run.wait(), 0, run.text())
        self.assertEqual(len(late.hits()), 1)
        self.assertEqual(self.incidents(), [], run.text())
        self.check_losses()

    def test_a_rank_that_hangs_after_its_last_step_is_ended(self):
        stuck = self.fault("stuck", who="rank:1", call="open", path="*/end_rank_1*", hang="yes",
                           switched=True, once=f"{self.dir}/claimed").on()
        run = self.train(*IMPATIENT)
        stuck.wait_hit(run=run)
        self.assertEqual(run.wait(60), 0, run.text())
        self.assertIn(self.steps, self.steps_on_disk())
        self.check_losses()

    def test_a_rank_that_is_stopped_after_its_last_step_is_ended_on_request(self):
        stuck = self.fault("stuck", who="rank:1", call="open", path="*/end_rank_1*", kill=19,
                           once=f"{self.dir}/claimed")
        run = self.train("--set", "launcher.hang_seconds=20")
        stuck.wait_hit(run=run)
        run.process.terminate()
        self.assertIn(run.wait(45), (0, 3), run.text())
        self.assertIn(self.steps, self.steps_on_disk())

    def evaluated(self, *args):
        self.steps = 20
        self.config = self.write_config("config.toml")
        return self.train("--set", f"eval.zero_shot={packed_data()}", *args)

    def stop_evaluation(self, run):
        pid = run.wait_for(lambda _: evaluation(run.run), what="an evaluation")
        os.kill(pid, signal.SIGSTOP)
        self.addCleanup(self.kill_if_there, pid)

    @staticmethod
    def kill_if_there(pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def test_an_evaluation_that_hangs_is_ended(self):
        run = self.evaluated(*IMPATIENT)
        self.stop_evaluation(run)
        code = run.wait(60)
        if code == 0:  # it was tried again
            self.assertIn("zero_shot", self.summary()["eval"], run.text())
        else:
            self.assertEqual(code, 4, run.text())
            self.assertIn("E-EVAL-FAILED", run.text())
            self.assertNotEqual(self.summary()["state"], "done")

    def test_a_request_to_stop_ends_an_evaluation_and_says_so(self):
        run = self.evaluated()
        self.stop_evaluation(run)
        run.process.send_signal(signal.SIGUSR1)
        self.assertEqual(run.wait(30), 3, run.text())
        self.assertEqual(self.summary()["state"], "stopped")
        again = self.resume()
        self.assertEqual(again.wait(), 0, again.text())
        self.assertIn("zero_shot", self.summary()["eval"])

    def test_a_request_to_stop_in_the_last_save_comes_before_the_evaluation(self):
        last = self.fault("last", who="rank:0", call="fsync", path="*/step_00000020.tmp*",
                          hang="yes", switched=True, once=f"{self.dir}/claimed").on()
        run = self.evaluated(*ONLY_LAST)
        last.wait_hit(run=run)
        run.process.send_signal(signal.SIGUSR1)
        self.wait_text(run, "stopping signal=USR1")
        last.off()
        self.assertEqual(run.wait(60), 3, run.text())
        self.assertEqual(self.summary()["state"], "stopped")
        self.assertIn(20, self.steps_on_disk())


if __name__ == "__main__":
    unittest.main(verbosity=2)
