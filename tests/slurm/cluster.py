"""A Slurm cluster of its own for a test: a controller and two nodes, each in its own namespaces.

Every node has its own process ids, mounts (with a /dev/shm of its own), network, host name and
System V memory, as real nodes have; they share nothing but the file system. The network is a bridge
inside the controller's network namespace. The host's Slurm, munge and network are not touched, and
leaving the context ends every process with its namespace.
"""

import os
import shutil
import subprocess
import tempfile
import time

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scontrol", "srun", "scancel",
            "ip", "unshare", "nsenter")
NODES = ("nodeA", "nodeB")
ADDRESSES = {"control": "10.77.21.1", "nodeA": "10.77.21.11", "nodeB": "10.77.21.12"}
UNSHARE = ("unshare", "--mount", "--uts", "--net", "--ipc", "--pid", "--fork", "--kill-child",
           "--mount-proc")

# Process 1 of a member: sets the member up and reaps what its daemons leave. $1 is its name, $2 the
# cluster's directory, $3 the shell line that runs its daemons.
MEMBER = """
set -e
hostname "$1"
mount --make-rprivate /
mount -t tmpfs tmpfs /dev/shm
mount --bind "$2/hosts" /etc/hosts
ip link set lo up
mkdir "$2/$1.up"
until [ -e "$2/$1.linked" ]; do sleep 0.05; done
eval "$3"
exit $?
"""


def missing_programs():
    """Names of what is not installed (daemons are looked for in sbin too)."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


def namespaces_refused():
    """Why this user may not have such nodes; empty where it may."""
    done = subprocess.run([*UNSHARE, "sh", "-ec", "mount -t tmpfs tmpfs /dev/shm; ip link add one "
                           "type veth peer name two; ip link add three type bridge"],
                          capture_output=True, text=True, timeout=20)
    return done.stderr.strip() if done.returncode != 0 else ""


class Cluster:
    def __init__(self, requeue_wait=6):
        # Short: munge's socket path must fit into 108 bytes.
        self.dir = tempfile.mkdtemp(prefix="contrail-slurm-", dir="/tmp")
        self.requeue_wait = requeue_wait
        self.members = {}
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
        for name in ("munge", "state", *(f"spool-{node}" for node in NODES)):
            os.mkdir(f"{self.dir}/{name}", 0o755)
        with open(f"{self.dir}/munge/key", "wb") as f:
            f.write(os.urandom(128))
        os.chmod(f"{self.dir}/munge/key", 0o600)
        with open(f"{self.dir}/hosts", "w") as f:
            f.write("127.0.0.1 localhost\n")
            f.writelines(f"{address} {name}\n" for name, address in ADDRESSES.items())
        self._write_config()
        munge = f"{self.dir}/munge"
        self._member("control", f"""
ip link add bridge type bridge
ip link set bridge up
ip address add {ADDRESSES["control"]}/24 dev bridge
munged --foreground --force --socket={munge}/socket --key-file={munge}/key --pid-file={munge}/pid \
  --log-file={munge}/log --seed-file={munge}/seed &
until [ -e {munge}/socket ]; do sleep 0.05; done
slurmctld -D""")
        self._linked("control")
        for node in NODES:
            self._member(node, f"""
until ip link show ethernet >/dev/null 2>&1; do sleep 0.05; done
ip address add {ADDRESSES[node]}/24 dev ethernet
ip link set ethernet up
slurmd -D -N {node}""")
            self.run("ip", "link", "add", node, "type", "veth", "peer", "name", "ethernet", "netns",
                     str(self.members[node].pid))
            self.run("ip", "link", "set", node, "master", "bridge", "up")
            self._linked(node)
        self._wait(lambda: self._out("sinfo", "-h", "-t", "idle", "-o", "%D").strip() == "2", 30,
                   "two idle nodes")

    def _write_config(self):
        munge = f"{self.dir}/munge"
        nodes = "".join(f"NodeName={node} NodeAddr={ADDRESSES[node]} CPUs={os.cpu_count()} "
                        "State=UNKNOWN\n" for node in NODES)
        user = subprocess.check_output(["id", "-un"], text=True).strip()
        with open(f"{self.dir}/slurm.conf", "w") as f:
            f.write(f"""ClusterName=contrailtest
