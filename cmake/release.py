#!/usr/bin/env python3
"""Makes a release: the installed tree with the libraries that a site does not have, as one archive.

  release.py BUILD_DIR OUT_DIR            OUT_DIR/contrail-VERSION-linux-ARCH.tar.gz
  release.py BUILD_DIR OUT_DIR --tree     OUT_DIR/contrail-VERSION-linux-ARCH/, no archive

The site brings the C library, the C++ runtime and MPI (Open MPI 4's ABI), with all that its MPI loads;
every other library that the programs load comes along, found relative to the programs. Needs cmake,
ldd, readelf, patchelf, and on Debian dpkg-query for the licences.
"""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile

PROGRAMS = ("contrail", "contrail-worker")
TORCH = "lib/contrail/torch/lib"
BUNDLED = "lib/contrail/bundled"
# The site's: glibc, the compiler's runtime, MPI. Nothing is looked up behind them.
SITE = re.compile(r"^(ld-linux.*|lib(c|m|dl|rt|pthread|util|resolv|stdc\+\+|gcc_s|mpi)\.so.*)$")


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def needed(file):
    return re.findall(r"\(NEEDED\).*\[(.*)\]", output("readelf", "-d", file))


def loaded(program):
    """Where the loader finds each library of a program."""
    found = {}
    for name, path in re.findall(r"(\S+) => (.*) \(0x", output("ldd", program)):
        found[name] = pathlib.Path(path)
    return found


def to_bundle(program, own):
    """Libraries behind a program that are neither the site's nor in the tree: name -> path."""
    where, bundle, todo = loaded(program), {}, [program]
    while todo:
        for name in needed(todo.pop()):
            if SITE.match(name) or name in own or name in bundle:
                continue
            if name not in where:
                sys.exit(f"release.py: {program} needs {name}, which is not found here")
            bundle[name] = where[name]
            todo.append(where[name])
    return bundle


def package_of(library):
    """The Debian package that a library is from; '' where dpkg knows none."""
    for path in (library, library.resolve(), pathlib.Path(str(library).removeprefix("/usr"))):
        told = subprocess.run(["dpkg-query", "-S", path], capture_output=True, text=True)
        if told.returncode == 0:
            return told.stdout.split(":")[0]
    return ""


def copy_licence(source, folder):
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, folder / source.name, follow_symlinks=True)


def bundle_libraries(tree):
    own = {path.name for path in (tree / "lib").rglob("*.so*")}
    bundle = {}
    for program in PROGRAMS:
        if (tree / "bin" / program).exists():
            bundle.update(to_bundle(tree / "bin" / program, own))
    folder = tree / BUNDLED
    folder.mkdir(parents=True)
    licences = tree / "share/doc/contrail/third-party"
    for name, path in sorted(bundle.items()):
        shutil.copyfile(path, folder / name)
        (folder / name).chmod(0o755)
        subprocess.run(["patchelf", "--set-rpath", "$ORIGIN", folder / name], check=True)
        package = package_of(path)
        if not package:
            print(f"release.py: no licence found for {path}", file=sys.stderr)
            continue
        copy_licence(pathlib.Path("/usr/share/doc") / package / "copyright", licences / package)
    return sorted(bundle)


def point_programs(tree):
    """At the tree alone: no folder of the machine that built them."""
    for program in PROGRAMS:
        if (tree / "bin" / program).exists():
            subprocess.run(["patchelf", "--set-rpath", f"$ORIGIN/../{TORCH}:$ORIGIN/../{BUNDLED}",
                            tree / "bin" / program], check=True)


def copy_wheel_licences(build, tree):
    """LibTorch and CLIP's merges come out of Python wheels."""
    cache = (build / "CMakeCache.txt").read_text()
    torch = re.search(r"^TORCH_DIR:PATH=(.*)$", cache, re.M)
    if not torch:
        return
    site = pathlib.Path(torch.group(1)).parent
    for wheel in ("torch", "open_clip_torch"):
        for folder in site.glob(f"{wheel}-*.dist-info"):
            for file in [*folder.glob("licenses/*"), *folder.glob("LICENSE*")]:
                copy_licence(file, tree / "share/doc/contrail/third-party" / wheel)


def write_archive(tree, out):
    """The same tree gives the same bytes."""
    def plain(entry):
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = "root"
        entry.mtime = 0
        return entry
    temporary = out.with_suffix(".tmp")
    with tarfile.open(temporary, "w", format=tarfile.GNU_FORMAT) as archive:
        for path in sorted(tree.rglob("*")):
            archive.add(path, f"{tree.name}/{path.relative_to(tree)}", recursive=False, filter=plain)
    with open(f"{temporary}.gz", "wb") as packed:
        subprocess.run(["gzip", "--no-name", "--stdout", temporary], stdout=packed, check=True)
    os.unlink(temporary)
    os.replace(f"{temporary}.gz", out)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--tree", action="store_true")
    options = parser.parse_args()
    program = options.build / "bin/contrail"
    version = output(program, "version").split()[-1]
    name = f"contrail-{version}-linux-{os.uname().machine}"
    tree = options.out / name
    shutil.rmtree(tree, ignore_errors=True)
    subprocess.run(["cmake", "--install", options.build, "--prefix", tree.resolve(), "--strip"],
                   check=True, stdout=subprocess.DEVNULL)
    bundled = bundle_libraries(tree)
    point_programs(tree)
    copy_wheel_licences(options.build, tree)
    print(f"{len(bundled)} libraries bundled: {' '.join(bundled)}", file=sys.stderr)
    if options.tree:
        print(tree)
        return
    archive = options.out / f"{name}.tar.gz"
    write_archive(tree, archive)
    shutil.rmtree(tree)
    print(archive)


if __name__ == "__main__":
    main()
