"""One owner: of several launchers one trains, whatever the clocks say, on the data it began with."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import time
import unittest

from faults import BIN, FaultTest, Rules, alive, step_name
from other_host import OtherHost
from tiny_run import packed_data

# A host of its own as far as one can tell: name, /dev/shm and (by a rule) locks nobody shares.
HOST = ("unshare", "-rmu", "sh", "-c",
        "hostname $0 && mount -t tmpfs none /dev/shm && exec \"$@\"")


def namespaces_missing():
    done = subprocess.run([*HOST, "probe", "true"], capture_output=True, text=True, timeout=10)
    return done.stderr.strip() if done.returncode != 0 else ""


class Ownership(FaultTest):

    def on_host(self, name):
        """`contrail resume` on a host of its own, and what holds it before it writes its lease."""
        rules = Rules(f"{self.dir}/{name}")
        rules.add("locks", who="launcher", call="flock", skip="yes")
        gate = rules.add("gate", who="launcher", call="open", path="*/run/lease.json.*", count=1,
                         hang="yes", switched=True).on()
        return self.resume(command=[*HOST, name], env=rules.environment()), gate

    def test_of_two_launchers_that_start_together_one_trains(self):
        missing = namespaces_missing()
        if missing:
            self.skipTest(f"no namespaces for this user: {missing}")
        self.stopped_at(12)
        # Both have read the lease of before when the first of them writes its own.
        (a, gate_a), (b, gate_b) = self.on_host("host-a"), self.on_host("host-b")
        self.wait_any(lambda: gate_a.hits(), a)
        self.wait_any(lambda: gate_b.hits(), b)
        gate_a.off()
        self.wait_any(lambda: "started" in a.text(), a)
        gate_b.off()
        self.wait_any(lambda: b.process.poll() is not None, a, 90)
        refused, trains = (b, a) if b.process.poll() is not None else (a, b)
        texts = f"{a.text()}\n{b.text()}"
        self.assertIn(refused.wait(1), (2, 4), texts)
        self.assertRegex(refused.text(), "E-RUN-BUSY|E-FENCED")
        trains.wait_text("resumed step=")
        self.tell_to_end(trains)
        texts = f"{a.text()}\n{b.text()}"
        attempts = re.findall(r"^contrail: started .*attempt=(\d+)", texts, re.M)
        self.assertEqual(len(attempts), len(set(attempts)), texts)
        self.assertEqual(self.view()["trained_again_steps"], 0, texts)
        self.check_losses()

    @staticmethod
    def wait_any(condition, run, seconds=20):
        """Until it is true, the program has ended, or it took another way."""
        end = time.monotonic() + seconds
        while not condition() and (run is None or run.process.poll() is None) and time.monotonic() < end:
            time.sleep(0.02)

    def test_a_dead_lease_is_waited_for_and_then_taken_whatever_its_clock(self):
        # Two runs at once: half a minute each.
        runs = []
        for name, ahead in (("chained", -5), ("ahead", 86400)):
            self.stopped_at(12, run=name)
            OtherHost(f"{self.dir}/{name}", ahead).write(host="elsewhere")
            runs.append((name, self.resume(run=name)))
        begin = time.monotonic()
        for name, run in runs:
            with self.subTest(lease=name):
                run.wait_text("resumed step=", begin + 75 - time.monotonic())
                self.tell_to_end(run)
                self.check_losses(name)

    def test_a_lease_that_changes_keeps_others_off_whatever_its_clock(self):
        self.stopped_at(12)
        other = OtherHost(f"{self.dir}/run", clock_ahead=-600)
        self.addCleanup(other.stop)
        other.keep(host="elsewhere")
        run = self.resume()
        self.assertEqual(run.wait(60), 2, run.text())
        self.assertIn("E-RUN-BUSY", run.text())
        self.assertNotIn("started", run.text())

    def test_a_launcher_that_lost_its_run_writes_nothing_into_it(self):
        self.stopped_at(12)

        def files():
            texts = {}
            for name in ("summary.json", "incidents.jsonl"):
                path = f"{self.dir}/run/{name}"
                texts[name] = pathlib.Path(path).read_text() if os.path.exists(path) else None
            return texts
        before = files()
        # Slow enough that a save comes while the other one has the run.
        rules = Rules(f"{self.dir}/slow")
        rules.add("slow", who="worker", call="fsync", path="*/checkpoints/*", delay=0.3)
        run = self.resume("--set", "train.steps=4000", "--set", "checkpoint.every_steps=1",
                          env=rules.environment())
        run.wait_text("resumed")
        other = OtherHost(f"{self.dir}/run")
        self.addCleanup(other.stop)
        other.keep(host="elsewhere", attempt=99)
        self.assertEqual(run.wait(60), 2, run.text())
        self.assertIn("E-RUN-BUSY", run.text().splitlines()[-1])
        self.assertEqual(files(), before)

    def bare(self, *args):
        """A bare mpirun on the run, its output to a file."""
        log = open(f"{self.dir}/bare.{time.monotonic_ns()}", "w+")
        self.addCleanup(log.close)
        process = subprocess.Popen(
            ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "2",
             f"{BIN}/contrail-worker", "train", *args], stdin=subprocess.DEVNULL, stdout=log,
            stderr=log)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process, log

    @staticmethod
    def said(log):
        log.seek(0)
        return log.read()

    def test_a_bare_mpirun_keeps_off_a_run_that_is_held(self):
        self.stopped_at(12)
        attempts = sorted(os.listdir(f"{self.dir}/run/attempts"))
        other = OtherHost(f"{self.dir}/run")
        self.addCleanup(other.stop)
        other.keep(host="elsewhere")
        process, log = self.bare("--run", f"{self.dir}/run")
        self.assertNotEqual(process.wait(90), 0)
        refusals = [line for line in self.said(log).splitlines() if "E-RUN-BUSY" in line]
        self.assertEqual(len(refusals), 1, self.said(log))
        self.assertIn("a launcher on elsewhere (pid", refusals[0])
        self.assertEqual(sorted(os.listdir(f"{self.dir}/run/attempts")), attempts)

    def test_a_bare_mpirun_holds_its_run(self):
        run = f"{self.dir}/run"
        process, log = self.bare(self.config, "--run", run, "--set", "train.steps=100000")
        end = time.monotonic() + 60
        while not os.path.exists(f"{run}/lease.json") and time.monotonic() < end:
            time.sleep(0.02)
        with open(f"{run}/lease.json") as f:
            lease = json.load(f)
        self.assertEqual(lease["state"], "running")
        late = self.resume()
        self.assertEqual(late.wait(60), 2, late.text())
        self.assertIn("E-RUN-BUSY", late.text())
        second, second_log = self.bare("--run", run)
        self.assertNotEqual(second.wait(60), 0)
        self.assertIn("E-RUN-BUSY", self.said(second_log))
        self.assertIsNone(process.poll(), self.said(log))
        process.kill()  # mpirun takes its ranks along
        process.wait()
        self.wait_any(lambda: not alive(lease["pid"]), None)
        # The dead one's lock says that nobody has it: no waiting.
        begin = time.monotonic()
        after = self.resume("--set", "train.steps=3")
        after.wait_text("started")
        self.assertLess(time.monotonic() - begin, 20)
        self.assertIn("attempt=2", after.text())

    def test_consent_to_other_data_belongs_to_one_command(self):
        data = f"{self.dir}/data"
        shutil.copytree(packed_data(), data)
        shards = f'data.train=["{data}/pairs-{{000000..000001}}.tar"]'
        self.stopped_at(12, "--set", shards)
        for ending in (".tar", ".tar.index"):
            shutil.copy(f"{data}/pairs-000000{ending}", f"{data}/pairs-000001{ending}")
        again = self.resume()
        self.assertEqual(again.wait(), 2, again.text())
        self.assertIn("E-RESUME-DATA", again.text().splitlines()[-1])
        agreed = self.resume("--set", shards)
        agreed.wait_text("resumed step=")
        self.tell_to_end(agreed)

    def test_what_was_agreed_to_stays_agreed_to(self):
        data = f"{self.dir}/data"
        shutil.copytree(packed_data(), data)
        shards = f'data.train=["{data}/pairs-{{000000..000001}}.tar"]'
        self.stopped_at(12)
        for ending in (".tar", ".tar.index"):
            shutil.copy(f"{data}/pairs-000000{ending}", f"{data}/pairs-000001{ending}")
        run = self.resume("--set", shards)
        run.wait_step(22, self.ranks)
        self.kill_rank(run, 1)  # the restart is of the same command
        run.wait_recovered()
        last = self.tell_to_end(run)
        self.assertIn(step_name(last), os.listdir(f"{self.dir}/run/checkpoints"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
