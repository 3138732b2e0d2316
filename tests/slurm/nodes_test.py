"""Faults on the node that the launcher does not run on: blamed rightly, and survived."""

import os
import re
import signal
import sys
import unittest

from batch_run import ENDED, TCP, TRAIN, BatchTest

ONE_A_NODE = ("--nodes=2", "--ntasks=2", "--ntasks-per-node=1")
TWO_A_NODE = ("--nodes=2", "--ntasks=4", "--ntasks-per-node=2")


class NodesTest(BatchTest):

    def job(self, shape, *args):
        return self.submit(*shape, TRAIN, "config.toml", "--run", "run", *TCP, *args)

    def check_goes_on(self, job, restarts):
        self.wait_recovered(job, restarts)
        self.tell_job_to_end(job)


class Nodes(NodesTest):

    def killed_ranks_are_named(self, shape, ranks):
        """Kills these ranks, one an attempt; each incident names the one that was killed."""
        job = self.job(shape)
        hosts = []
        for attempt, rank in enumerate(ranks, 1):
            pid = self.wait_restarted(job, attempt)[rank]
            hosts.append(self.cluster.node_of(pid))
            os.kill(pid, signal.SIGKILL)
            self.wait_output(job, f"restarting attempt={attempt + 1}")
        self.check_goes_on(job, len(ranks))
        self.assertEqual([(i["cause"], i["rank"], i["host"]) for i in self.incidents()],
                         [("rank_died", rank, host) for rank, host in zip(ranks, hosts)],
                         self.output(job))
        self.check_losses()

    def test_a_rank_killed_elsewhere_is_the_one_that_is_blamed(self):
        self.killed_ranks_are_named(ONE_A_NODE, (1, 0, 1, 1))

    def test_of_several_ranks_a_node_the_killed_one_is_blamed(self):
        self.ranks = 4
        self.config = self.write_config("config.toml")
        self.killed_ranks_are_named(TWO_A_NODE, (3, 0, 2, 3))

    def test_the_words_of_a_rank_elsewhere_are_heard(self):
        self.ranks = 4
        config, sample = self.spoiled_data(5, rank=3)
        for run in ("first", "second"):
            job = self.submit(*TWO_A_NODE, TRAIN, config, "--run", run, *TCP)
            ended = self.wait_ended(job)
            self.assertEqual(ended["ExitCode"], "2:0", self.output(job))
            last = self.output(job).splitlines()[-1]
            self.assertIn("E-DATA-IMAGE", last)
            self.assertIn(sample.rsplit("/", 1)[1], last)
            self.assertNotIn("attempt=2", self.output(job))

    def test_a_rank_terminated_elsewhere_is_a_lost_rank(self):
        job = self.job(ONE_A_NODE)
        pid = self.wait_restarted(job, 1)[1]
        host = self.cluster.node_of(pid)
        os.kill(pid, signal.SIGTERM)
        self.check_goes_on(job, 1)
        incident, = self.incidents()
        self.assertEqual((incident["rank"], incident["host"]), (1, host), incident)
        self.check_losses()

    def test_nothing_stays_in_the_memory_of_any_node(self):
        job = self.job(TWO_A_NODE)
        os.kill(self.wait_restarted(job, 1)[1], signal.SIGKILL)
        self.check_goes_on(job, 1)
        for node in ("nodeA", "nodeB"):
            self.assertEqual(self.cluster.shared_memory(node), [], node)

    def test_a_warning_before_the_first_step_requeues_nothing(self):
        slow = self.fault("slow", who="worker", call="open", path="*/tiny-data/contrail.index",
                          hang="yes", switched=True).on()
        job = self.job(ONE_A_NODE)
        slow.wait_hit()
        self.cluster.run("scancel", "--batch", "--signal=USR1", job)
        ended = self.cluster.wait_for(
            job, lambda f: f["JobState"] in ENDED or f["Restarts"] != "0", 60)
        slow.off()
        self.assertEqual(ended["Restarts"], "0", self.output(job))
        self.assertIn(ended["ExitCode"], ("3:0", "4:0"), self.output(job))
        self.assertNotIn("requeued job", self.output(job))

    def test_threads_of_a_rank_have_as_many_cores(self):
        job = self.job((*ONE_A_NODE, "--cpus-per-task=2"), "--set", "launcher.threads_per_rank=0")
        for pid in self.wait_restarted(job, 1).values():
            threads = re.search(r"threads=(\d+)", self.output(job))[1]
            self.assertGreaterEqual(len(os.sched_getaffinity(pid)), int(threads))
        self.tell_job_to_end(job)


class FrozenNode(NodesTest):

    def test_a_node_that_stands_still_does_not_end_the_job(self):
        job = self.job(ONE_A_NODE, "--set", "launcher.hang_seconds=4", "--set",
                       "launcher.start_seconds=8")
        self.wait_restarted(job, 1)
        frozen = self.cluster.processes("nodeB")
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        try:
            self.wait_output(job, "attempt=5 ", 240, unless="gave_up")
        finally:
            for pid in frozen:
                try:
                    os.kill(pid, signal.SIGCONT)
                except ProcessLookupError:
                    pass
        # The frozen time may have made it give up; where it has not, it goes on.
        self.cluster.wait_for(job, lambda fields: fields["JobState"] in ENDED or
                              "contrail: recovered " in self.output(job), 240)
        if self.cluster.job(job)["JobState"] in ENDED:
            self.assertIn("nodeB", self.output(job).splitlines()[-1])
        else:
            self.tell_job_to_end(job)
            self.check_losses()


if __name__ == "__main__":
    # A terminated test still ends its daemons.
    signal.signal(signal.SIGTERM, lambda *unused: sys.exit(1))
    unittest.main(verbosity=2)
