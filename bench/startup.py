#!/usr/bin/env python3
"""Time until a program has said its help, beside importing open_clip.

  startup.py BIN_DIR [--json FILE]
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time


def seconds(command):
    begin = time.monotonic()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bin_dir", type=pathlib.Path)
    parser.add_argument("--json")
    args = parser.parse_args()
    peer = [sys.executable, "-c", "import open_clip"]
    for program, runs in (("contrail", 200), ("contrail-worker", 20)):
        ours = [args.bin_dir / program, "--help"]
        seconds(ours), seconds(peer)
        pairs = [(statistics.median(seconds(ours) for _ in range(runs // 5)), seconds(peer))
                 for _ in range(5)]
        ratios = sorted(b / a for a, b in pairs)
        result = {"name": f"start of `{program} --help`", "unit": "starts/s", "pairs": 5,
                  "ours": 1 / statistics.median(a for a, _ in pairs),
                  "peer": 1 / statistics.median(b for _, b in pairs),
                  "ratio": statistics.median(ratios), "ratio_min": ratios[0],
                  "ratio_max": ratios[-1], "peer_name": "import open_clip"}
        print("{name}: {:.1f} ms against {:.0f} ms, {runs} runs".format(
            1000 / result["ours"], 1000 / result["peer"], runs=runs, **result))
        if args.json:
            with open(args.json, "a") as file:
                file.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
