"""The fault library itself, preloaded into Python: every kind of call and every kind of fault."""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

from faults import Rules

# What a victim does, by the name its call has in rules.
CALLS = {
    "open": "os.open(path, os.O_RDONLY)",
    "opendir": "os.listdir(folder)",
    "readdir": "os.listdir(folder)",
    "stat": "os.stat(path)",
    "read": "os.read(fd, 10)",
    "pread": "os.pread(fd, 10, 0)",
    "write": "os.write(fd, b'0123456789')",
    "pwrite": "os.pwrite(fd, b'0123456789', 0)",
    "fsync": "os.fsync(fd)",
    "truncate": "os.ftruncate(fd, 3)",
    "rename": "os.rename(path, path + '.new')",
    "mkdir": "os.mkdir(folder + '/new')",
    "rmdir": "os.rmdir(folder + '/empty')",
    "unlink": "os.unlink(path)",
    "close": "os.close(fd)",
}
VICTIM = """
import os, sys
folder = sys.argv[1]
path = folder + '/file'
fd = os.open(path, os.O_RDWR)
for attempt in range(int(sys.argv[2])):
    try:
        print('done', {call})
    except OSError as error:
        print('failed', error.errno)
"""


class Inject(unittest.TestCase):

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="contrail-inject-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.rules = Rules(f"{self.dir}/rules")
        self.folder = f"{self.dir}/folder"
        os.makedirs(f"{self.folder}/empty")
        with open(f"{self.folder}/file", "w") as f:
            f.write("0123456789")

    def victim(self, call, times=1):
        return subprocess.Popen(
            [sys.executable, "-S", "-c", VICTIM.format(call=CALLS[call]), self.folder, str(times)],
            env=self.rules.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def lines(self, call, times=1):
        out, err = self.victim(call, times).communicate(timeout=20)
        self.assertEqual(err, "")
        return out.splitlines()

    def test_every_call_fails_with_the_errno_asked_for(self):
        for call in CALLS:
            for name in ("EIO", "ESTALE", "EMFILE", "ENOSPC", "EACCES"):
                with self.subTest(call=call, error=name):
                    self.rules.faults.clear()
                    fault = self.rules.add(f"{call}-{name}", call=call, path=f"{self.folder}*",
                                           nth=2 if call == "open" else 1, error=name)
                    self.assertEqual(self.lines(call), [f"failed {getattr(errno, name)}"])
                    self.assertEqual(fault.hits()[0]["call"], call)
                    self.assertTrue(os.path.exists(f"{self.folder}/file"), "nothing was done")

    def test_without_a_rule_for_it_every_call_is_done(self):
        for call in CALLS:
            with self.subTest(call=call):
                self.rules.add(f"other-{call}", call=call, path="/nowhere/*", error="EIO")
                self.rules.add(f"rank-{call}", call=call, who="rank:0", error="EIO")
                line, = self.lines(call)
                self.assertIn("done", line)
                shutil.rmtree(self.folder)
                self.setUp()
        self.assertEqual(self.rules.hits(), [])

    def test_the_nth_call_and_as_many_as_asked_for(self):
        fault = self.rules.add("third", call="pread", path="folder/file", nth=3, count=2,
                               error="EIO")
        failed, done = f"failed {errno.EIO}", "done b'0123456789'"
        self.assertEqual(self.lines("pread", 6), [done, done, failed, failed, done, done])
        self.assertEqual([hit["number"] for hit in fault.hits()], ["3", "4"])
        self.assertEqual(fault.hits()[0]["path"], f"{self.folder}/file")

    def test_every_so_manieth_call(self):
        fault = self.rules.add("every", call="pread", path="folder/file", nth=2, every=2, count=2,
                               error="EIO")
        failed, done = f"failed {errno.EIO}", "done b'0123456789'"
        self.assertEqual(self.lines("pread", 6), [done, failed, done, failed, done, done])
        self.assertEqual([hit["number"] for hit in fault.hits()], ["2", "4"])

    def test_the_main_thread_alone(self):
        fault = self.rules.add("main", call="pread", path="folder/file", thread="main", error="EIO")
        code = ("import os, sys, threading\n"
                "fd = os.open(sys.argv[1] + '/file', os.O_RDWR)\n"
                "side = threading.Thread(target=lambda: print(os.pread(fd, 4, 0), flush=True))\n"
                "side.start(); side.join()\n"
                "os.pread(fd, 4, 0)\n")
        done = subprocess.run([sys.executable, "-S", "-c", code, self.folder], text=True, timeout=20,
                              env=self.rules.environment(), capture_output=True)
        self.assertEqual(done.stdout, "b'0123'\n")
        self.assertIn("Errno 5", done.stderr)
        self.assertEqual(len(fault.hits()), 1)

    def test_once_is_once_in_all_processes(self):
        fault = self.rules.add("once", call="pread", path="folder/file", error="EIO",
                               once=f"{self.dir}/claimed")
        both = self.lines("pread", 3) + self.lines("pread", 3)
        self.assertEqual(len([line for line in both if "failed" in line]), 1)
        self.assertEqual(len(fault.hits()), 1)

    def test_a_switch_turns_it_on_and_off(self):
        fault = self.rules.add("switch", call="fsync", path="folder/file", error="EIO",
                               switched=True)
        self.assertEqual(self.lines("fsync"), ["done None"])
        fault.on()
        self.assertEqual(self.lines("fsync"), [f"failed {errno.EIO}"])
        fault.off()
        self.assertEqual(self.lines("fsync"), ["done None"])

    def test_a_hang_lasts_as_long_as_its_switch_is_on(self):
        fault = self.rules.add("hang", call="fsync", path="folder/file", hang="yes", switched=True)
        fault.on()
        victim = self.victim("fsync")
        fault.wait_hit()
        with self.assertRaises(subprocess.TimeoutExpired):
            victim.wait(0.3)
        fault.off()
        self.assertEqual(victim.communicate(timeout=10)[0], "done None\n")

    def test_delay_short_write_and_kill(self):
        self.rules.add("late", call="write", path="folder/file", delay=0.5, short=4)
        begin = time.monotonic()
        self.assertEqual(self.lines("write"), ["done 4"])
        self.assertGreaterEqual(time.monotonic() - begin, 0.5)
        self.rules.add("killed", call="rename", path="folder/file", kill=9)
        victim = self.victim("rename")
        self.assertEqual(victim.communicate(timeout=10)[0], "")
        self.assertEqual(victim.returncode, -9)
        self.assertTrue(os.path.exists(f"{self.folder}/file"))

    def test_a_call_that_is_skipped_says_success(self):
        self.rules.add("skipped", call="unlink", path="folder/file", skip="yes")
        self.assertEqual(self.lines("unlink"), ["done None"])
        self.assertTrue(os.path.exists(f"{self.folder}/file"))

    def test_a_rule_that_makes_no_sense_stops_the_program(self):
        for rule in ({"eror": "EIO"}, {"error": "EWHAT"}, {"hang": "yes"}, {"thread": "side"}):
            with self.subTest(rule=rule):
                self.rules.faults.clear()
                self.rules.add("wrong", call="open", **rule)
                victim = self.victim("open")
                self.assertIn("fault rules: ", victim.communicate(timeout=10)[1])
                self.assertEqual(victim.returncode, 97)


if __name__ == "__main__":
    unittest.main(verbosity=2)
