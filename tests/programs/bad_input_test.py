#!/usr/bin/env python3
"""Bad input, given to the real programs: one line that says what, where and what to do; exit 2; soon;
nothing half-written; an earlier run left as it was.

  bad_input_test.py BIN_DIR [unittest options]
"""
import shutil
import sys
import unittest

from harness import CONFIG, Playground, as_nobody, disk_full_after

SOON = 5  # seconds; alone on the machine everything here takes less than 2

# name, command line, id, words of the message
CASES = [
    ("no_command_by_that_name", "trian c.toml", "E-CLI-COMMAND", ["trian", "'train'"]),
    ("no_such_option", "train c.toml --rank 2", "E-CLI-OPTION", ["--rank", "--ranks"]),
    ("option_without_value", "train c.toml --ranks", "E-CLI-VALUE", ["--ranks"]),
    ("option_value_is_no_number", "train c.toml --ranks two", "E-CLI-VALUE", ["--ranks", "two"]),
    ("argument_missing", "train", "E-CLI-ARGS", ["CONFIG.toml"]),
    ("argument_too_many", "train c.toml d.toml", "E-CLI-ARGS", ["d.toml"]),
    ("help_on_nothing", "help trainn", "E-CLI-COMMAND", ["trainn", "train"]),

    ("config_missing", "train nowhere.toml", "E-CONFIG-FILE", ["nowhere.toml", "No such file"]),
    ("config_is_a_folder", "train train", "E-CONFIG-FILE", ["train", "directory"]),
    ("set_without_equals", "train c.toml --set train.lr", "E-CONFIG-SET", ["--set train.lr"]),
    ("set_misspelt", "train c.toml --set train.stepz=3", "E-CONFIG-KEY", ["train.stepz", "steps"]),
    ("set_nan", "train c.toml --set train.lr=nan", "E-CONFIG-RANGE", ["train.lr", "nan", "> 0"]),
    ("set_negative", "train c.toml --set train.steps=-3", "E-CONFIG-RANGE", ["train.steps", "-3"]),
    ("set_ill_typed", "train c.toml --set train.steps=many", "E-CONFIG-TYPE", ["train.steps", "many"]),
    ("set_epochs_too", "train c.toml --set train.epochs=1", "E-CONFIG-LENGTH", ["epochs", "steps"]),
    ("no_such_choice", "train c.toml --set train.loss=clap", "E-CONFIG-CHOICE", ["clap", "clip"]),
    ("model_misspelt", "train c.toml --set model.name=ViT-B32", "E-MODEL-NAME",
     ["ViT-B32", "ViT-B/32"]),
    ("micro_batch_does_not_divide", "train c.toml --set train.micro_batch_size=5", "E-MICRO-BATCH",
     ["5", "32"]),

    ("ranks_zero", "train c.toml --ranks 0", "E-RANKS", ["0 ranks", "--ranks 1"]),
    ("ranks_negative", "train c.toml --ranks -1", "E-RANKS", ["-1 ranks", "--ranks 1"]),
    ("ranks_too_many", "train c.toml --ranks 100000", "E-RANKS", ["100000", "32", "--ranks 32"]),
    ("ranks_do_not_divide", "train c.toml --ranks 3", "E-RANKS", ["3 ranks", "--ranks "]),
    ("mpirun_missing", "train c.toml --set launcher.mpirun=mpirum", "E-MPIRUN-MISSING", ["mpirum"]),

    ("data_missing", "train c.toml --set data.train=gone-{0..3}.tar", "E-DATA-MISSING",
     ["gone-0.tar", "4 of 4"]),
    ("data_too_small", "train c.toml --set train.global_batch_size=1024", "E-DATA-SMALL",
     ["600", "1024"]),
    ("data_damaged", "train c.toml --set data.train=damaged.tar", "E-DATA-TAR",
     ["damaged.tar", "byte"]),
    ("data_is_no_tar", "train c.toml --set data.train=c.toml", "E-DATA-TAR", ["c.toml"]),
    ("data_damaged_check", "data check damaged.tar", "E-DATA-TAR", ["damaged.tar", "byte"]),
    ("data_torn_index", "data index torn.tar", "E-DATA-TAR", ["torn.tar", "byte"]),
    ("image_undecodable", "train c.toml --set data.train=undecodable.tar", "E-DATA-IMAGE",
     ["undecodable.tar/0", "neither a JPEG nor a PNG"]),
    ("order_of_missing_data", "data order c.toml --set data.train=gone.tar", "E-DATA-MISSING",
     ["gone.tar"]),
    ("order_negative_epoch", "data order c.toml --epoch -1", "E-CLI-VALUE", ["--epoch", "-1"]),

    ("run_exists", "train c.toml --run runs/done", "E-RUN-EXISTS", ["runs/done", "resume"]),
    ("run_is_a_file", "train c.toml --run c.toml", "E-RUN-EXISTS", ["c.toml"]),
    ("resume_missing", "resume runs/gone", "E-RUN-MISSING", ["runs/gone"]),
    ("resume_no_run", "resume train", "E-RUN-MISSING", ["train", "config.toml"]),
    ("resume_from_no_step", "resume runs/done --from 3", "E-CKPT-MISSING", ["step 3", "4", "2"]),

    ("init_missing", "train c.toml --set model.init=gone", "E-CKPT-MISSING", ["gone"]),
    ("init_of_other_activation",
     "train c.toml --set model.init=runs/done --set model.activation=gelu", "E-CKPT-MODEL",
     ["gelu", "quick_gelu"]),
    ("checkpoint_missing", "checkpoint list gone", "E-CKPT-MISSING", ["gone"]),
    ("checkpoint_of_nothing", "checkpoint show train", "E-CKPT-MISSING", ["train"]),
    ("checkpoint_keep_none", "checkpoint prune runs/done --keep 0", "E-CLI-VALUE", ["--keep", "0"]),
    ("eval_uncommitted", "eval zero-shot --checkpoint uncommitted --dataset test",
     "E-CKPT-MISSING", ["uncommitted", "no committed checkpoint"]),
    ("eval_no_checkpoint", "eval zero-shot --dataset test", "E-CLI-ARGS", ["--checkpoint"]),
    ("eval_data_missing", "eval zero-shot --checkpoint runs/done --dataset gone", "E-EVAL-DATASET",
     ["gone"]),
    ("eval_no_class_names", "eval zero-shot --checkpoint runs/done --dataset nameless",
     "E-EVAL-DATASET", ["classnames.txt"]),
    ("embed_over_a_file", "embed --checkpoint runs/done --texts c.toml c.toml", "E-OUT-EXISTS",
     ["c.toml"]),
    ("embed_into_nowhere", "embed --checkpoint runs/done --texts c.toml gone/out.h5", "E-OUT-DIR",
     ["gone"]),
    ("embed_texts_missing", "embed --checkpoint runs/done --texts gone.txt out.h5", "E-EMBED-TEXTS",
     ["gone.txt"]),

    ("view_missing", "view gone --once", "E-VIEW-RUN", ["gone"]),
    ("view_no_run", "view train --json", "E-VIEW-RUN", ["train"]),
    ("view_no_series", "view runs/done --json --series los", "E-VIEW-SERIES", ["los", "loss"]),
]

