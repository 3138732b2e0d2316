#!/usr/bin/env python3
"""The release: no newer symbol versions than the oldest systems it is for have, every library in the
moved tree or the site's, its licences with it, and a training of a few steps from it.

  release_test.py SOURCE_DIR BUILD_DIR
"""
import os
import pathlib
import pwd
import re
import shutil
import subprocess
import sys
import tempfile

SOURCE, BUILD = (pathlib.Path(word).resolve() for word in sys.argv[1:3])
PHOTOS = pathlib.Path("/usr/share/datasets/fashion-mnist")
# RHEL 9: glibc 2.34, GCC 11's runtime. Ubuntu 22.04 and Debian 12 have newer ones.
NEWEST = {"GLIBC": (2, 34), "GLIBCXX": (3, 4, 29), "CXXABI": (1, 3, 13), "GCC": (7, 0, 0)}
SITE = re.compile(r"(ld-linux.*|lib(c|m|dl|rt|pthread|util|resolv|stdc\+\+|gcc_s)\.so.*)$")
# What Open MPI brings with it.
MPI = re.compile(r"lib(mpi|open-rte|open-pal|hwloc|event_core|event_pthreads|udev|z|pciaccess|"
                 r"ltdl|pmix|cap|xml2|nl-3|nl-route-3|ibverbs|ucp|uct|ucs|ucm|psm2|fabric)[-.\d]*\.so")


def fail(text):
    sys.exit(f"release_test: {text}")


def output(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True, **more)
    if done.returncode != 0:
        fail(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def elf_files(tree):
    for path in sorted(tree.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.open("rb").read(4) == b"\x7fELF":
            yield path


def newer_symbols(file):
    """Versions that the file needs and the oldest systems lack."""
    table = output("readelf", "-V", "--wide", file)
    needs = table.split("Version needs section", 1)[-1] if "Version needs section" in table else ""
    for family, number in set(re.findall(r"Name: (GLIBC|GLIBCXX|CXXABI|GCC)_([\d.]+)", needs)):
        if tuple(map(int, number.split("."))) > NEWEST[family]:
            yield f"{family}_{number}"


def check_symbols(tree):
    files = list(elf_files(tree))
    if len(files) < 10:
        fail(f"only {len(files)} programs and libraries in {tree}")
    for file in files:
        newer = sorted(newer_symbols(file))
        if newer:
            fail(f"{file.relative_to(tree)} needs {' '.join(newer)}: RHEL 9 has none of it")
    return len(files)


def check_libraries(tree):
    """What the loader finds with a bare environment: the tree's, the C and C++ runtimes, MPI's."""
    for program in ("contrail", "contrail-worker"):
        for line in output("ldd", tree / "bin" / program, env={"PATH": "/usr/bin:/bin"}).splitlines():
            name = line.split()[0]
            if "not found" in line:
                fail(f"{program}: {line.strip()}")
            if "=>" not in line:
                continue
            path = pathlib.Path(line.split(" => ")[1].split(" (")[0])
            of_system = SITE.match(name) or (program == "contrail-worker" and MPI.match(name))
            if not path.resolve().is_relative_to(tree) and not of_system:
                fail(f"{program} takes {name} from {path}")
    for file in elf_files(tree):
        paths = re.findall(r"\((?:RUN|R)PATH\).*\[(.*)\]", output("readelf", "-d", file))
        for path in ":".join(paths).split(":"):
            if path and not path.startswith("$ORIGIN"):
                fail(f"{file.relative_to(tree)}: run path {path}")


def check_licences(tree):
    text = (tree / "share/doc/contrail/LICENSE").read_text()
    if "Apache License" not in text:
        fail("share/doc/contrail/LICENSE is not the licence")
    for package in ("torch", "open_clip_torch"):
        if not list((tree / "share/doc/contrail/third-party" / package).glob("LICENSE*")):
            fail(f"no licence of {package}")
    if (tree / "lib/contrail/bundled").exists() and pathlib.Path("/etc/debian_version").exists():
        if not list((tree / "share/doc/contrail/third-party").glob("libhdf5*/copyright")):
            fail("no licence of HDF5")


def check_training(tree, home):
    """As a user without rights, from a folder with a space in its name."""
    presets = tree / "share/contrail/presets"
    run = {"cwd": home, "env": {"PATH": f"{tree}/bin:/usr/bin:/bin", "HOME": str(home), "LC_ALL": "C.UTF-8"}}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
        run |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    bin = tree / "bin/contrail"
    output(bin, "data", "pack", "train", "--images", PHOTOS / "train-images-idx3-ubyte.gz", "--labels",
           PHOTOS / "train-labels-idx1-ubyte.gz", "--classes", presets / "fashion_classnames.txt",
           "--templates", presets / "fashion_templates.txt", "--limit", "300", **run)
    output(bin, "doctor", **run)
    output(bin, "train", presets / "quickstart.toml", "--ranks", "2", "--run", "run",
           "--set", "data.train=train/pairs-000000.tar", "--set", "train.steps=2",
           "--set", "train.global_batch_size=32", "--set", "eval.zero_shot=", **run)
    steps = output(bin, "view", "run", "--json", "--series", "loss", **run).splitlines()
    if len(steps) != 2:
        fail(f"{len(steps)} steps recorded, not 2")
    output(bin, "checkpoint", "verify", "run", **run)


def main():
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="release-test.") as name:
        work = pathlib.Path(name)
        work.chmod(0o755)
        told = output(SOURCE / "cmake/release.py", BUILD, work, "--tree").strip()
        tree = work / "moved here"
        pathlib.Path(told).rename(tree)
        files = check_symbols(tree)
        check_libraries(tree)
        check_licences(tree)
        home = work / "home"
        home.mkdir()
        check_training(tree, home)
        size = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
        print(f"release_test: {files} programs and libraries, {size >> 20} MB, moved, 2 steps on 2 ranks")


if __name__ == "__main__":
    main()
