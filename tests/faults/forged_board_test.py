"""What others put into /dev/shm under names that can be guessed is neither read, nor removed, nor
believed: no process whose number stands there is touched."""

import os
import shutil
import struct
import subprocess
import unittest

from tiny_run import HEADER, WORD, TinyRunTest

MAGIC = b"ctrlbrd2"
TRAINING = 2
NOBODY = 65534


def fnv1a(text):
    value = 0xcbf29ce484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001b3 & (1 << 64) - 1
    return value


class ForgedBoard(TinyRunTest):
    ranks = 2
    steps = 12

    def plant(self, stranger):
        """A board and a folder of somebody else, as the first attempt's would be called without
        what nobody can guess; the board says that the stranger is rank 0."""
        name = f"/dev/shm/contrail.{fnv1a(os.path.abspath(f'{self.dir}/run')):016x}.1"
        words = bytearray(HEADER + 2 * (WORD + 2048))
        struct.pack_into("<8sII", words, 0, MAGIC, 2, 1)
        struct.pack_into("<IiQQ", words, HEADER, TRAINING, stranger, 1, 1)
        with open(name, "wb") as f:
            f.write(words)
        self.addCleanup(os.remove, name)
        folder = f"{name}.mpi"
        os.mkdir(folder)
        self.addCleanup(shutil.rmtree, folder)
        for path in (name, folder):
            os.chmod(path, 0o777)
            os.chown(path, NOBODY, NOBODY)
        return name, folder

    @unittest.skipUnless(os.geteuid() == 0, "only root makes files of somebody else")
    def test_a_board_of_somebody_else_is_not_believed(self):
        stranger = subprocess.Popen(["sleep", "1000"])
        self.addCleanup(stranger.wait)
        self.addCleanup(stranger.kill)
        board, folder = self.plant(stranger.pid)
        with open(board, "rb") as f:
            before = f.read()
        run = self.train()
        self.assertEqual(run.wait(), 0, run.text())
        self.assertIsNone(stranger.poll())
        with open(board, "rb") as f:
            self.assertEqual(f.read(), before)
        self.assertEqual(os.listdir(folder), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
