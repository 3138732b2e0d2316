"""Peers that are a job of several ranks: torch.distributed with gloo over the loopback interface.

The program started by bench/pairs.py is rank 0; it starts the others, which run the same script
with the same arguments.
"""
import ctypes
import os
import signal
import socket
import subprocess
import sys

import torch
import torch.distributed as dist

PR_SET_PDEATHSIG = 1


class Team:
    def __init__(self, ranks):
        self.others = []
        if "RANK" not in os.environ:
            self.start_others(ranks)
        else:  # ends with rank 0, however that ends
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        dist.init_process_group("gloo")
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.speaks = self.rank == 0

    def start_others(self, ranks):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE=str(ranks),
                          GLOO_SOCKET_IFNAME="lo")
        for rank in range(1, ranks):
            self.others.append(subprocess.Popen([sys.executable, *sys.argv],
                                                env=os.environ | {"RANK": str(rank)},
                                                stdin=subprocess.DEVNULL))
        os.environ["RANK"] = "0"

    def agree(self, number):
        tensor = torch.tensor([number])
        dist.broadcast(tensor, 0)
        return tensor.item()

    def total(self, values):
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor)
        return tensor.tolist()

    def end(self):
        """The program's end: gloo's threads sometimes keep an interpreter from finding its own."""
        dist.barrier()
        sys.stdout.flush()
        if not self.speaks:
            os._exit(0)
        failed = [other for other in self.others if other.wait(timeout=60) != 0]
        os._exit(1 if failed else 0)


# open_clip's ways to take the loss over ranks (open_clip_train/params.py): without options, and
# with --local-loss --gather-with-grad.
LOSS_OPTIONS = {"default": {}, "exact": dict(local_loss=True, gather_with_grad=True)}
