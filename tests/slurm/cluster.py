"""A Slurm cluster of its own for a test: munged, slurmctld and two slurmd on this host.

Everything lives in one temporary directory, on free ports, with a key and a socket of its own; the
host's Slurm and munge, if any, are not touched. Leaving the context ends every process.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scontrol", "srun", "scancel")
NODES = ("nodeA", "nodeB")


def missing_programs():
    """Names of what is not installed (daemons are looked for in sbin too)."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Cluster:
    def __init__(self, requeue_wait=6):
        # Short: munge's socket path must fit into 108 bytes.
        self.dir = tempfile.mkdtemp(prefix="contrail-slurm-", dir="/tmp")
        self.requeue_wait = requeue_wait
        self.daemons = []
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("SLURM")}
        self.env["SLURM_CONF"] = f"{self.dir}/slurm.conf"
        self.env["PATH"] = self.env.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"

    def __enter__(self):
        try:
            self._start()
            return self
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *unused):
        self.stop()

    def _start(self):
        os.chmod(self.dir, 0o755)
        for name in ("munge", "state"):
            os.mkdir(f"{self.dir}/{name}", 0o755)
        with open(f"{self.dir}/munge/key", "wb") as f:
            f.write(os.urandom(128))
        os.chmod(f"{self.dir}/munge/key", 0o600)
        munge = f"{self.dir}/munge"
        self._daemon("munged", "--foreground", "--force", f"--socket={munge}/socket",
                     f"--key-file={munge}/key", f"--pid-file={munge}/pid",
                     f"--log-file={munge}/log", f"--seed-file={munge}/seed")
        self._wait(lambda: os.path.exists(f"{munge}/socket"), 10, "munged")

        cpus = os.cpu_count()
        nodes = "".join(
            f"NodeName={node} NodeHostname={socket.gethostname()} NodeAddr=127.0.0.1 "
            f"Port={free_port()} CPUs={cpus} State=UNKNOWN\n" for node in NODES)
        user = subprocess.check_output(["id", "-un"], text=True).strip()
        with open(f"{self.dir}/slurm.conf", "w") as f:
            f.write(f"""ClusterName=contrailtest
SlurmctldHost={socket.gethostname()}(127.0.0.1)
SlurmctldPort={free_port()}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={munge}/socket,cred_expire={self.requeue_wait}
CredType=cred/munge
StateSaveLocation={self.dir}/state
SlurmdSpoolDir={self.dir}/spool-%n
SlurmctldPidFile={self.dir}/slurmctld.pid
SlurmdPidFile={self.dir}/slurmd-%n.pid
SlurmctldLogFile={self.dir}/slurmctld.log
SlurmdLogFile={self.dir}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1
SwitchType=switch/none
ReturnToService=2
JobRequeue=1
KillWait=10
{nodes}PartitionName=main Nodes={",".join(NODES)} Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
""")
        self._daemon("slurmctld", "-D")
        for node in NODES:
            os.mkdir(f"{self.dir}/spool-{node}", 0o755)
            self._daemon("slurmd", "-D", "-N", node)
        self._wait(lambda: self._out("sinfo", "-h", "-t", "idle", "-o", "%D").strip() == "2", 30,
                   "two idle nodes")

    def _daemon(self, *argv):
        name = f"{self.dir}/{os.path.basename(argv[0])}-{len(self.daemons)}.out"
        with open(name, "wb") as log:
            self.daemons.append(subprocess.Popen(argv, env=self.env, stdin=subprocess.DEVNULL,
                                                 stdout=log, stderr=log, start_new_session=True))

    def _wait(self, ready, seconds, what):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for daemon in self.daemons:
                if daemon.poll() is not None:
                    raise RuntimeError(f"{daemon.args[0]} ended ({daemon.returncode})\n{self.logs()}")
            if ready():
                return
            time.sleep(0.1)
        raise RuntimeError(f"no {what} after {seconds} s\n{self.logs()}")

    def _out(self, *argv):
        done = subprocess.run(argv, env=self.env, capture_output=True, text=True, timeout=30)
        return done.stdout

    def logs(self):
        out = []
        for name in sorted(os.listdir(self.dir)):
            if name.endswith((".out", ".log")):
                with open(f"{self.dir}/{name}", errors="replace") as f:
                    out.append(f"--- {name}\n" + "".join(f.readlines()[-15:]))
        return "\n".join(out)

    def sbatch(self, *args, cwd, env=None):
        """Submits and returns the job id."""
        done = subprocess.run(["sbatch", "--parsable", *args], env={**self.env, **(env or {})},
                              cwd=cwd, capture_output=True, text=True, timeout=30)
        if done.returncode != 0:
            raise RuntimeError(f"sbatch: {done.stderr}\n{self.logs()}")
        return done.stdout.strip()

    def job(self, job_id):
        """scontrol's fields of a job, for example JobState, ExitCode, Restarts, Reason."""
        fields = {}
        for word in self._out("scontrol", "-o", "show", "job", job_id).split():
            key, _, value = word.partition("=")
            fields.setdefault(key, value)
        return fields

    def wait_for(self, job_id, condition, seconds):
        """Waits until condition(fields) is true; returns the fields."""
        end = time.monotonic() + seconds
        while True:
            fields = self.job(job_id)
            if fields and condition(fields):
                return fields
            if time.monotonic() > end:
                raise RuntimeError(f"job {job_id} after {seconds} s: {fields}\n{self.logs()}")
            time.sleep(0.2)

    def run(self, *argv):
        return subprocess.run(argv, env=self.env, capture_output=True, text=True, timeout=30)

    def stop(self):
        # Jobs first: slurmd leaves its step daemons alone when it ends.
        if len(self.daemons) > 1:
            for job in self._out("squeue", "-h", "-o", "%i").split():
                self._out("scancel", "-f", "--signal=KILL", job)
                self._out("scancel", job)
            end = time.monotonic() + 15
            while self._out("squeue", "-h", "-o", "%i").strip() and time.monotonic() < end:
                time.sleep(0.2)
        for daemon in reversed(self.daemons):
            daemon.send_signal(signal.SIGTERM)
        for daemon in reversed(self.daemons):
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self.daemons = []
        shutil.rmtree(self.dir, ignore_errors=True)
