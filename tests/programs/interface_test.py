#!/usr/bin/env python3
"""What scripts and shells rely on: help, manual page, completion, version; results on stdout and all
else on stderr; with --json one JSON value on stdout and nothing else.

  interface_test.py BIN_DIR [unittest options]
"""
import json
import re
import shutil
import statistics
import subprocess
import sys
import time
import unittest

from harness import Playground


class Interface(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.at = Playground(BIN)
        cls.addClassCleanup(cls.at.end)
        cls.at.train()

    def run_ok(self, *words, program="contrail"):
        outcome = self.at.run(program, *words)
        self.assertEqual(outcome.code, 0, outcome)
        return outcome

    def silent(self, *words, program="contrail"):
        outcome = self.run_ok(*words, program=program)
        self.assertEqual(outcome.stderr, "", outcome)
        return outcome.stdout

    def commands(self):
        names = re.findall(r"^  ([a-z][a-z -]*?)  +\S", self.silent("--help"), re.M)
        self.assertIn("train", names)
        self.assertIn("eval zero-shot", names)
        self.assertGreaterEqual(len(names), 15)
        return names

    def test_help_names_every_command_and_each_has_its_own(self):
        for name in self.commands():
            for words in (["help", *name.split()], [*name.split(), "--help"]):
                text = self.silent(*words)
                self.assertIn(f"contrail {name}", text)
                self.assertGreater(len(text.splitlines()), 2, text)

    def test_no_command_shows_the_overview(self):
        self.assertEqual(self.silent(), self.silent("--help"))
        self.assertEqual(self.silent("-h"), self.silent("help"))

    def test_help_config_is_valid_toml(self):
        import tomllib
        table = tomllib.loads(self.silent("help", "config"))
        self.assertEqual(table["model"]["name"], "ViT-B/32")
        self.assertEqual(table["train"]["global_batch_size"], 32768)

    def test_help_starts_in_50_ms(self):
        times = []
        for _ in range(20):
            begin = time.monotonic()
            self.silent("--help")
            times.append(time.monotonic() - begin)
        # The middle of many: other tests run beside this one.
        self.assertLess(statistics.median(times), 0.05, times)

    def test_version(self):
        self.assertRegex(self.silent("version"), r"^\d+\.\d+\.\d+\n$")
        self.assertEqual(self.silent("--version"), self.silent("version"))

    def test_worker_has_help_too(self):
        text = self.silent("help", program="contrail-worker")
        self.assertIn("train", text)
        self.assertIn("eval zero-shot", text)

    def test_completion_is_a_script_that_completes(self):
        script = self.silent("completion", "bash")
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)

        def complete(*words):
            line = (f"COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; "
                    f"{function}; printf '%s\\n' \"${{COMPREPLY[@]}}\"")
            return subprocess.run(["bash", "-c", script + "\n" + line], text=True, check=True,
                                  capture_output=True).stdout.split()
        function = re.search(r"complete .*-F (\S+)", script).group(1)
        self.assertEqual(complete("contrail", "tr"), ["train"])
        self.assertIn("--ranks", complete("contrail", "train", "--"))
        self.assertIn("verify", complete("contrail", "checkpoint", "v"))

    def test_manual_page(self):
        page = self.silent("help", "--man")
        self.assertTrue(page.startswith(".TH"), page[:80])
        for name in self.commands():
            self.assertIn(name, page.replace("\\-", "-"))
        (self.at.path / "contrail.1").write_text(page)
        if shutil.which("man"):
            shown = subprocess.run(["man", "--warnings", "-l", self.at.path / "contrail.1"],
                                   capture_output=True, text=True, check=True,
                                   env={"MANWIDTH": "80", "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"})
            self.assertEqual(shown.stderr, "")
            self.assertIn("checkpoint prune", shown.stdout)

    def json_of(self, *words):
        outcome = self.run_ok(*words)
        value = json.loads(outcome.stdout)  # one value and nothing else, or it throws
        self.assertIsInstance(value, (dict, list))
        return value

    def test_json_commands_print_one_value(self):
        self.assertEqual(self.json_of("view", "runs/done", "--json")["step"], 4)
        steps = [row["step"] for row in
                 self.json_of("checkpoint", "list", "runs/done", "--json")]
        self.assertEqual(steps, [4, 2])
        shown = self.json_of("checkpoint", "show", "runs/done", "--json", "--tensors")
        self.assertEqual((shown["step"], shown["num_tensors"]), (4, len(shown["tensors"])))
        self.assertTrue(self.json_of("checkpoint", "verify", "runs/done", "--json")["ok"])
        result = self.json_of("eval", "zero-shot", "--checkpoint", "runs/done", "--dataset", "test",
                              "--json")
        self.assertEqual(result["samples"], 50)
        self.assertEqual(self.json_of("data", "check", "train", "--json")["samples"], 600)

    def test_json_of_a_damaged_checkpoint_is_json_too(self):
        shutil.copytree(self.at.path / "runs/done/checkpoints/step_00000002", self.at.path / "bad")
        shard = self.at.path / "bad/shard_00000.h5"
        shard.write_bytes(shard.read_bytes()[:-1000])
        outcome = self.at.run("contrail", "checkpoint", "verify", "bad", "--json")
        self.assertEqual(outcome.code, 2, outcome)
        self.assertFalse(json.loads(outcome.stdout)["ok"])
        self.assertEqual(len(outcome.errors()), 1, outcome)

    def test_series_is_one_object_a_line(self):
        outcome = self.run_ok("view", "runs/done", "--json", "--series", "loss")
        rows = [json.loads(line) for line in outcome.stdout.splitlines()]
        self.assertEqual([row["step"] for row in rows], [1, 2, 3, 4])
        for row in rows:
            self.assertEqual(sorted(row), ["step", "value"])
            self.assertTrue(0 < row["value"] < 10)

    def test_a_refused_json_command_leaves_stdout_empty(self):
        for words in (["view", "gone", "--json"], ["checkpoint", "list", "gone", "--json"],
                      ["data", "check", "gone.tar", "--json"]):
            outcome = self.at.run("contrail", *words)
            self.assertEqual((outcome.code, outcome.stdout), (2, ""), outcome)

    def test_progress_is_on_stderr_and_plain(self):
        outcome = self.run_ok("train", "c.toml", "--run", "runs/other", "--ranks", "2")
        self.assertEqual(outcome.stdout, "")
        self.assertIn("checkpoint step=4", outcome.stderr)
        self.assertNotIn("\x1b", outcome.stderr)
        for line in outcome.stderr.splitlines():
            self.assertTrue(line.startswith("contrail: "), line)

    def test_same_seed_same_losses(self):
        def losses(run):
            return self.run_ok("view", run, "--json", "--series", "loss").stdout
        self.run_ok("train", "c.toml", "--run", "runs/twin")
        self.assertEqual(losses("runs/twin"), losses("runs/done"))

    def test_order_prints_keys_only(self):
        lines = self.silent("data", "order", "c.toml", "--count", "5").splitlines()
        self.assertEqual(len(set(lines)), 5)
        for line in lines:
            self.assertRegex(line, r"^pairs-00000[01]\.tar/\d{6}$")


if __name__ == "__main__":
    BIN = sys.argv.pop(1)
    unittest.main()
