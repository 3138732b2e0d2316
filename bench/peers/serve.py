"""The peer's side of a pair: the same protocol as bench/serve.h."""
import json
import pathlib
import sys
import time


def loopback_bytes():
    for line in open("/proc/self/net/dev"):
        name, _, counts = line.partition(":")
        if name.strip() == "lo":
            return int(counts.split()[0])
    return 0


def status_mib(field):
    for line in open("/proc/self/status"):
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    return 0


class Alone:
    """How one process works: see ranks.py for several."""
    speaks = True

    def agree(self, number):
        return number

    def total(self, values):
        return values


def serve(work, team=Alone(), beyond_ready=False, **more):
    """work(repetitions) -> a figure that shows that the work was done; more: further figures."""
    resident = 0
    if beyond_ready:  # the peak starts here
        pathlib.Path("/proc/self/clear_refs").write_text("5")
        resident = status_mib("VmRSS:")
    if team.speaks:
        print("ready", flush=True)
    while True:
        repetitions = team.agree(int(sys.stdin.readline() or 0) if team.speaks else 0)
        if repetitions == 0:
            return
        begin, cpu_begin, wire_begin = time.monotonic(), time.process_time(), loopback_bytes()
        figure = work(repetitions)
        seconds, cpu_seconds = time.monotonic() - begin, time.process_time() - cpu_begin
        wire = loopback_bytes() - wire_begin
        peak = status_mib("VmHWM:") - resident
        cpu_seconds, peak = team.total([cpu_seconds, peak])
        if team.speaks:
            print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds,
                              "figure": float(figure), "peak_mib": peak,
                              "loopback_bytes": wire, **more}), flush=True)