# name, line of the config replaced, by what, id, words
CONFIGS = [
    ("key_misspelt", "lr = 1e-3", "lrr = 1e-3", "E-CONFIG-KEY", ["bad.toml:10", "train.lrr"]),
    ("key_in_other_table", "[checkpoint]", "[checkpoint]\nlr = 1", "E-CONFIG-KEY",
     ["bad.toml:13", "belongs to [train]"]),
    ("table_misspelt", "[launcher]", "[launchr]", "E-CONFIG-KEY", ["launchr"]),
    ("key_missing", 'train = ["train/pairs-{000000..000001}.tar"]', "", "E-CONFIG-MISSING",
     ["bad.toml", "data.train"]),
    ("length_missing", "steps = 4", "", "E-CONFIG-LENGTH", ["bad.toml", "train.steps"]),
    ("number_as_text", "lr = 1e-3", 'lr = "fast"', "E-CONFIG-TYPE", ["bad.toml:10", "train.lr", "fast"]),
    ("flag_as_number", "steps = 4", "steps = true", "E-CONFIG-TYPE", ["bad.toml:9", "train.steps"]),
    ("fraction_of_a_step", "steps = 4", "steps = 4.5", "E-CONFIG-TYPE", ["bad.toml:9", "4.5"]),
    ("nan", "lr = 1e-3", "lr = nan", "E-CONFIG-RANGE", ["bad.toml:10", "train.lr", "nan"]),
    ("infinite", "lr = 1e-3", "lr = inf", "E-CONFIG-RANGE", ["bad.toml:10", "train.lr"]),
    ("negative", "global_batch_size = 32", "global_batch_size = -32", "E-CONFIG-RANGE",
     ["bad.toml:8", "train.global_batch_size", ">= 1"]),
    ("not_toml", "lr = 1e-3", "lr = = 1e-3", "E-CONFIG-TOML", ["bad.toml:10"]),
    ("key_twice", "lr = 1e-3", "lr = 1e-3\nlr = 2e-3", "E-CONFIG-TOML", ["bad.toml:11", "lr"]),
]


