"""A bit that sticks in one rank's memory: nothing crashes, the weights of that rank are just wrong.

The test finds two rows of the token embedding that no caption uses in the worker's memory and holds
one bit of each at the wrong value. With weight_decay = 0 nothing else ever changes those rows.
"""
import glob
import time
import unittest

import h5py
import numpy as np

from tiny_run import TinyRunTest, alive

VICTIM = 2
RATE = ["--set", "train.weight_decay=0"]


def places(pid, pattern):
    """Addresses in the writable private memory of a process where the bytes stand."""
    found = []
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb") as memory:
        for line in maps:
            span, rights, _, _, inode = line.split()[:5]
            if not rights.startswith("rw") or inode != "0" or "[stack" in line:
                continue
            begin, end = (int(x, 16) for x in span.split("-"))
            try:
                memory.seek(begin)
                data = memory.read(end - begin)
            except (OSError, ValueError, OverflowError):
                continue
            at = data.find(pattern)
            while at >= 0:
                found.append(begin + at)
                at = data.find(pattern, at + 1)
    return found


class SilentFaults(TinyRunTest):

    def test_a_stuck_bit_is_found_and_its_rank_named(self):
        run = self.train(*RATE, "--set", "train.replica_check_steps=1", "--set",
                         "checkpoint.every_steps=20", "--set", "checkpoint.keep_last=50")
        run.wait_for(lambda _: glob.glob(f"{self.dir}/run/checkpoints/step_*/COMMIT"), what="a checkpoint")
        step = glob.glob(f"{self.dir}/run/checkpoints/step_*")[0]
        with h5py.File(f"{step}/index.h5") as index:
            table = index["weight/token_embedding.weight"]
            rows = [np.asarray(table[0]), np.asarray(table[-3])]  # far apart: other ranks own one
        pid = run.wait_step(1, self.ranks)[VICTIM]["pid"]
        stuck = []  # address, wrong byte
        for row in rows:
            where = places(pid, row.tobytes())
            self.assertTrue(where, "the row is in the worker's memory")
            stuck += [(address, bytes([row.tobytes()[0] ^ 4])) for address in where]
        with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
            while alive(pid):
                try:
                    for address, byte in stuck:
                        memory.seek(address)
                        memory.write(byte)
                except OSError:
                    break
                time.sleep(0.001)
        run.wait_recovered()
        end = self.tell_to_end(run)

        incident, = self.incidents()
        self.assertEqual(incident["cause"], "replica", incident)
        self.assertEqual(incident["rank"], VICTIM, incident)
        self.assertEqual(incident["action"], "restart", incident)
        self.assertIn(f"rank {VICTIM} on ", incident["detail"])
        self.assertIn("the other 3 agree", incident["detail"])

        self.train_to(end, *RATE, run="calm")  # the flawed rows are nobody's: the curve is the same
        self.check_same_losses("run", "calm", least=end)


if __name__ == "__main__":
    unittest.main(verbosity=2)
