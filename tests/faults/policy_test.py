"""What a run survives: outages, files that are away for a while, deaths that never end, and signals
at one rank. What it must not survive, it says in the words of the rank that saw it."""

import os
import re
import signal
import unittest

from faults import FaultTest


class Policy(FaultTest):

    def killed_during(self, fault, until, *args):
        """Kills a rank while the fault is on, which goes off once `until` was said; the run ends."""
        run = self.train(*args)
        run.wait_committed(10)
        fault.on()
        self.kill_rank(run, 1)
        fault.wait_hit(run=run)
        run.wait_text(until)
        fault.off()
        run.wait_recovered()
        self.tell_to_end(run)
        self.check_losses()
        return run

    def test_data_that_cannot_be_read_for_a_while(self):
        fault = self.fault("data", who="worker", call="open", path="*/tiny-data/*", error="EIO",
                           switched=True)
        self.killed_during(fault, "restarting attempt=4")
        self.assertIn("E-IO", " ".join(i["detail"] for i in self.incidents()))

    def test_a_file_system_that_blocks_for_longer_than_three_attempts(self):
        fault = self.fault("data", who="worker", call="open", path="*/tiny-data/*.tar", hang="yes",
                           switched=True)
        self.killed_during(fault, "restarting attempt=5", "--set", "launcher.start_seconds=4",
                           "--set", "launcher.hang_seconds=3")

    def test_a_shard_that_is_away_for_a_while(self):
        fault = self.fault("data", who="worker", call="open,stat", path="*/pairs-000001.tar",
                           error="ENOENT", switched=True)
        self.killed_during(fault, "restarting attempt=4")

    def test_a_directory_one_may_not_write_to_for_a_while(self):
        fault = self.fault("denied", who="worker", call="open", path="*/step_*.tmp*",
                           error="EACCES", switched=True)
        self.killed_during(fault, "restarting attempt=4")

    def test_a_thread_that_cannot_be_had(self):
        fault = self.fault("threads", who="rank:1", call="pthread_create", error="EAGAIN",
                           switched=True)
        run = self.train()
        run.wait_step(12, self.ranks)
        fault.on()
        fault.wait_hit(run=run)
        fault.off()
        # The save that wanted the thread is begun anew, or the attempt is.
        step = max((word["step"] for word in run.board().values()), default=12)
        run.wait_committed(step)
        self.tell_to_end(run)
        self.check_losses()

    def test_logs_that_cannot_be_made_cost_nothing_else(self):
        self.fault("logs", who="launcher", call="mkdir,open", path="*/logs/attempt_2*", error="EIO",
                   once=f"{self.dir}/claimed")
        run = self.train()
        run.wait_step(12, self.ranks)
        self.kill_rank(run, 1)
        run.wait_recovered()
        self.tell_to_end(run)
        self.assertTrue(os.path.exists(f"{self.dir}/claimed"))
        self.check_losses()
        causes = [(i["cause"], i["rank"]) for i in self.incidents()]
        self.assertEqual(causes[0], ("rank_died", 1), self.incidents())
        self.assertEqual(len(causes), 1, self.incidents())
        self.assertIn("the ranks' log is given up", run.text())

    def test_deaths_with_progress_in_between_never_use_up_the_budget(self):
        run = self.train("--set", "launcher.max_restarts=2", "--set", "checkpoint.every_steps=5")
        for attempt in range(1, 6):
            run.wait_for(lambda _: self.committed_by(run, attempt), what="a checkpoint")
            run.wait_for(lambda words: len(words) == self.ranks, what="ranks")
            self.kill_rank(run, attempt % self.ranks)
            run.wait_text(f"restarting attempt={attempt + 1}")
        run.wait_recovered(5)
        self.tell_to_end(run)
        self.assertEqual(len(self.incidents()), 5)

    @staticmethod
    def committed_by(run, attempt):
        """Has this attempt said that it committed a step?"""
        said = re.split(r"^contrail: started ", run.text(), flags=re.M)
        return len(said) > attempt and "checkpoint step=" in said[attempt]

    def test_memory_that_cannot_be_had_is_told_and_tried_again(self):
        fault = self.fault("memory", who="rank:1", call="memory", error="ENOMEM", switched=True,
                           once=f"{self.dir}/claimed")
        run = self.train()
        run.wait_step(12, self.ranks)
        fault.on()
        run.wait_recovered()
        self.tell_to_end(run)
        self.assertEqual(len(fault.hits()), 1)
        self.check_losses()
        incident, = self.incidents()
        self.assertEqual((incident["cause"], incident["rank"]), ("error", 1), incident)
        self.assertIn("E-MEMORY", incident["detail"])

    def test_a_rank_that_somebody_terminates_is_a_lost_rank(self):
        run = self.train()
        run.wait_step(12, self.ranks)
        self.kill_rank(run, 1, signal.SIGTERM)
        run.wait_recovered()
        self.tell_to_end(run)
        self.check_losses()
        incident, = self.incidents()
        self.assertEqual(incident["rank"], 1, incident)
        self.assertIn(incident["cause"], ("rank_terminated", "rank_died"))

    def test_last_words_come_before_a_save_that_hangs(self):
        # The first save hangs long before the bad picture is due.
        self.config, sample = self.spoiled_data(28, rank=1)
        stuck = self.fault("stuck", who="rank:1", call="fsync", path="*/step_00000001.tmp*",
                           hang="yes", switched=True).on()
        run = self.train("--set", "launcher.hang_seconds=3", "--set", "launcher.start_seconds=8",
                         "--set", "checkpoint.every_steps=1")
        stuck.wait_hit(run=run)
        self.assertEqual(run.wait(60), 2, run.text())
        self.check_blames(run, sample)

    def check_blames(self, run, sample):
        last = run.text().splitlines()[-1]
        self.assertIn("E-DATA-IMAGE", last)
        self.assertIn(sample.rsplit("/", 1)[1], last)

    def test_last_words_that_take_long_to_reach_the_disk(self):
        self.config, sample = self.spoiled_data(14, rank=1)
        self.fault("slow", who="worker", call="fsync", path="*/end_rank_*", delay=5)
        run = self.train()
        self.assertEqual(run.wait(60), 2, run.text())
        self.check_blames(run, sample)

    def test_a_death_is_seen_while_the_file_system_of_the_run_hangs(self):
        stuck = self.fault("stuck", who="launcher", call="open,stat,read", hang="yes",
                           switched=True, path="*/run/attempts/*")
        run = self.train()
        run.wait_step(12, self.ranks)
        stuck.on()
        stuck.wait_hit(run=run)
        pid = self.kill_rank(run, 1)["pid"]
        self.addCleanup(lambda: os.path.exists(stuck.switch) and stuck.off())
        # Only what stands on the screen: the launcher may need the file system to go on.
        run.wait_text("rank_died rank=1", 15)
        self.assertTrue(pid)
        stuck.off()
        run.process.terminate()
        self.assertIn(run.wait(), (3, 4), run.text())

    def test_a_log_that_cannot_be_written_holds_up_nothing(self):
        stuck = self.fault("stuck", who="launcher", call="write,pwrite", path="*/logs/attempt_1/*",
                           hang="yes", switched=True).on()
        run = self.train()
        self.addCleanup(lambda: os.path.exists(stuck.switch) and stuck.off())
        stuck.wait_hit(run=run)
        run.wait_step(12, self.ranks)
        self.kill_rank(run, 1)
        run.wait_recovered()
        self.tell_to_end(run)
        self.check_losses()

    def test_without_pidfds_no_rank_is_taken_for_dead(self):
        self.fault("old", who="launcher", call="pidfd_open", error="ENOSYS")
        run = self.train("--set", "train.steps=20")
        code = run.wait()
        self.assertNotIn("rank_died", run.text())
        if code != 0:  # it may say that this kernel is too old
            self.assertEqual(code, 2, run.text())
            self.assertRegex(run.text(), "pidfd|kernel")


if __name__ == "__main__":
    unittest.main(verbosity=2)
