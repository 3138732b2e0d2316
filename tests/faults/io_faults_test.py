"""File systems that fail for a moment, fill up, or will not let go of a directory.

What cannot be told is not "there is none": a run never starts again from an older step, or from
nothing, because a question could not be answered.
"""

import os
import re
import shutil
import subprocess
import unittest

from faults import CONTRAIL, FaultTest, step_name
from other_host import OtherHost


class IoFaults(FaultTest):

    def test_a_resume_that_cannot_list_its_checkpoints_does_not_start_at_step_0(self):
        for who, error in (("launcher", "EIO"), ("rank:0", "ESTALE"), ("rank:1", "EMFILE")):
            with self.subTest(who=who, error=error):
                name = f"run-{error}"
                stopped = self.stopped_at(22, run=name)
                self.fault(f"list-{error}", who=who, call="opendir", path=f"*/{name}/checkpoints",
                           error=error, once=f"{self.dir}/{error}")
                again = self.goes_on(self.resume(run=name), name)
                self.assertNotIn("from_step=0", again.text())
                self.check_resumed_after(stopped, again)
                self.check_losses(name)
                self.rules.faults.clear()

    def goes_on(self, run, name="run"):
        """Until the run trains; it may refuse first, but then it says why. Returns what trained."""
        run.wait_started()
        if run.process.poll() is not None:
            self.assertEqual(run.process.returncode, 4, run.text())
            self.assertRegex(run.text(), "E-IO|E-CKPT-LOST")
            run = self.resume(run=name)
            run.wait_text("resumed step=")
        self.tell_to_end(run)
        return run

    def test_a_restart_that_cannot_read_the_commits_waits_for_them(self):
        unreadable = self.fault("commit", who="worker", call="open", path="*/COMMIT", error="EIO",
                                switched=True)
        run = self.train()
        run.wait_committed(20)
        unreadable.on()
        self.kill_rank(run, 1)
        unreadable.wait_hit(run=run)
        run.wait_for(lambda _: "restarting attempt=3" in run.text() or "resumed step" in run.text())
        unreadable.off()
        run.wait_recovered()
        self.tell_to_end(run)
        self.assertGreater(self.resumed(run)[-1], 20, run.text())
        self.check_losses()
        self.assertIn("E-IO", " ".join(i["detail"] for i in self.incidents()))

    def test_a_start_that_meets_a_stale_directory_tries_again(self):
        stopped = self.stopped_at(12)
        self.fault("claim", who="launcher", call="mkdir", path="*/attempts/attempt_*",
                   error="ESTALE", once=f"{self.dir}/claimed")
        again = self.goes_on(self.resume())
        self.assertIn("Stale file handle; tried again in", again.text())
        self.check_resumed_after(stopped, again)
        self.check_losses()

    def test_a_passing_error_while_loading_is_no_damage(self):
        self.fault("pread", who="worker", call="pread", path="*/checkpoints/step_*.h5", error="EIO",
                   once=f"{self.dir}/claimed")
        run = self.train()
        run.wait_committed(20)
        self.kill_rank(run, 1)
        run.wait_recovered()
        self.tell_to_end(run)
        self.assertTrue(os.path.exists(f"{self.dir}/claimed"), "the fault was met")
        self.assertGreater(self.resumed(run)[-1], 20, run.text())
        self.check_losses()

    def test_a_checkpoint_that_is_gone_is_said_to_be_lost(self):
        stopped = self.stopped_at(22)
        shutil.move(self.step_dir(stopped), f"{self.dir}/kept")
        again = self.resume("--set", "launcher.max_restarts=1")
        again.wait_for(lambda _: "E-CKPT-LOST" in again.text() or "resumed" in again.text())
        self.assertNotIn("resumed", again.text())
        shutil.move(f"{self.dir}/kept", self.step_dir(stopped))
        again = self.goes_on(again)
        self.check_resumed_after(stopped, again)
        self.check_losses()

    def test_a_damaged_step_is_passed_over_loudly_and_the_next_one_stays(self):
        # Two that are newer than the last step whose commit was seen may have come meanwhile.
        first = self.train("--set", "checkpoint.keep_last=50")
        first.wait_committed(30)
        first.process.kill()
        first.wait()
        for step in self.steps_on_disk():
            if step >= 20:
                self.damage(step)
        again = self.resume("--set", "checkpoint.keep_last=2", "--set",
                            "checkpoint.every_steps=1000000")
        again.wait_step(12, self.ranks)
        again.process.terminate()
        self.assertEqual(again.wait(), 3, again.text())
        stopped = self.summary()["steps"]
        self.assertLess(stopped, 20, again.text())
        self.assertIn(stopped, self.steps_on_disk(), "what was saved last is not pruned")
        self.assertIn("checkpoint_damaged", [i["cause"] for i in self.incidents()])
        self.assertRegex(again.text(), r"(?m)^contrail: checkpoint_damaged step=30 .*E-CKPT-CORRUPT")
        shown = subprocess.run([CONTRAIL, "view", f"{self.dir}/run", "--once"], timeout=30,
                               capture_output=True, text=True, check=True).stdout
        self.assertIn("a damaged checkpoint", shown)
        last = self.goes_on(self.resume("--set", "checkpoint.every_steps=10"))
        self.check_resumed_after(stopped, last)
        self.check_losses()

    def test_back_to_a_damaged_step_is_refused_by_every_attempt(self):
        self.stopped_at(32, "--set", "checkpoint.keep_last=5")
        self.damage(20)
        again = self.resume("--from", "20")
        self.assertNotEqual(again.wait(), 0, again.text())
        self.assertEqual(self.resumed(again), [], again.text())
        self.assertIn("E-CKPT-CORRUPT", again.text().splitlines()[-1])

    def test_a_lease_that_is_replaced_while_it_is_read_still_keeps_others_off(self):
        self.stopped_at(12)
        other = OtherHost(f"{self.dir}/run")
        self.addCleanup(other.stop)
        # The reader has asked for the size, and not yet read.
        slow = self.fault("lease", who="launcher", call="open", path="*/run/lease.json", delay=1,
                          once=f"{self.dir}/claimed")
        other.keep(host="a-host-with-quite-a-long-name")
        again = self.resume()
        slow.wait_hit()
        other.keep(host="x")
        self.assertEqual(again.wait(60), 2, again.text())
        self.assertIn("E-RUN-BUSY", again.text())

    def test_a_kill_in_a_save_does_not_fill_the_disk_for_good(self):
        self.fault("killed", who="rank:1", call="fsync", path="*/step_00000020.tmp*", kill=9,
                   once=f"{self.dir}/claimed")
        self.check_small_disk()

    def test_a_kill_between_a_commit_and_its_pruning_does_not_fill_the_disk(self):
        # Before newest.json names the step, and after.
        for at, call, path in (("naming", "open", "*/newest.json.tmp-*"),
                               ("pruning", "rename", "*/step_*.deleting")):
            with self.subTest(at=at):
                self.fault(at, who="rank:0", call=call, path=path, nth=2 if at == "naming" else 1,
                           kill=9, once=f"{self.dir}/claimed")
                self.check_small_disk()
                os.remove(f"{self.dir}/claimed")
                self.rules.faults.clear()

    def check_small_disk(self):
        """A run on a disk for 2.6 checkpoints, of which one is kept, ends well."""
        self.steps = 40
        self.config = self.write_config("config.toml")
        size = int(2.6 * self.undisturbed()["bytes"])
        done, log = self.on_a_small_disk(size, f"""
{CONTRAIL} train {self.config} --run {{disk}}/run --set checkpoint.keep_last=1 2>{{log}}
echo "exit $?"
ls {{disk}}/run/checkpoints
""")
        self.assertTrue(os.path.exists(f"{self.dir}/claimed"), log)
        self.assertEqual(done[0], "exit 0", log)
        self.assertEqual(done[1:], ["newest.json", step_name(self.steps)], log)

    def on_a_small_disk(self, size, script):
        """Runs the script with {disk} of so many bytes; returns its lines and what {log} holds."""
        disk, log = f"{self.dir}/disk", f"{self.dir}/disk.log"
        os.makedirs(disk, exist_ok=True)
        script = f"mount -t tmpfs -o size={size} none {disk} || exit 99\n" + \
            script.format(disk=disk, log=log)
        done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True,
                              text=True, timeout=180, env=self.rules.environment())
        if "unshare failed" in done.stderr or done.returncode == 99:
            self.skipTest(f"no mount namespace for this user: {done.stderr}")
        with open(log) as f:
            return done.stdout.splitlines(), f.read()

    def test_one_step_that_cannot_be_removed_holds_up_no_other(self):
        self.fault("busy", who="worker", call="unlink,rmdir", path="*/step_00000010*",
                   error="EBUSY")
        run = self.train("--set", "checkpoint.keep_last=1", "--set", "train.steps=40")
        self.assertEqual(run.wait(), 0, run.text())
        left = os.listdir(f"{self.dir}/run/checkpoints")
        stuck = [n for n in left if n.startswith((step_name(20), step_name(30)))]
        self.assertEqual(stuck, [], left)
        self.assertIn(step_name(40), left)
        told = re.findall(r"(?m)^contrail: checkpoint_stays .*", run.text())
        self.assertIn(len(told), (1, 2), run.text())  # under its own name, and under the new one
        self.assertIn("Device or resource busy", told[0])
        self.assertEqual({i["cause"] for i in self.incidents()}, {"checkpoint_stays"})

    def test_an_old_step_that_cannot_be_read_holds_up_nothing(self):
        stopped = self.stopped_at(32, "--set", "checkpoint.keep_last=5")
        with open(self.step_dir(5), "w") as f:  # whatever it is, it is no step that can be read
            f.write("moved to the archive")
        back = self.resume("--from", "20", "--set", "checkpoint.keep_last=1")
        back.wait_step(32, self.ranks)
        back.process.terminate()
        self.assertEqual(back.wait(), 3, back.text())
        again = self.resume()
        again.wait_committed(40)
        last = self.tell_to_end(again)
        self.check_losses()
        self.assertEqual(self.steps_on_disk(), [5, last])
        self.assertRegex(again.text(), "checkpoint_stays .*step_00000005.*Not a directory")
        self.assertGreater(stopped, 20)

    def test_a_link_in_the_place_of_a_step_is_never_followed(self):
        self.stopped_at(12)
        archive = f"{self.dir}/archive"
        shutil.move(self.step_dir(10), archive)
        os.symlink(archive, self.step_dir(10))
        files = sorted(os.listdir(archive))
        run = self.resume("--set", "checkpoint.keep_last=1")
        run.wait_committed(40)
        self.tell_to_end(run)
        self.assertEqual(sorted(os.listdir(archive)), files)
        self.assertFalse(os.path.lexists(self.step_dir(20)), "pruning went on")
        self.check_losses()


if __name__ == "__main__":
    unittest.main(verbosity=2)
