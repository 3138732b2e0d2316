#!/usr/bin/env python3
"""Times two programs in turns, both warm, and compares them pair by pair.

  pairs.py NAME --ours "COMMAND" --peer "COMMAND" [--repeat N] [--unit samples] [--per N]
           [--per-peer N] [--limit "COMMAND" --per-limit FLOP] [--same TOLERANCE] [--pairs P]
           [--cold] [--wire NAME] [--json FILE]

Each command speaks the protocol of bench/serve.h. Every pair times `repeat` repetitions of one,
then of the other, and which goes first alternates; `--per` units are done in a repetition. Without
--repeat, so many as take the slower one about a second. The ratio is ours over the peer's rate,
by the clock; that of processor time is shown beside it, and how many cores other programs kept busy
meanwhile: where that is not near 0, the figures say little.

--same: both begin alike and do the same work, so the figures of the first repetition and of the
second, which the first one's update went into, must agree to this relative difference; otherwise
there is no row. --limit: a program that runs at a limit of this machine (bench/limits.cc) is timed
beside each pair; our operations a second are shown as a share of its rate.

--per-peer: the peer does other work, so many units a repetition (a limit of the machine); each is
then repeated for about a second. --cold: both do not fit into memory at once, so each pair starts
them anew, one after the other, and warms up with one repetition. --wire: a second row, the bytes
that a repetition sent over the loopback interface, ours over the peer's.
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
        self.first_figures = []

    def time(self, repetitions):
        begin = busy_seconds()
        self.process.stdin.write(f"{repetitions}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"pairs.py: {self.command}: ended early")
        answer = json.loads(answer)
        answer["other_cores"] = (busy_seconds() - begin - answer["cpu_seconds"]) / answer["seconds"]
        if repetitions == 1 and len(self.first_figures) < 2:
            self.first_figures.append(answer["figure"])
        return answer

    def end(self):
        self.process.stdin.close()
        if self.process.wait(timeout=60) != 0:
            sys.exit(f"pairs.py: {self.command}: failed")


def repetitions_for(program):
    """Warms up; the number that takes about a second, and how long one took."""
    program.time(1)
    seconds = program.time(1)["seconds"]
    return (max(1, round(1 / seconds)) if seconds > 0 else 1000), seconds


def fitting(ours, peer, args):
    """Repetitions of each: the same, unless they do different work."""
    found = [repetitions_for(ours), repetitions_for(peer)]
    if args.per_peer:
        return [repeat for repeat, _ in found]
    slower = max(found, key=lambda f: f[1])[0]
    return [args.repeat or slower] * 2


def check_same(args, ours, peer):
    """The relative differences of the first figures; ends where they are no figures of one work."""
    differences = [abs(a - b) / abs(b)
                   for a, b in zip(ours.first_figures, peer.first_figures)]
    if args.same and not max(differences) <= args.same:
        sys.exit(f"pairs.py: {args.name}: not the same work: figures {ours.first_figures} and "
                 f"{peer.first_figures} (--same {args.same})")
    return differences


def compare(args):
    """Repetitions, the pairs of answers (each with the limit's, or None), the first differences."""
    ours, peer = Program(args.ours), Program(args.peer)
    limit = Program(args.limit) if args.limit else None
    repeats = fitting(ours, peer, args)
    differences = check_same(args, ours, peer)
    limit_repeat = repetitions_for(limit)[0] if limit else 0
    rows = []
    for pair in range(args.pairs):
        programs = [(ours, repeats[0]), (peer, repeats[1])]
        order = programs if pair % 2 == 0 else programs[::-1]
        answer = {id(program): program.time(repeat) for program, repeat in order}
        at_limit = limit.time(limit_repeat)["seconds"] / limit_repeat if limit else None
        rows.append((answer[id(ours)], answer[id(peer)], at_limit))
    for program in filter(None, (ours, peer, limit)):
        program.end()
    return repeats, rows, differences


def compare_cold(args):
    """The same where only one fits into memory at a time."""
    programs = {}

    def run(command):
        program = programs[command] = Program(command)
        program.time(1)
        answer = program.time(args.repeat or 1)
        program.end()
        return answer
    rows = []
    for pair in range(args.pairs):
        commands = [args.ours, args.peer]
        answer = {command: run(command) for command in (commands if pair % 2 == 0 else commands[::-1])}
        rows.append((answer[args.ours], answer[args.peer], None))
    differences = check_same(args, programs[args.ours], programs[args.peer])
    return [args.repeat or 1] * 2, rows, differences


def summarise(args, repeats, rows, differences):
    per = [args.per, args.per_peer or args.per]

    def rate(side, answer):
        return repeats[side] * per[side] / answer["seconds"]
    ratios = sorted(rate(0, a) / rate(1, b) for a, b, _ in rows)
    result = {"name": args.name, "unit": args.unit + "/s", "pairs": len(rows), "repeat": repeats[0],
              "ours": statistics.median(rate(0, a) for a, _, _ in rows),
              "peer": statistics.median(rate(1, b) for _, b, _ in rows),
              "other_cores": max(0, statistics.median(x["other_cores"] for row in rows for x in row[:2])),
              "ratio": statistics.median(ratios), "ratio_min": ratios[0], "ratio_max": ratios[-1],
              "figure_ours": rows[-1][0]["figure"], "figure_peer": rows[-1][1]["figure"],
              "peak_mib_ours": rows[-1][0]["peak_mib"], "peak_mib_peer": rows[-1][1]["peak_mib"]}
    if not args.per_peer:
        result["cpu_ratio"] = statistics.median(b["cpu_seconds"] / a["cpu_seconds"]
                                                for a, b, _ in rows)
    if args.same:
        result["first_difference"] = differences[0]
        result["second_difference"] = differences[1]
    return result | activations(*rows[-1][:2]) | limit_share(args, rows, repeats[0])


def activations(ours, peer):
    """Peak memory beyond weights, gradients and moments, where both programs know those."""
    if "base_mib" not in ours or "base_mib" not in peer:
        return {}
    return {"activations_ours": ours["peak_mib"] - ours["base_mib"],
            "activations_peer": peer["peak_mib"] - peer["base_mib"],
            "arena_mib": ours["arena_mib"]}


def limit_share(args, rows, repeat):
    """Necessary operations a second beside those of the limit, pair by pair."""
    if not args.limit:
        return {}
    limits = [args.per_limit / at_limit for _, _, at_limit in rows]
    shares = [repeat * a["flop"] / a["seconds"] / limit
              for (a, _, _), limit in zip(rows, limits)]
    return {"gemm_gflops": statistics.median(limits) / 1e9, "gemm_share": statistics.median(shares)}


def summarise_wire(args, repeats, rows):
    sent = [[answer["loopback_bytes"] / repeats[side] / 1e6 for answer in answers]
            for side, answers in enumerate(list(zip(*rows))[:2])]
    ratios = sorted(a / b for a, b in zip(*sent))
    return {"name": args.wire, "unit": "MB, less is better", "pairs": len(rows),
            "ours": statistics.median(sent[0]), "peer": statistics.median(sent[1]),
            "ratio": statistics.median(ratios), "ratio_min": ratios[0], "ratio_max": ratios[-1]}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--ours", required=True)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--unit", default="samples")
    parser.add_argument("--per", type=float, default=1)
    parser.add_argument("--per-peer", type=float, default=0)
    parser.add_argument("--limit")
    parser.add_argument("--per-limit", type=float, default=0)
    parser.add_argument("--same", type=float, default=0)
    parser.add_argument("--repeat", type=int, default=0)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--wire", help="name of a second row: bytes over the loopback interface")
    parser.add_argument("--json", help="append the results to this file, one JSON value a line")
    args = parser.parse_args()
    repeats, rows, differences = compare_cold(args) if args.cold else compare(args)
    results = [summarise(args, repeats, rows, differences)]
    print("{name}: {ours:.5g} against {peer:.5g} {unit}, ratio {ratio:.3g} ({ratio_min:.3g} to "
          "{ratio_max:.3g}; of processor time {cpu_ratio}; others kept {other_cores:.2f} cores "
          "busy), {pairs} pairs of {repeat}; figures {figure_ours:.4g}, {figure_peer:.4g}; peak "
          "{peak_mib_ours:.0f}, {peak_mib_peer:.0f} MiB".format(**{"cpu_ratio": "-"} | results[0]),
          flush=True)
    if args.wire:
        results.append(summarise_wire(args, repeats, rows))
        print("{name}: {ours:.5g} against {peer:.5g} {unit}, ratio {ratio:.3g}".format(**results[1]),
              flush=True)
    if args.json:
        with open(args.json, "a") as file:
            for result in results:
                file.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
