"""The peer's side of a pair: the same protocol as bench/serve.h."""
import json
import resource
import sys
import time


def serve(work):
    """work(repetitions) -> a figure that shows that the work was done."""
    print("ready", flush=True)
    for line in sys.stdin:
        begin = time.monotonic()
        figure = work(int(line))
        seconds = time.monotonic() - begin
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "figure": float(figure), "peak_mib": peak}),
              flush=True)
