"""Data does not end a run: broken pictures, a torn shard and an unreadable read are replaced, and
whatever else happens, each place of the order is taken once."""

import json
import os
import shutil
import subprocess
import unittest

from faults import CONTRAIL, FaultTest
from tiny_run import packed_data

PERMISSIVE = ("--set", "data.max_replaced=0.05")


class ReplaceFaults(FaultTest):
    steps = 60  # to the end, which the limits and the proof are about

    def broken_data(self, every=97, torn=0):
        """A copy of the data: every so-and-so-many-th picture is none, the last shard is cut."""
        data = f"{self.dir}/data"
        shutil.copytree(packed_data(), data)
        broken = 0
        for name in sorted(os.listdir(data)):
            path = f"{data}/{name}"
            if name.endswith(".index"):
                os.remove(path)
                continue
            if not name.endswith(".tar"):
                continue
            with open(path, "rb") as f:
                parts = f.read().split(b"\x89PNG")
            junk = [b"\x89PNG" if i % every else b"JUNK" for i in range(1, len(parts))]
            broken += junk.count(b"JUNK")
            with open(path, "wb") as f:
                f.write(parts[0] + b"".join(mark + part for mark, part in zip(junk, parts[1:])))
        if torn:
            path = f"{data}/pairs-000001.tar"
            os.truncate(path, os.path.getsize(path) - torn)
        self.config = self.write_config("broken.toml", data=data)
        return broken

    def replaced(self, run="run"):
        """The lines of replaced.jsonl by place."""
        with open(f"{self.dir}/{run}/replaced.jsonl") as f:
            lines = [json.loads(line) for line in f]
        places = [(line["epoch"], line["position"]) for line in lines]
        self.assertEqual(len(set(places)), len(places), "a place was written down twice")
        return {place: (line["key"], line["with_key"], line["why"])
                for place, line in zip(places, lines)}

    def audit(self, run="run", code=0):
        done = subprocess.run([CONTRAIL, "data", "audit", f"{self.dir}/{run}", "--json"],
                              capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return json.loads(done.stdout)

    def check_audit(self, steps, run="run"):
        audit = self.audit(run)
        self.assertTrue(audit["proven"])
        self.assertEqual((audit["first_step"], audit["last_step"]), (1, steps), audit)
        self.assertEqual(audit["samples"], steps * 32)
        return audit

    def test_three_kills_change_nothing_of_what_is_replaced(self):
        self.broken_data(torn=100_000)
        straight = self.train(*PERMISSIVE, run="straight")
        self.assertEqual(straight.wait(), 0, straight.text())
        self.assertRegex(straight.text(), r"contrail: replaced samples=\d+ newest=pairs-")
        with open(f"{self.dir}/straight/logs/attempt_1/node_0.log") as f:
            log = f.read()
        self.assertIn("cannot be used, and", log)
        self.assertIn("pairs-000001.tar at byte", log)
        run = self.train(*PERMISSIVE)
        for step, rank in ((13, 1), (24, 0), (34, 1)):
            run.wait_step(step, self.ranks)
            self.kill_rank(run, rank)
            run.wait_text(f"restarting attempt={run.attempt() + 1}")
        self.assertEqual(run.wait(), 0, run.text())
        self.assertEqual(len(self.incidents()), 3, self.incidents())
        self.assertEqual(self.losses(), self.losses("straight"))
        self.assertGreater(len(self.replaced()), 5)
        self.assertEqual(self.replaced(), self.replaced("straight"))
        audit = self.check_audit(self.steps)
        self.assertEqual(len(audit["replaced"]), len(self.replaced()))
        self.assertGreater(audit["attempts"], 1)
        self.assertEqual(self.summary()["replaced"], len(self.replaced()))

    def test_a_disk_that_comes_back_changes_nothing(self):
        shutil.copytree(packed_data(), f"{self.dir}/data")
        self.config = self.write_config("config.toml", data=f"{self.dir}/data")
        # Four tries of one read of rank 1.
        disk = self.fault("disk", who="rank:1", call="pread", path="*/data/pairs-000001.tar",
                          nth=60, count=4, error="EIO", switched=True).on()
        run = self.train(*PERMISSIVE)
        disk.wait_hit(4, run=run)
        run.wait_for(lambda _: os.path.exists(f"{self.dir}/run/replaced.jsonl") and self.replaced(),
                     what="a record")
        disk.off()
        before = self.replaced()
        self.assertEqual(len(before), 1)
        self.kill_rank(run, 1)
        self.assertEqual(run.wait(), 0, run.text())
        self.assertEqual(self.replaced(), before)
        (why,) = [line[2] for line in before.values()]
        self.assertIn("E-IO", why)
        self.assertIn("pairs-000001.tar", why)
        self.check_audit(self.steps)

    def test_a_read_that_fails_for_a_moment_is_only_tried_again(self):
        self.fault("moment", who="rank:1", call="pread", path="*/pairs-000001.tar", nth=20, count=2,
                   error="ESTALE", once=f"{self.dir}/claimed")
        run = self.train()
        self.assertEqual(run.wait(), 0, run.text())
        self.assertTrue(os.path.exists(f"{self.dir}/claimed"), "the fault was met")
        self.assertFalse(os.path.exists(f"{self.dir}/run/replaced.jsonl"))
        self.check_losses()
        self.check_audit(self.steps)

    def test_too_many_stop_the_run_and_a_larger_limit_goes_on(self):
        self.broken_data(every=20)
        straight = self.train("--set", "data.max_replaced=0.5", run="straight")
        self.assertEqual(straight.wait(), 0, straight.text())
        run = self.train("--set", "data.max_replaced=0.01")
        self.assertEqual(run.wait(60), 2, run.text())
        last = run.text().splitlines()[-1]
        self.assertIn("E-DATA-REPLACED", last)
        self.assertIn("data.max_replaced", last)
        named = self.replaced()
        self.assertGreater(len(named), 10)
        self.assertIn(sorted(named.items())[0][1][0], last)
        self.assertEqual(run.attempt(), 1, run.text())
        # What was trained until then is kept, and again it stops at the same step.
        committed = self.steps_on_disk()[-1]
        self.assertGreater(committed, 0)
        again = self.resume()
        self.assertEqual(again.wait(60), 2, again.text())
        self.assertEqual(self.steps_on_disk()[-1], committed)
        self.assertEqual(self.replaced(), named)
        self.assertEqual(self.audit()["last_step"], committed)
        more = self.resume("--set", "data.max_replaced=0.5")
        self.assertEqual(more.wait(), 0, more.text())
        self.assertEqual(self.losses(), self.losses("straight"))
        self.assertEqual(self.replaced(), self.replaced("straight"))
        self.check_audit(self.steps)
        page = subprocess.run([CONTRAIL, "view", f"{self.dir}/run", "--once"], capture_output=True,
                              text=True, timeout=30).stdout
        self.assertRegex(page, r"replaced +\d+ samples, [0-9.]+ % of those seen")


if __name__ == "__main__":
    unittest.main()
