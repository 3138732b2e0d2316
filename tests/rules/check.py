#!/usr/bin/env python3
"""Rules of the tree that a compiler does not check. Prints every breach, exits 1 on any.

1. Folder dependencies: which folder may include which (docs/architecture.md).
2. Third-party headers: torch, MPI, NCCL, CUDA and protobuf only where they belong.
3. Messages: every id used in the code has its row in docs/troubleshooting.md, and the other way.
4. The environment is read in one file per boundary.
5. docs/config.md holds the table that the program prints.
6. Every config key is read by something outside configs/: a key that does nothing is a trap.
"""
import pathlib
import re
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]

MAY_INCLUDE = {
    "common": {"common"},
    "configs": {"common", "configs"},
    "data": {"common", "configs", "data"},
    "model": {"common", "configs", "model"},
    "checkpoint": {"common", "configs", "checkpoint"},
    "monitoring": {"common", "configs", "monitoring"},
    "slurm": {"common", "configs", "slurm"},
    "eval": {"common", "configs", "data", "model", "checkpoint", "eval"},
    "worker": {"common", "configs", "data", "model", "checkpoint", "monitoring", "eval", "worker"},
    "launcher": {"common", "configs", "data", "checkpoint", "monitoring", "slurm", "launcher"},
}
TORCH = re.compile(r"<(ATen|c10|torch)/")
MPI = re.compile(r"<mpi\.h>")
CUDA = re.compile(r"<(cuda|nccl|cudnn|cublas)[^>]*>")
PROTOBUF = re.compile(r"\.pb\.h|<google/protobuf")
MAY_TORCH = ("model", "worker", "eval")
MAY_GETENV = {
    "common/log.cc": "NO_COLOR and TERM are the terminal's",
    "monitoring/viewer/commands.cc": "TERM and NO_COLOR are the terminal's",
    "monitoring/viewer/terminal.cc": "TERM is the terminal's",
    "launcher/child.cc": "PATH is where programs are",
    "launcher/panel.cc": "TERM is the terminal's",
    "slurm/env.cc": "what Slurm tells a job",
    "worker/omp_wait.cc": "a user's OMP_WAIT_POLICY wins",
    "worker/comm/mpi_environment.cc": "what mpirun and srun tell a rank",
}
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"][^>"]+[>"])')
ID = re.compile(r'"(E-[A-Z0-9]+(?:-[A-Z0-9]+)*)"')

breaches = []


def sources():
    for folder in MAY_INCLUDE:
        for path in sorted((TOP / folder).rglob("*")):
            if path.suffix in (".h", ".cc", ".cu", ".cuh"):
                yield folder, path


def check_includes(folder, path, text):
    where = path.relative_to(TOP)
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        name = match.group(1)
        at = f"{where}:{number}"
        first = name.strip('"<>').split("/")[0]
        if name.startswith('"') and "/" in name and first not in MAY_INCLUDE[folder]:
            if first in MAY_INCLUDE:
                breaches.append(f"{at}: {folder}/ may not include {first}/")
        if TORCH.search(name) and folder not in MAY_TORCH:
            breaches.append(f"{at}: torch in {folder}/")
        if "<torch/torch.h>" in name or "<torch/all.h>" in name:
            breaches.append(f"{at}: include ATen headers, not all of torch (11 s a file)")
        if MPI.search(name) and "worker/comm/" not in str(where):
            breaches.append(f"{at}: MPI outside worker/comm/")
        if CUDA.search(name) and "cuda" not in str(where):
            breaches.append(f"{at}: CUDA outside the CUDA part")
        if PROTOBUF.search(name) and "monitoring/wire/" not in str(where):
            breaches.append(f"{at}: protobuf outside monitoring/wire/")


def check_environment(path, text):
    where = str(path.relative_to(TOP))
    if re.search(r"\bgetenv\s*\(", text) and where not in MAY_GETENV:
        breaches.append(f"{where}: reads the environment (allowed: {', '.join(MAY_GETENV)})")


def check_messages(used):
    doc = TOP / "docs/troubleshooting.md"
    documented = set(re.findall(r"^\|\s*`?(E-[A-Z0-9-]+)`?\s*\|", doc.read_text(), re.M))
    for name in sorted(set(used) - documented):
        breaches.append(f"{used[name]}: {name} has no row in docs/troubleshooting.md")
    for name in sorted(documented - set(used)):
        breaches.append(f"docs/troubleshooting.md: {name} is used nowhere")


def code_alone(text):
    """Without comments and the insides of string literals: a message that names a key reads none."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.S)
    return re.sub(r'"(?:\\.|[^"\\\n])*"', '""', text)


def check_keys_are_read(code):
    """A key counts as read where `x.section.field` stands, or `y.field` in a file that takes the
    section under a name of its own (`= config.train;`). `code`: file -> text, configs/ left out."""
    schema = (TOP / "configs/schema.cc").read_text()
    table = re.findall(r'\b(?:Phase)?(?:Key|Choice)\(\s*"([\w.]+)",\s*(?:AT|PHASE)\(([\w.]+)\)', schema)
    if len(table) != len(re.findall(r"\b(?:AT|PHASE)\(\w+", schema)) - 2:  # the macros themselves
        breaches.append("configs/schema.cc: not every line of the key table is understood here")
    for key, member in table:
        section, field = (["phase", member] if "." not in member else member.split("."))
        whole = re.compile(rf"\b{section}\s*\.\s*{field}\b")
        alone = re.compile(rf"(\.|->)\s*{field}\b")
        taken = re.compile(rf"\b(config_?|config\(\))\s*(\.|->)\s*{section}\s*[;,)\]]|"
                           rf"decltype\(Config::{section}\)" + ("|PhaseConfig" if section == "phase" else ""))
        if not any(whole.search(text) or (taken.search(text) and alone.search(text))
                   for text in code.values()):
            breaches.append(f"configs/schema.cc: {key} is read by nothing outside configs/")


def check_config_table(program):
    printed = subprocess.run([program, "help", "config", "--markdown"], capture_output=True,
                             text=True, check=True).stdout.strip()
    if printed not in (TOP / "docs/config.md").read_text():
        breaches.append("docs/config.md: not the table of `contrail help config --markdown`")


def main():
    used, code = {}, {}
    for folder, path in sources():
        text = path.read_text()
        if folder != "configs":
            code[path] = code_alone(text)
        check_includes(folder, path, text)
        check_environment(path, text)
        for name in ID.findall(text):
            used.setdefault(name, path.relative_to(TOP))
    check_messages(used)
    check_keys_are_read(code)
    if len(sys.argv) > 1:
        check_config_table(sys.argv[1])
    for breach in breaches:
        print(breach)
    print(f"{len(breaches)} breaches of the tree's rules")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
