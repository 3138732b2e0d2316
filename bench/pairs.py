#!/usr/bin/env python3
"""Times two programs in turns, both warm, and compares them pair by pair.

  pairs.py NAME --ours "COMMAND" --peer "COMMAND" [--repeat N] [--unit samples] [--per N]
           [--pairs P] [--json FILE]

Each command speaks the protocol of bench/serve.h. Every pair times `repeat` repetitions of one,
then of the other, and which goes first alternates; `--per` units are done in a repetition. Without
--repeat, so many as take the slower one about a second. The ratio is ours over the peer's rate,
by the clock; that of processor time is shown beside it, and how many cores other programs kept busy
meanwhile: where that is not near 0, the figures say little.
"""
import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys


def busy_seconds():
    """Processor time that all programs of this machine have used."""
    with open("/proc/stat") as file:
        user, nice, system, _, _, irq, softirq = map(int, file.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


class Program:
    def __init__(self, command):
        self.process = subprocess.Popen(shlex.split(command), stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline().strip() != "ready":
            sys.exit(f"pairs.py: {command}: did not start")
        self.command = command

    def time(self, repetitions):
        begin = busy_seconds()
        self.process.stdin.write(f"{repetitions}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"pairs.py: {self.command}: ended early")
        answer = json.loads(answer)
        answer["other_cores"] = (busy_seconds() - begin - answer["cpu_seconds"]) / answer["seconds"]
        return answer

    def end(self):
        self.process.stdin.close()
        if self.process.wait(timeout=60) != 0:
            sys.exit(f"pairs.py: {self.command}: failed")


def repetitions_for(programs):
    """Warms both up; the number that takes the slower one a second."""
    slowest = 0
    for program in programs:
        program.time(1)
        slowest = max(slowest, program.time(1)["seconds"])
    return max(1, round(1 / slowest)) if slowest > 0 else 1000


def compare(ours, peer, repeat, pairs):
    programs = [ours, peer]
    fitting = repetitions_for(programs)
    repeat = repeat or fitting
    rows = []
    for pair in range(pairs):
        order = programs if pair % 2 == 0 else programs[::-1]
        answer = {id(program): program.time(repeat) for program in order}
        rows.append((answer[id(ours)], answer[id(peer)]))
    return repeat, rows


def summarise(name, unit, per, repeat, rows):
    def rate(answers):
        return statistics.median(repeat * per / a["seconds"] for a in answers)
    ratios = sorted(b["seconds"] / a["seconds"] for a, b in rows)
    return {"name": name, "unit": unit, "pairs": len(rows), "repeat": repeat,
            "ours": rate([a for a, _ in rows]), "peer": rate([b for _, b in rows]),
            "other_cores": max(0, statistics.median(x["other_cores"] for row in rows for x in row)),
            "cpu_ratio": statistics.median(b["cpu_seconds"] / a["cpu_seconds"] for a, b in rows),
            "ratio": statistics.median(ratios), "ratio_min": ratios[0], "ratio_max": ratios[-1],
            "figure_ours": rows[-1][0]["figure"], "figure_peer": rows[-1][1]["figure"],
            "peak_mib_ours": rows[-1][0]["peak_mib"], "peak_mib_peer": rows[-1][1]["peak_mib"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--ours", required=True)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--unit", default="samples")
    parser.add_argument("--per", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=0)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--json", help="append the result to this file, one JSON value a line")
    args = parser.parse_args()
    ours, peer = Program(args.ours), Program(args.peer)
    repeat, rows = compare(ours, peer, args.repeat, args.pairs)
    ours.end()
    peer.end()
    result = summarise(args.name, args.unit, args.per, repeat, rows)
    print("{name}: {ours:.5g} against {peer:.5g} {unit}/s, ratio {ratio:.3g} "
          "({ratio_min:.3g} to {ratio_max:.3g}; of processor time {cpu_ratio:.3g}; others kept {other_cores:.2f} cores busy), {pairs} pairs of {repeat}; "
          "figures {figure_ours:.4g}, {figure_peer:.4g}; "
          "peak {peak_mib_ours:.0f}, {peak_mib_peer:.0f} MiB".format(**result), flush=True)
    if args.json:
        with open(args.json, "a") as file:
            file.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
