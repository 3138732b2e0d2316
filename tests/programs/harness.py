"""Whole programs under test: running them, what they leave on disk, and a small run to try them on."""
import hashlib
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
PHOTOS = pathlib.Path("/usr/share/datasets/fashion-mnist")
PRESETS = TOP / "configs/presets"
NOBODY = 65534

CONFIG = """[run]
dir = "runs"
[model]
name = "tiny-vit"
[data]
train = ["train/pairs-{000000..000001}.tar"]
[train]
global_batch_size = 32
steps = 4
lr = 1e-3
warmup_steps = 1
[checkpoint]
every_steps = 2
[launcher]
ranks = 1
threads_per_rank = 1
"""


class Outcome:
    def __init__(self, process, seconds):
        self.code = process.returncode
        self.stdout = process.stdout
        self.stderr = process.stderr
        self.seconds = seconds

    def errors(self):
        return [line for line in self.stderr.splitlines() if re.search(r"\bE-[A-Z]+", line)]

    def __str__(self):
        return (f"exit {self.code} after {self.seconds:.2f} s\n--- stdout\n{self.stdout}"
                f"--- stderr\n{self.stderr}")


class Playground:
    """A temporary folder with a packed data set and, after train(), a run of four steps."""

    def __init__(self, bin_dir):
        self.bin = pathlib.Path(bin_dir).resolve()
        self.folder = tempfile.TemporaryDirectory(prefix="contrail-programs-")
        self.path = pathlib.Path(self.folder.name).resolve()
        self.path.chmod(0o755)
        self.write("c.toml", CONFIG)
        self.pack("train", "train", 600)
        self.pack("test", "t10k", 50)

    def write(self, name, text):
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return name

    def pack(self, out, kind, limit):
        self.done("contrail", "data", "pack", out, *self.photos(kind), "--limit", limit,
                  "--shard-samples", 300)

    @staticmethod
    def photos(kind):
        return ["--images", PHOTOS / f"{kind}-images-idx3-ubyte.gz",
                "--labels", PHOTOS / f"{kind}-labels-idx1-ubyte.gz",
                "--classes", PRESETS / "fashion_classnames.txt",
                "--templates", PRESETS / "fashion_templates.txt"]

    def train(self):
        self.done("contrail", "train", "c.toml", "--run", "runs/done")

    def run(self, program, *args, before=None, environment=None, timeout=60):
        """`before` runs in the child, before the program starts."""
        env = {"PATH": os.environ["PATH"], "HOME": str(self.path), "LC_ALL": "C.UTF-8",
               "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
               **(environment or {})}
        begin = time.monotonic()
        process = subprocess.run([str(self.bin / program), *map(str, args)], cwd=self.path, env=env,
                                 stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                 timeout=timeout, preexec_fn=before)
        return Outcome(process, time.monotonic() - begin)

    def done(self, program, *args):
        outcome = self.run(program, *args)
        if outcome.code != 0:
            raise AssertionError(f"{program} {' '.join(map(str, args))}: {outcome}")
        return outcome

    def listing(self):
        """Every path with all that a write would change."""
        found = {}
        for path in sorted(self.path.rglob("*")):
            stat = path.lstat()
            found[str(path.relative_to(self.path))] = (
                None if path.is_dir() else (stat.st_ino, stat.st_size, stat.st_mtime_ns))
        return found

    def hashes(self, folder):
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest()
                for path in sorted((self.path / folder).rglob("*")) if path.is_file()}

    def end(self):
        self.folder.cleanup()


def as_nobody():
    """For Playground.run(before=): a user to whom file permissions apply."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def disk_full_after(size):
    """For Playground.run(before=): no file can grow beyond `size` bytes; writes fail, as on a full
    disk."""
    import resource

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    return limit
