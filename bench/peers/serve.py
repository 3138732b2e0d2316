"""The peer's side of a pair: the same protocol as bench/serve.h."""
import json
import resource
import sys
import time


def serve(work):
    """work(repetitions) -> a figure that shows that the work was done."""
    print("ready", flush=True)
    for line in sys.stdin:
        begin, cpu_begin = time.monotonic(), time.process_time()
        figure = work(int(line))
        seconds, cpu_seconds = time.monotonic() - begin, time.process_time() - cpu_begin
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "figure": float(figure),
                          "peak_mib": peak}), flush=True)
