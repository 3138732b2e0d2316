#!/usr/bin/env python3
"""What the shell around the programs does: pipes in and out, a full device, a deleted working
directory, ignored signals, variables of an ended job.

  surroundings_test.py BIN_DIR [unittest options]
"""
import os
import re
import signal
import subprocess
import sys
import unittest

from harness import CONFIG, PRESETS, Playground

BIN = None


class Surroundings(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.at = Playground(BIN)
        cls.at.train()

    @classmethod
    def tearDownClass(cls):
        cls.at.end()

    def shell(self, script, timeout=60, **variables):
        """In bash, at the playground; $BIN is where the programs are."""
        env = {"PATH": os.environ["PATH"], "HOME": str(self.at.path), "LC_ALL": "C.UTF-8",
               "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
               "BIN": str(self.at.bin), "PRESETS": str(PRESETS), **variables}
        return subprocess.run(["bash", "-c", script], cwd=self.at.path, env=env, text=True,
                              capture_output=True, stdin=subprocess.DEVNULL, timeout=timeout)

    PRINTING = ("help", "help config", "version", "view runs/done --once", "view runs/done --json",
                "data check train/pairs-000000.tar", "data order c.toml --count 3",
                "checkpoint list runs/done", "checkpoint verify runs/done", "completion bash")

    def test_a_result_that_cannot_be_printed_is_an_error(self):
        for words in self.PRINTING:
            with self.subTest(command=words):
                self.assertEqual(self.shell(f"$BIN/contrail {words}").returncode, 0)
                done = self.shell(f"$BIN/contrail {words} > /dev/full")
                self.assertEqual(done.returncode, 75, done.stderr)
                self.assertRegex(done.stderr, r"^error: E-STDOUT: .*could not be written.*\n$")
        done = self.shell("$BIN/contrail-worker help > /dev/full")
        self.assertEqual(done.returncode, 75, done.stderr)

    def test_a_reader_that_goes_away_is_no_error(self):
        for words in self.PRINTING:
            for ignored in ("", "trap '' PIPE; "):
                with self.subTest(command=words, ignored=ignored):
                    done = self.shell(f"{ignored}$BIN/contrail {words} | true; "
                                      "echo ${PIPESTATUS[0]}")
                    self.assertEqual(done.stderr, "")
                    self.assertIn(done.stdout, ("0\n", "141\n"))

    def test_a_deleted_working_directory_is_one_line(self):
        run, tar = f"{self.at.path}/runs/done", f"{self.at.path}/train/pairs-000000.tar"
        for program, words in (("contrail", f"train {self.at.path}/c.toml"),
                               ("contrail", f"resume {run}"), ("contrail", f"view {run} --once"),
                               ("contrail", f"data check {tar}"), ("contrail", "data pack here"),
                               ("contrail", f"checkpoint list {run}"),
                               ("contrail", f"embed --checkpoint {run} --images {tar} out.h5"),
                               ("contrail-worker", f"train {self.at.path}/c.toml"),
                               ("contrail-worker", f"embed --checkpoint {run} --images {tar} o")):
            with self.subTest(command=f"{program} {words}"):
                done = self.shell(f"mkdir gone && cd gone && rmdir ../gone && $BIN/{program} {words}")
                self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
                self.assertRegex(done.stderr, r"^error: E-CWD: .*\n$")

    def test_pipes_are_read(self):
        images = " ".join(str(word) for word in Playground.photos("t10k")[:4])
        lists = ("$PRESETS/fashion_classnames.txt", "$PRESETS/fashion_templates.txt")
        for out, (classes, templates) in (("of_files", lists),
                                          ("of_pipes", [f"<(cat {path})" for path in lists])):
            done = self.shell(f"$BIN/contrail data pack {out} {images} --limit 20 "
                              f"--classes {classes} --templates {templates}")
            self.assertEqual(done.returncode, 0, done.stderr)
        same = self.shell("diff -r -x '*.index' of_files of_pipes")
        self.assertEqual(same.returncode, 0, same.stdout)
        # A config's own paths are those of the current directory then.
        done = self.shell("$BIN/contrail data order <(cat c.toml) --count 3")
        self.assertEqual(done.returncode, 0, done.stderr)
        ordered = self.shell("$BIN/contrail data order c.toml --count 3").stdout
        self.assertEqual(done.stdout, ordered)
        done = self.shell("$BIN/contrail train <(cat c.toml) --run runs/piped")
        self.assertEqual(done.returncode, 0, done.stderr)
        # Long enough to come in parts, and more than a page.
        rows = "path\\tcaption\\n" + "".join(f"{i}.png\\ta thing\\n" for i in range(2000))
        (self.at.path / "rows.tsv").write_text(rows)
        done = self.shell("$BIN/contrail data pack of_table --csv "
                          "<(head -c 5000 rows.tsv; sleep 0.1; tail -c +5001 rows.tsv)")
        self.assertIn("0.png", done.stderr)  # the table was read: its first picture is missing
        done = self.shell("$BIN/contrail embed --checkpoint runs/done "
                          "--texts <(echo one; echo two) texts.h5")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_the_first_lines_of_a_run_are_true(self):
        done = self.shell("$BIN/contrail train c.toml --run runs/first")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("resumed", done.stderr)
        rate = re.search(r"^contrail: done .* samples_per_second=(\S+)", done.stderr, re.M)
        self.assertTrue(rate, done.stderr)
        self.assertGreater(float(rate.group(1)), 0)

    def test_signals_that_were_ignored_stay_ignored(self):
        # SIGHUP is nohup's, SIGINT that of a script's background jobs.
        self.at.write("long.toml", CONFIG.replace("steps = 4", "steps = 4000"))
        for ignored in (signal.SIGHUP, signal.SIGINT):
            with self.subTest(signal=ignored.name):
                run = f"runs/{ignored.name}"
                env = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1",
                       "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
                process = subprocess.Popen(
                    [self.at.bin / "contrail", "train", "long.toml", "--run", run,
                     "--set", "telemetry.status_seconds=0.1"], cwd=self.at.path, env=env, text=True,
                    stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                    preexec_fn=lambda: signal.signal(ignored, signal.SIG_IGN))
                self.addCleanup(process.stderr.close)
                self.addCleanup(process.wait)
                self.addCleanup(process.kill)
                first = self.step_in(process)
                process.send_signal(ignored)
                while self.step_in(process) <= first:  # it goes on
                    pass
                process.send_signal(signal.SIGTERM)
                rest = process.stderr.read()
                self.assertEqual(process.wait(), 3, rest)
                self.assertIn("stopping signal=TERM", rest)

    def step_in(self, process):
        """Of the next line that names one."""
        for line in process.stderr:
            found = re.search(r" step=(\d+)/", line)
            if found:
                return int(found.group(1))
        self.fail("the run has ended")

    def test_variables_of_an_ended_job_are_named(self):
        done = self.shell("$BIN/contrail train c.toml --run runs/leftover "
                          "--set launcher.max_restarts=0", SLURM_JOBID="77")
        self.assertEqual(done.returncode, 4, done.stderr)
        last = done.stderr.splitlines()[-1]
        self.assertIn("SLURM_JOBID of another job", last)
        self.assertIn("SLURM resource allocator expects to find", last)


if __name__ == "__main__":
    BIN = sys.argv.pop(1)
    unittest.main()
