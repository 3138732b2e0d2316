"""slurm/train.sbatch and slurm/resume.sbatch under a real Slurm of two nodes."""

import os
import signal
import sys
import unittest

from batch_run import RESUME, TCP, TRAIN, BatchTest

SHAPE = ("--nodes=2", "--ntasks=2", "--ntasks-per-node=1")


class Batch(BatchTest):

    def test_two_nodes_preempted_and_resumed(self):
        # SIGTERM to every process of the job's steps, as preemption with a grace time sends it.
        job = self.submit(*SHAPE, TRAIN, "config.toml", "--run", "run", *TCP)
        self.wait_output(job, "checkpoint step=")
        self.assertIn("ranks=2", self.output(job))
        self.tell_job_to_end(job)
        stopped = self.summary()
        self.assertGreaterEqual(stopped["steps"], 10)

        again = self.submit(*SHAPE, RESUME, "run")
        self.wait_output(again, "resumed step=")
        self.tell_job_to_end(again)
        self.assertIn(f"from_step={stopped['steps']}", self.output(again))
        self.check_losses()
        self.assertEqual(self.incidents(), [])

    def test_a_job_of_several_nodes_comes_to_its_end(self):
        job = self.submit(*SHAPE, TRAIN, "config.toml", "--run", "run", "--set", "train.steps=20",
                          *TCP)
        self.assertEqual(self.wait_ended(job)["JobState"], "COMPLETED", self.output(job))
        self.assertEqual(self.summary()["state"], "done")

    def test_warned_by_usr1_it_requeues_itself_and_goes_on(self):
        job = self.submit(*SHAPE, TRAIN, "config.toml", "--run", "run", *TCP)
        self.wait_output(job, "checkpoint step=")
        self.cluster.run("scancel", "--batch", "--signal=USR1", job)
        self.wait_output(job, f"requeued job={job}")
        self.wait_output(job, "resumed step=", 150)
        self.assertEqual(self.cluster.job(job)["Restarts"], "1")
        self.tell_job_to_end(job)
        self.assertEqual(self.summary()["attempts"], 2)

    def test_a_time_limit_shorter_than_the_run(self):
        # Slurm looks for jobs to warn every 30 s: the warning comes within half a minute.
        job = self.submit("--time=1", "--signal=B:USR1@50", *SHAPE, TRAIN, "config.toml", "--run",
                          "run", *TCP)
        self.wait_output(job, f"requeued job={job}", 90)
        first = self.summary()
        self.assertEqual(first["state"], "stopped")
        self.assertGreater(first["steps"], 0)
        # The second start goes on where the first one stopped.
        self.wait_output(job, f"attempt=2 ranks=2 threads=1 from_step={first['steps']}", 60)
        self.cluster.run("scancel", job)

    def test_ranks_that_die_are_restarted_inside_the_allocation(self):
        job = self.submit(*SHAPE, TRAIN, "config.toml", "--run", "run", *TCP)
        for attempt, rank in ((1, 1), (2, 0)):  # once on each node
            os.kill(self.wait_restarted(job, attempt)[rank], signal.SIGKILL)
            self.wait_output(job, f"restarting attempt={attempt + 1}")
        self.wait_recovered(job, 2)
        self.tell_job_to_end(job)
        incidents = self.incidents()
        self.assertEqual([i["cause"] for i in incidents], ["rank_died"] * 2, incidents)
        for incident in incidents:
            self.assertEqual(incident["detail"], "killed by signal 9 (Killed)")
            self.check_ledger(incident)
            print(f"from kill to next step: {incident['to_next_step']:.2f} s {incident}",
                  file=sys.stderr)

    def test_no_requeue_is_respected(self):
        job = self.submit("--no-requeue", *SHAPE, TRAIN, "config.toml", "--run", "run", *TCP)
        self.wait_output(job, "checkpoint step=")
        self.cluster.run("scancel", "--batch", "--signal=USR1", job)
        ended = self.wait_ended(job)
        self.assertEqual((ended["ExitCode"], ended["Restarts"]), ("3:0", "0"), self.output(job))
        self.assertIn("was not requeued", self.output(job))

    def test_a_foreign_run_directory_is_refused(self):
        os.mkdir(f"{self.dir}/run")
        job = self.submit(*SHAPE, TRAIN, "config.toml", "--run", "run", *TCP)
        self.assertEqual(self.wait_ended(job)["ExitCode"], "2:0", self.output(job))
        self.assertIn("E-RUN-EXISTS", self.output(job))


if __name__ == "__main__":
    # A terminated test still ends its daemons.
    signal.signal(signal.SIGTERM, lambda *unused: sys.exit(1))
    unittest.main(verbosity=2)
