#!/usr/bin/env python3
"""The results of bench/run.sh as a Markdown table, with the machine they were measured on.

  report.py RESULTS [--notes FILE] [--threads N] [--into PAGE]

PAGE: the part between its two marks is replaced. The notes are shown as they are.
"""
import argparse
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import re

BEGIN, END = "<!-- measured -->", "<!-- end -->"


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def machine(threads):
    cpuinfo = pathlib.Path("/proc/cpuinfo").read_text()
    name = re.search(r"model name\s*: (.*)", cpuinfo).group(1)
    family = re.search(r"cpu family\s*: (.*)", cpuinfo).group(1)
    flags = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in cpuinfo.split()]
    return (f"{datetime.date.today()}, {name} family {family} ({', '.join(flags)}), "
            f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[1]:.1f} over the last "
            f"5 minutes, {platform.system()} {platform.release().split('-')[0]}; fp32, {threads} threads; "
            f"torch {importlib.metadata.version('torch').split('+')[0]}, "
            f"open_clip {importlib.metadata.version('open_clip_torch')}.")


def table(results):
    lines = ["| what | Contrail | peer | unit | ratio, median of pairs (lowest to highest) "
             "| of processor time | of GEMM rate | first losses differ by | cores busy with others "
             "| pairs | peak MiB | activations MiB |",
             "| --- | ---: | ---: | --- | --- | ---: | --- | --- | ---: | ---: | --- | --- |"]
    for r in results:
        peak = (f"{r['peak_mib_ours']:.0f} / {r['peak_mib_peer']:.0f}" if "peak_mib_ours" in r else "")
        cpu = f"{r['cpu_ratio']:.2f}" if "cpu_ratio" in r else ""
        gemm = (f"{r['gemm_share']:.2f} of {r['gemm_gflops']:.0f} GFLOP/s" if "gemm_share" in r else "")
        same = f"{r['first_difference']:.0e}" if "first_difference" in r else ""
        kept = ""
        if "activations_ours" in r:
            kept = (f"{r['activations_ours']:.0f} (planned {r['arena_mib']:.0f}) / "
                    f"{r['activations_peer']:.0f} = "
                    f"{r['activations_ours'] / r['activations_peer']:.2f}")
        other = f"{r['other_cores']:.2f}" if "other_cores" in r else ""
        lines.append(f"| {r['name']} | {number(r['ours'])} | {number(r['peer'])} | {r['unit']} | "
                     f"**{r['ratio']:.2f}** ({r['ratio_min']:.2f} to {r['ratio_max']:.2f}) | "
                     f"{cpu} | {gemm} | {same} | {other} | {r['pairs']} | {peak} | {kept} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("--notes", type=pathlib.Path)
    parser.add_argument("--threads", default="2")
    parser.add_argument("--into", type=pathlib.Path)
    args = parser.parse_args()
    results = [json.loads(line) for line in args.results.read_text().splitlines()]
    text = f"{machine(args.threads)}\n\n{table(results)}"
    notes = args.notes.read_text().strip() if args.notes else ""
    if notes:
        text += f"\n\n```\n{notes}\n```"
    if not args.into:
        print(text)
        return
    page = args.into.read_text()
    begin, end = page.index(BEGIN) + len(BEGIN), page.index(END)
    args.into.write_text(page[:begin] + f"\n{text}\n" + page[end:])


if __name__ == "__main__":
    main()
