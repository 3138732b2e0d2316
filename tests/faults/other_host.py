"""Another host that has the run, as far as this one can see: it renews lease.json."""

import json
import os
import threading
import time


class OtherHost:
    """Writes the lease every half second, as a launcher elsewhere would, until stopped."""

    def __init__(self, run, clock_ahead=0):
        self.run, self.clock_ahead = run, clock_ahead
        self.fields = None
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self._renew, daemon=True)
        self.ended = False

    def write(self, **fields):
        """The lease once, as it stands there plus these fields."""
        path = f"{self.run}/lease.json"
        lease = {"attempt": 1, "pid": 4321, "job": ""}
        if os.path.exists(path):
            with open(path) as f:
                lease = json.load(f)
        lease.update({"state": "running", "owner": "00c0ffee00c0ffee",
                      "time": time.time() + self.clock_ahead, **fields})
        with open(f"{path}.elsewhere", "w") as f:
            json.dump(lease, f)
        os.replace(f"{path}.elsewhere", path)

    def keep(self, **fields):
        """From now on renewed with these fields."""
        with self.changed:
            self.fields = fields
            self.write(**fields)
            if not self.thread.is_alive():
                self.thread.start()

    def _renew(self):
        with self.changed:
            while not self.changed.wait_for(lambda: self.ended, 0.5):
                self.write(**self.fields)

    def stop(self):
        with self.changed:
            self.ended = True
            self.changed.notify()
        if self.thread.is_alive():
            self.thread.join()
