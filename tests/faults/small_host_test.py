"""Hosts with too little of something: said before the start, in one line, or done without."""

import os
import resource
import subprocess
import tarfile
import unittest

from faults import CONTRAIL, FaultTest
from tiny_run import packed_data

GROUPS = "/sys/fs/cgroup"


class SmallHost(FaultTest):

    def refused(self, *command):
        """The one line of a start that is refused before anything is written."""
        done = subprocess.run([*command, CONTRAIL, "train", self.config, "--run",
                               f"{self.dir}/run"], capture_output=True, text=True, timeout=60)
        if "unshare failed" in done.stderr:
            self.skipTest(f"no namespaces for this user: {done.stderr}")
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertFalse(os.path.exists(f"{self.dir}/run"))
        lines = done.stderr.strip().splitlines()
        self.assertEqual(len(lines), 1, done.stderr)
        return lines[0]

    def test_a_small_shared_memory_is_found_before_the_start(self):
        for size in ("4m", "8m"):
            line = self.refused("unshare", "-rm", "sh", "-c",
                                f"mount -t tmpfs -o size={size} none /dev/shm && exec \"$@\"", "sh")
            self.assertRegex(line, "E-SHM: /dev/shm: .* for the progress board, .* for MPI")

    def test_too_few_open_files_are_found_before_the_start(self):
        line = self.refused("sh", "-c", "ulimit -n 24 && exec \"$@\"", "sh")
        self.assertIn("E-OPEN-FILES: ulimit -n: a process may have 24 files open", line)

    def test_few_open_files_do_for_many_shards(self):
        data = f"{self.dir}/data"
        os.mkdir(data)
        samples = {}
        with tarfile.open(f"{packed_data()}/pairs-000000.tar") as tar:
            for member in tar:
                key = member.name.split(".")[0]
                samples.setdefault(key, []).append((member, tar.extractfile(member).read()))
        for number, members in enumerate(list(samples.values())[:400]):
            with tarfile.open(f"{data}/s-{number:06d}.tar", "w") as tar:
                for member, content in members:
                    member.size = len(content)
                    with open(f"{self.dir}/part", "wb") as part:
                        part.write(content)
                    with open(f"{self.dir}/part", "rb") as part:
                        tar.addfile(member, part)
        shards = f'data.train=["{data}/s-{{000000..000399}}.tar"]'
        few = (256, 256)
        run = self.train("--set", shards, "--set", "train.steps=12",
                         preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, few))
        self.assertEqual(run.wait(), 0, run.text())

    def group(self, limit):
        """A control group inside ours with that limit, or the test is skipped."""
        with open("/proc/self/cgroup") as f:
            lines = [line.strip().split(":", 2) for line in f]
        own = {controllers: path for _, controllers, path in lines}
        if "memory" in own:
            folder, name = f"{GROUPS}/memory{own['memory']}", "memory.limit_in_bytes"
        else:
            folder, name = f"{GROUPS}{own.get('', '/')}", "memory.max"
        folder = f"{folder}/contrail_test_{os.getpid()}"
        try:
            os.mkdir(folder)
            self.addCleanup(os.rmdir, folder)
            with open(f"{folder}/{name}", "w") as f:
                f.write(str(limit))
            if os.path.exists(f"{folder}/memory.swappiness"):
                with open(f"{folder}/memory.swappiness", "w") as f:
                    f.write("0")
        except OSError as error:
            self.skipTest(f"no control group of our own: {error}")
        return folder

    def test_a_kill_by_the_memory_limit_is_named(self):
        folder = self.group(100 << 20)
        run = self.train("--set", "launcher.max_restarts=0",
                         command=("sh", "-c", f"echo $$ >{folder}/cgroup.procs && exec \"$@\"", "sh"))
        self.assertEqual(run.wait(), 4, run.text())
        self.assertRegex(run.text(), "signal 9.*the kernel killed it for want of memory, the limit "
                         "here is 10[0-9]")
        self.assertIn("want of memory", self.incidents()[-1]["detail"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
