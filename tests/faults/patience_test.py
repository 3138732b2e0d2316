"""Slow is not hung, and what hangs is ended wherever it is: saving, computing, at the very end."""

import os
import signal
import unittest

from faults import FaultTest
from tiny_run import packed_data

# Far shorter than what the tests below do; start-up of the programs themselves takes 1 to 3 s.
IMPATIENT = ("--set", "launcher.hang_seconds=3", "--set", "launcher.start_seconds=8")
ONLY_LAST = ("--set", "checkpoint.every_steps=1000000")


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

    def test_a_start_may_take_longer_than_any_limit_on_silence(self):
        # MPI looks for its plug-ins before the ranks can say a word.
        self.with_an_end(4)
        slow = self.fault("slow", who="worker", call="readdir", path="*/openmpi*", delay=0.5,
                          count=40)
        run = self.train("--set", "launcher.start_seconds=10")
        self.assertEqual(run.wait(), 0, run.text())
        self.assertEqual(len(slow.hits()), 40 * self.ranks)
        self.assertEqual(self.incidents(), [], run.text())

    def test_a_rank_that_hangs_before_its_first_word_is_named(self):
        stuck = self.fault("stuck", who="rank:1", call="readdir", path="*/openmpi*", delay=3600,
                           once=f"{self.dir}/claimed")
        run = self.train("--set", "launcher.start_seconds=10")
        stuck.wait_hit(run=run)
        run.wait_text("start_failed rank=1")
        run.wait_recovered()
        self.tell_to_end(run)
        incident, = self.incidents()
        self.assertEqual((incident["cause"], incident["rank"]), ("start_failed", 1), incident)
        self.assertIn("2 of 2 ranks did not come up; rank 1", incident["detail"])

    def test_a_last_save_may_take_longer_than_any_limit_on_silence(self):
        self.with_an_end(12)
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
        run = self.train(*IMPATIENT, *ONLY_LAST)
        run.wait_step(5, self.ranks)
        self.assertIn(self.tell_to_end(run), self.steps_on_disk(), run.text())
        self.assertEqual(len(slow.hits()), 1)
        self.assertEqual(self.incidents(), [])

    def test_a_save_that_hangs_is_told_and_written_anew(self):
        stuck = self.fault("stuck", who="rank:1", call="fsync", path="*/checkpoints/step_*.h5",
                           hang="yes", switched=True, once=f"{self.dir}/claimed").on()
        run = self.train("--set", "checkpoint.stall_seconds=2")
        stuck.wait_hit(run=run)
        run.wait_committed(1)  # while the first one still hangs
        self.assertTrue(os.path.exists(stuck.switch))
        step = self.steps_on_disk()[0]
        stuck.off()
        self.assertGreaterEqual(step, 10)
        self.assertIn(self.tell_to_end(run), self.steps_on_disk())

    def test_ranks_that_compute_are_not_hung(self):
        # Two seconds and more between collectives, on a limit of half a second.
        self.with_an_end(4)
        run = self.train("--set", "launcher.hang_seconds=0.5",
                         "--set", "train.global_batch_size=960")
        self.assertEqual(run.wait(), 0, run.text())
        self.assertEqual(self.incidents(), [], run.text())

    def test_data_that_comes_late_is_no_hang(self):
        late = self.fault("late", who="rank:1", call="pread,read", path="*.tar", nth=300, delay=6,
                          once=f"{self.dir}/claimed")
        run = self.train("--set", "launcher.hang_seconds=2", "--set", "launcher.start_seconds=40")
        late.wait_hit(run=run)
        step = max(word["step"] for word in run.board().values())
        run.wait_step(step + 5, self.ranks)  # the data that came late, and what was read ahead
        self.tell_to_end(run)
        self.assertEqual(len(late.hits()), 1)
        self.assertEqual(self.incidents(), [], run.text())
        self.check_losses()

    def test_a_rank_that_hangs_after_its_last_step_is_ended(self):
        self.with_an_end()
        stuck = self.fault("stuck", who="rank:0", call="open", path="*/ends.jsonl*", hang="yes",
                           switched=True, once=f"{self.dir}/claimed").on()
        run = self.train(*IMPATIENT)
        stuck.wait_hit(run=run)
        self.assertEqual(run.wait(60), 0, run.text())
        self.assertIn(self.steps, self.steps_on_disk())
        self.check_losses()

    def test_a_rank_that_is_stopped_after_its_last_step_is_ended_on_request(self):
        self.with_an_end()
        stuck = self.fault("stuck", who="rank:0", call="open", path="*/ends.jsonl*", kill=19,
                           once=f"{self.dir}/claimed")
        run = self.train("--set", "launcher.hang_seconds=20")
        stuck.wait_hit(run=run)
        run.process.terminate()
        self.assertIn(run.wait(45), (0, 3), run.text())
        self.assertIn(self.steps, self.steps_on_disk())

    def with_an_end(self, steps=20):
        self.steps = steps
        self.config = self.write_config("config.toml")

    def evaluated(self, *args):
        self.with_an_end()
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
            self.assertEqual(self.summary()["state"], "gave_up")

    def test_an_evaluation_that_fails_says_so_in_code_and_summary(self):
        self.fault("unreadable", who="worker", call="pread",
                   path="*/checkpoints/step_00000020/*", error="EIO")
        run = self.evaluated()
        self.assertEqual(run.wait(), 4, run.text())
        self.assertIn("E-EVAL-FAILED", run.text().splitlines()[-1])
        summary = self.summary()
        self.assertEqual((summary["state"], summary["steps"]), ("gave_up", 20))
        self.assertIn("E-EVAL-FAILED", summary["message"])
        self.rules.faults.clear()
        again = self.resume()
        self.assertEqual(again.wait(), 0, again.text())
        self.assertIn("zero_shot", self.summary()["eval"])

    def test_what_was_trained_is_on_record_before_the_evaluation(self):
        run = self.evaluated()
        self.stop_evaluation(run)
        run.wait_for(lambda _: os.path.exists(f"{self.dir}/run/summary.json"), what="a summary")
        summary = self.summary()
        self.assertEqual((summary["state"], summary["steps"]), ("evaluating", 20))
        self.assertEqual(self.view()["state"], "evaluating")
        run.process.kill()
        run.process.wait()
        self.assertEqual(self.summary()["state"], "evaluating")
        self.assertEqual(self.view()["state"], "stopped")
        self.assertIn("ended while it evaluated", self.view()["why"])
        again = self.resume()
        self.assertEqual(again.wait(), 0, again.text())
        self.assertEqual(self.summary()["state"], "done")
        self.assertIn("zero_shot", self.summary()["eval"])

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
        run.wait_text("stopping signal=USR1")
        last.off()
        self.assertEqual(run.wait(60), 3, run.text())
        self.assertEqual(self.summary()["state"], "stopped")
        self.assertIn(20, self.steps_on_disk())


if __name__ == "__main__":
    unittest.main(verbosity=2)
