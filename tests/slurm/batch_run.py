"""Jobs of the batch scripts under a real Slurm of two nodes; see cluster.py."""

import os
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "faults"))

from cluster import Cluster, missing_programs, namespaces_refused  # noqa: E402
from faults import CONTRAIL, FaultTest  # noqa: E402
from tiny_run import SOURCE  # noqa: E402

TRAIN = f"{SOURCE}/slurm/train.sbatch"
RESUME = f"{SOURCE}/slurm/resume.sbatch"
TCP = ("--set", 'launcher.mpirun_args=["--mca", "btl", "self,tcp"]')
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED")


def workers(run, attempt):
    """rank -> process id (the host's) of an attempt, whichever node it is on."""
    pids = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline") as f:
                words = f.read().split("\0")
            if not words[0].endswith("contrail-worker") or run not in words or \
                    words[words.index("--attempt") + 1] != str(attempt):
                continue
            with open(f"/proc/{name}/environ") as f:
                ranks = [v.split("=")[1] for v in f.read().split("\0")
                         if v.startswith("OMPI_COMM_WORLD_RANK=")]
            pids[int(ranks[0])] = int(name)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return pids


class BatchTest(FaultTest):
    ranks = 2

    @classmethod
    def setUpClass(cls):
        missing = missing_programs()
        if missing:
            raise unittest.SkipTest(f"Slurm is not installed: no {', '.join(missing)} "
                                    "(packages slurmctld, slurmd, slurm-client, munge)")
        refused = namespaces_refused()
        if refused:
            raise unittest.SkipTest(f"no namespaces for nodes: {refused}")
        cls.cluster = Cluster()
        cls.cluster.__enter__()
        cls.addClassCleanup(cls.cluster.stop)

    def submit(self, *args):
        env = self.rules.environment() if self.rules.faults else {}
        return self.cluster.sbatch(*args, cwd=self.dir, env={**env, "CONTRAIL": CONTRAIL})

    def output(self, job):
        try:
            with open(f"{self.dir}/slurm-{job}.out") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def wait_output(self, job, text, seconds=90, unless=None):
        """Until the job has said it; fails at once when it ended, or said the other."""
        end = time.monotonic() + seconds
        while text not in self.output(job):
            state = self.cluster.job(job).get("JobState")
            if time.monotonic() > end or state in ENDED or (unless and unless in self.output(job)):
                self.fail(f"no '{text}' in job {job} ({state})\n{self.output(job)}\n"
                          f"{self.cluster.logs()}")
            time.sleep(0.1)

    def wait_ended(self, job, seconds=150):
        return self.cluster.wait_for(job, lambda fields: fields["JobState"] in ENDED, seconds)

    def tell_job_to_end(self, job):
        """SIGTERM to the launcher, which the script has become: a checkpoint of the step, exit 3."""
        self.cluster.run("scancel", "--batch", "--signal=TERM", job)
        self.assertEqual(self.wait_ended(job)["ExitCode"], "3:0", self.output(job))
        self.assertEqual(self.summary()["state"], "stopped", self.output(job))

    def wait_recovered(self, job, times=1):
        """Until so many restarts have made a step that is new."""
        end = time.monotonic() + 120
        while self.output(job).count("contrail: recovered ") < times:
            state = self.cluster.job(job).get("JobState")
            if time.monotonic() > end or state in ENDED:
                self.fail(f"not recovered ({state})\n{self.output(job)}\n{self.cluster.logs()}")
            time.sleep(0.1)

    def wait_restarted(self, job, attempt):
        """Until that attempt has committed a step; returns its workers."""
        self.wait_output(job, f"attempt={attempt} ")
        end = time.monotonic() + 90
        while not self.committed_by(job, attempt):
            state = self.cluster.job(job).get("JobState")
            if time.monotonic() > end or state in ENDED:
                self.fail(f"no checkpoint of attempt {attempt} ({state})\n{self.output(job)}")
            time.sleep(0.1)
        return workers(f"{self.dir}/run", attempt)

    def committed_by(self, job, attempt):
        said = self.output(job).split("contrail: started ")
        return len(said) > attempt and "checkpoint step=" in said[attempt]
