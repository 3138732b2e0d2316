"""The launcher itself: killed, asked to stop, started twice, with a full disk, with bad data."""

import json
import os
import shutil
import signal
import subprocess
import time
import unittest

from tiny_run import CONTRAIL, TinyRunTest, alive, packed_data


class LauncherFaults(TinyRunTest):
    ranks = 2

    def test_killed_launcher_takes_its_ranks_along_and_resume_works(self):
        run = self.train()
        words = run.wait_step(13, self.ranks)
        run.wait_committed(1)
        pids = [word["pid"] for word in words.values()]
        second = subprocess.run([CONTRAIL, "resume", f"{self.dir}/run"], capture_output=True,
                                text=True, timeout=60)
        self.assertEqual(second.returncode, 2, second.stderr)
        self.assertIn("E-RUN-BUSY", second.stderr)

        killed = time.monotonic()
        run.process.kill()
        while any(alive(pid) for pid in pids):
            self.assertLess(time.monotonic() - killed, 20)
            time.sleep(0.02)
        again = self.resume()
        again.wait_text("resumed step=")
        self.assertRegex(again.text(), "from_step=[1-9][0-9]*0")
        end = self.tell_to_end(again)
        self.train_to(end, run="whole")
        self.check_same_losses("run", "whole", least=end)
        self.check_nothing_left()

    def test_a_request_to_stop_saves_the_very_step(self):
        for name in ("SIGTERM", "SIGINT", "SIGUSR1"):
            with self.subTest(signal=name):
                run = self.train(run=name)
                run.wait_step(3, self.ranks)
                run.process.send_signal(getattr(signal, name))
                self.assertEqual(run.wait(30), 3, run.text())
                summary = self.summary(name)
                self.assertEqual(summary["state"], "stopped")
                newest = max(os.listdir(f"{self.dir}/{name}/checkpoints"))
                self.assertEqual(newest, f"step_{summary['steps']:08d}")
                self.assertEqual(self.incidents(name), [])

    def test_interrupted_twice_ends_at_once(self):
        run = self.train()
        words = run.wait_step(12, self.ranks)
        os.kill(words[1]["pid"], signal.SIGSTOP)  # nothing will be saved any more
        run.process.send_signal(signal.SIGINT)
        run.wait_text("stopping signal=INT")
        self.assertIsNone(run.process.poll(), run.text())
        run.process.send_signal(signal.SIGINT)
        self.assertEqual(run.wait(5), 3, run.text())
        self.assertFalse(any(alive(word["pid"]) for word in words.values()))

    def test_a_full_disk_ends_in_words_and_the_older_checkpoint_stays(self):
        # A small tmpfs in a mount namespace of its own holds two checkpoints and a bit.
        reference = self.train("--set", "train.steps=10", run="size")
        self.assertEqual(reference.wait(), 0, reference.text())
        bytes_each = sum(os.path.getsize(os.path.join(folder, name))
                         for folder, _, names in os.walk(f"{self.dir}/size/checkpoints")
                         for name in names)
        size = int(1.6 * bytes_each) + (1 << 20)
        disk = f"{self.dir}/disk"
        os.mkdir(disk)
        script = f"""
mount -t tmpfs -o size={size} none {disk} || exit 99
{CONTRAIL} train {self.config} --run {disk}/run --set train.steps=40 --set checkpoint.keep_last=2 \
    --set launcher.outage_minutes=0.01 2>{self.dir}/full.log
echo "first $?"
{CONTRAIL} checkpoint list {disk}/run --json
{CONTRAIL} checkpoint verify {disk}/run >/dev/null && echo verified
mount -o remount,size=1g {disk}
{CONTRAIL} resume {disk}/run 2>{self.dir}/resumed.log
echo "second $?"
"""
        done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True,
                              timeout=180)
        if "unshare failed" in done.stderr or done.returncode == 99:
            self.skipTest(f"no mount namespace for this user: {done.stderr}")
        with open(f"{self.dir}/full.log") as f:
            log = f.read()
        lines = done.stdout.splitlines()
        self.assertEqual(lines[0], "first 4", log + done.stderr)
        self.assertIn("No space left on device", log.splitlines()[-1], log)
        self.assertIn("verified", lines, done.stdout)
        steps = [entry["step"] for entry in json.loads("\n".join(lines[1:lines.index("verified")]))]
        self.assertIn(10, steps)
        with open(f"{self.dir}/resumed.log") as f:
            self.assertEqual(lines[-1], "second 0", f.read())

    def test_evaluated_at_the_end_and_again_by_a_resume_with_other_ranks(self):
        self.config = self.write_config("config.toml", steps=20)
        run = self.train("--set", f"eval.zero_shot={packed_data()}")
        self.assertEqual(run.wait(), 0, run.text())
        with open(f"{self.dir}/run/eval/zero_shot_step_00000020.json") as f:
            result = json.load(f)
        self.assertEqual(result["samples"], 1000)
        self.assertEqual(self.summary()["eval"]["zero_shot"], result)
        self.assertRegex(run.text(), r"contrail: evaluation zero_shot .*ensemble.top1=0\.\d+")
        loss = self.summary()["final_loss"]

        again = self.resume("--ranks", "4")
        self.assertEqual(again.wait(), 0, again.text())
        self.assertIn("attempt=2 ranks=4 threads=1 from_step=20", again.text())
        self.assertEqual(self.summary()["final_loss"], loss)
        self.assertEqual(self.summary()["eval"]["zero_shot"]["ensemble"], result["ensemble"])

    def test_back_to_an_older_step_sets_the_newer_ones_aside(self):
        self.config = self.write_config("config.toml", steps=30)
        run = self.train()
        self.assertEqual(run.wait(), 0, run.text())
        losses = self.losses()
        missing = subprocess.run([CONTRAIL, "resume", f"{self.dir}/run", "--from", "7"],
                                 capture_output=True, text=True, timeout=10)
        self.assertEqual(missing.returncode, 2)
        self.assertIn("committed: 30, 20, 10", missing.stderr)
        again = self.resume("--from", "10")
        self.assertEqual(again.wait(), 0, again.text())
        self.assertIn("resumed step=11", again.text())
        self.assertEqual(sorted(os.listdir(f"{self.dir}/run/superseded/attempt_2")),
                         ["step_00000020", "step_00000030"])
        self.assertEqual(self.losses(), losses)

    def test_a_mistake_only_the_ranks_can_find_exits_2_and_leaves_nothing(self):
        torn = f"{self.dir}/torn"
        shutil.copytree(packed_data(), torn)
        for name in os.listdir(torn):
            if name.endswith(".index"):
                os.remove(f"{torn}/{name}")
        with open(f"{torn}/pairs-000001.tar", "r+b") as f:
            f.seek(3)  # in the first header
            f.write(b"X")
        self.config = self.write_config("torn.toml", data=torn)
        run = self.train()
        self.assertEqual(run.wait(30), 2, run.text())
        last = run.text().splitlines()[-1]
        self.assertIn("E-DATA-TAR", last)
        self.assertIn("pairs-000001.tar", last)
        self.assertFalse(os.path.exists(f"{self.dir}/run"), os.listdir(self.dir))

    def test_mistakes_are_told_within_a_second_and_write_nothing(self):
        before = sorted(os.listdir(self.dir))
        for args, expected in (
                (["--ranks", "0"], "E-RANKS"),
                (["--ranks", "7"], "use --ranks 8"),
                (["--ranks", "64"], "use --ranks 32"),
                (["--set", "train.lrr=1"], "did you mean 'train.lr'"),
                (["--set", "train.lr=nan"], "E-CONFIG-RANGE"),
                (["--set", "data.train=none.tar"], "E-DATA-MISSING"),
                (["--set", "launcher.mpirun=nompirun"], "E-MPIRUN-MISSING")):
            begin = time.monotonic()
            done = subprocess.run([CONTRAIL, "train", self.config, "--run", f"{self.dir}/run",
                                   *args], capture_output=True, text=True, timeout=30)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(expected, done.stderr)
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
            self.assertEqual(done.stdout, "")
            self.assertLess(time.monotonic() - begin, 2)
        self.assertEqual(sorted(os.listdir(self.dir)), before)


if __name__ == "__main__":
    unittest.main(verbosity=2)