SlurmctldHost=control({ADDRESSES["control"]})
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

    def _member(self, name, daemons):
        """Starts a member, up to where it waits for its link."""
        with open(f"{self.dir}/{name}.out", "wb") as log:
            self.members[name] = subprocess.Popen(
                [*UNSHARE, "bash", "-c", MEMBER, "member", name, self.dir, daemons], env=self.env,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self._wait(lambda: os.path.exists(f"{self.dir}/{name}.up"), 10, name)

    def _linked(self, name):
        with open(f"{self.dir}/{name}.linked", "w"):
            pass

    def inside(self, member):
        """The words before a command that is to run on a member (process ids stay the host's)."""
        return ["nsenter", "-t", str(self.members[member].pid), "-m", "-u", "-n", "-i"]

    def node_of(self, pid):
        """The node a process of the host's process ids is on, None for the host itself."""
        try:
            where = os.readlink(f"/proc/{pid}/ns/uts")
        except OSError:  # gone, or not ours to look at
            return None
        return next((node for node in NODES
                     if os.readlink(f"/proc/{self.members[node].pid}/ns/uts") == where), None)

    def processes(self, node):
        """Host's process ids of everything on the node but its daemons and process 1."""
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{name}/comm") as f:
                    command = f.read().strip()
                if self.node_of(name) == node and command not in ("unshare", "bash", "slurmd"):
                    found.append(int(name))
            except (FileNotFoundError, ProcessLookupError):
                continue
        return found

    def shared_memory(self, node):
        """Names in the node's own /dev/shm."""
        done = subprocess.run([*self.inside(node), "ls", "/dev/shm"], capture_output=True,
                              text=True, check=True, timeout=10)
        return sorted(done.stdout.split())

    def _wait(self, ready, seconds, what):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for name, member in self.members.items():
                if member.poll() is not None:
                    raise RuntimeError(f"{name} ended ({member.returncode})\n{self.logs()}")
            if ready():
                return
            time.sleep(0.1)
        raise RuntimeError(f"no {what} after {seconds} s\n{self.logs()}")

    def run(self, *argv):
        """A command on the controller."""
        return subprocess.run([*self.inside("control"), *argv], env=self.env, capture_output=True,
                              text=True, timeout=30)

    def _out(self, *argv):
        return self.run(*argv).stdout

    def logs(self):
        out = []
        for name in sorted(os.listdir(self.dir)):
            if name.endswith((".out", ".log")):
                with open(f"{self.dir}/{name}", errors="replace") as f:
                    out.append(f"--- {name}\n" + "".join(f.readlines()[-15:]))
        return "\n".join(out)

    def sbatch(self, *args, cwd, env=None):
        """Submits and returns the job id."""
        done = subprocess.run(
            [*self.inside("control"), "sbatch", "--parsable", f"--chdir={cwd}", *args],
            env={**self.env, **(env or {})}, capture_output=True, text=True, timeout=30)
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

    def stop(self):
        if all(name in self.members and self.members[name].poll() is None for name in ADDRESSES):
            for job in self._out("squeue", "-h", "-o", "%i").split():
                self._out("scancel", "-f", "--signal=KILL", job)
                self._out("scancel", job)
            end = time.monotonic() + 15
            while self._out("squeue", "-h", "-o", "%i").strip() and time.monotonic() < end:
                time.sleep(0.2)
        # With process 1 goes everything of the namespace, whatever a job left behind.
        for member in self.members.values():
            member.kill()
            member.wait()
        self.members = {}
        shutil.rmtree(self.dir, ignore_errors=True)