class BadInput(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.at = Playground(BIN)
        cls.addClassCleanup(cls.at.end)
        cls.at.train()
        cls.prepare()
        cls.earlier = cls.at.hashes("runs/done")

    @classmethod
    def tearDownClass(cls):
        assert cls.at.hashes("runs/done") == cls.earlier, "an earlier run was modified"

    @classmethod
    def prepare(cls):
        path = cls.at.path
        tar = (path / "train/pairs-000000.tar").read_bytes()
        (path / "torn.tar").write_bytes(tar[:len(tar) * 2 // 3 // 512 * 512 + 100])
        header = tar.index(b"ustar", len(tar) // 2) - 257
        (path / "damaged.tar").write_bytes(tar[:header] + b"?" + tar[header + 1:])
        # Every picture keeps its tar header and loses its PNG signature.
        (path / "undecodable.tar").write_bytes(tar.replace(b"\x89PNG", b"JUNK"))
        step = path / "runs/done/checkpoints/step_00000002"
        shutil.copytree(step, path / "uncommitted")
        (path / "uncommitted/COMMIT").unlink()
        shutil.copytree(step, path / "corrupt")
        shard = path / "corrupt/shard_00000.h5"
        with shard.open("r+b") as file:
            file.seek(shard.stat().st_size // 8)
            byte = file.read(1)[0]
            file.seek(-1, 1)
            file.write(bytes([byte ^ 0x10]))
        shutil.copytree(path / "test", path / "nameless")
        (path / "nameless/classnames.txt").unlink()
        shutil.copytree(path / "runs/done", path / "runs/again")
        # A run whose shards were exchanged since.
        shutil.copytree(path / "runs/done", path / "runs/moved")
        resolved = path / "runs/moved/config.toml"
        resolved.write_text(resolved.read_text().replace("train/pairs-{000000..000001}.tar",
                                                         "test/pairs-000000.tar"))
        cls.at.write("runs/read-only/keep", "")
        (path / "runs/read-only").chmod(0o555)

    def refused(self, words, identity, expected, code=2, before=None):
        earlier = self.at.listing()
        outcome = self.at.run("contrail", *words, before=before)
        self.assertEqual(outcome.code, code, outcome)
        self.assertEqual(outcome.stdout, "", outcome)
        errors = outcome.errors()
        self.assertEqual(len(errors), 1, outcome)
        self.assertEqual(outcome.stderr.splitlines()[-1], errors[0], outcome)
        self.assertTrue(errors[0].startswith(f"error: {identity}: "), errors[0])
        for word in expected:
            self.assertIn(word, errors[0])
        self.assertEqual(self.at.listing(), earlier, f"written to disk: {outcome}")
        self.assertLess(outcome.seconds, SOON, outcome)

    def refused_resume(self, run, words, identity, expected):
        """Its attempt may be recorded, but what the run is stays: a later resume works."""
        def what_it_is():
            return {name: value for name, value in self.at.hashes(run).items()
                    if "/logs/" not in name and "/attempts/" not in name and "lease" not in name}
        earlier = what_it_is()
        outcome = self.at.run("contrail", "resume", run, *words)
        self.assertEqual(outcome.code, 2, outcome)
        errors = outcome.errors()
        self.assertEqual(len(errors), 1, outcome)
        self.assertTrue(errors[0].startswith(f"error: {identity}: "), errors[0])
        for word in expected:
            self.assertIn(word, errors[0])
        self.assertEqual(what_it_is(), earlier)
        self.assertLess(outcome.seconds, SOON, outcome)

    def test_resume_with_another_batch(self):
        self.refused_resume("runs/again",
                            ["--set", "train.global_batch_size=64", "--set", "train.steps=8"],
                            "E-RESUME-BATCH", ["32", "64"])

    def test_resume_with_another_batch_from_an_earlier_step(self):
        self.refused_resume("runs/again", ["--from", "2", "--set", "train.global_batch_size=64"],
                            "E-RESUME-BATCH", ["step_00000002", "32", "64"])

    def test_resume_with_other_data(self):
        self.refused_resume("runs/moved", ["--set", "train.steps=8"], "E-RESUME-DATA",
                            ["fingerprint"])

    def test_damaged_checkpoint(self):
        # Not the user's mistake: exit 75, a disk failed.
        self.refused("eval zero-shot --checkpoint corrupt --dataset test".split(),
                     "E-CKPT-CORRUPT", ["corrupt/shard_00000.h5", "checksum"], code=75)
        outcome = self.at.run("contrail", "checkpoint", "verify", "corrupt")
        self.assertEqual((outcome.code, outcome.stdout.split()), (2, ["damaged", "corrupt"]))
        self.assertEqual(len(outcome.errors()), 1, outcome)

    def test_read_only_folder(self):
        self.refused("train c.toml --run runs/read-only/new".split(), "E-IO",
                     ["runs/read-only", "Permission denied"], before=as_nobody)

    def test_full_disk_while_packing(self):
        self.refused(["data", "pack", "packed", *self.at.photos("train"), "--limit", 600], "E-IO",
                     ["packed", "File too large", "free some space"], before=disk_full_after(100_000))

    def test_full_disk_at_the_start_of_a_run(self):
        self.refused("train c.toml --run runs/new".split(), "E-IO",
                     ["runs/new", "File too large", "free some space"], before=disk_full_after(100))

    def test_full_disk_while_embedding(self):
        self.at.write("texts.txt", "a photo of a shoe\n" * 200)
        self.refused("embed --checkpoint runs/done --texts texts.txt out.h5".split(), "E-IO",
                     ["out.h5", "File too large"], before=disk_full_after(20_000))


def add(name, words, identity, expected, text=None):
    def test(self):
        if text is not None:
            self.at.write("bad.toml", text)
        self.refused(words.split(), identity, expected)
    setattr(BadInput, f"test_{name}", test)


for case in CASES:
    add(*case)
for name, line, replacement, identity, expected in CONFIGS:
    assert CONFIG.count(line + "\n") == 1, line
    add(f"config_{name}", "train bad.toml", identity, expected, CONFIG.replace(line, replacement))

if __name__ == "__main__":
    BIN = sys.argv.pop(1)
    unittest.main()
