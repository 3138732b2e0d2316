#!/usr/bin/env python3
"""A data set of very many, very small shards: what opening one of LAION's size costs.

  many_shards.py OUT [N]     OUT/{00000..}.tar, a pair each; N is 41,408, LAION-400M's number

`contrail data index OUT` then makes their indexes.
"""
import io
import os
import struct
import sys
import tarfile
import zlib

LAION = 41_408


def png(side=8):
    def chunk(kind, data):
        return (struct.pack(">I", len(data)) + kind + data
                + struct.pack(">I", zlib.crc32(kind + data)))
    row = b"\0" + bytes(range(3 * side))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(row * side)) + chunk(b"IEND", b""))


def pair():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, contents in (("0.png", png()), ("0.txt", b"a small square")):
            member = tarfile.TarInfo(name)
            member.size = len(contents)
            tar.addfile(member, io.BytesIO(contents))
    text = out.getvalue()
    return text[:2048] + bytes(1024)  # tarfile fills up to 10 kB


def make(folder, shards=LAION):
    os.makedirs(folder, exist_ok=True)
    tar = pair()
    for i in range(shards):
        with open(f"{folder}/{i:05d}.tar", "wb") as file:
            file.write(tar)


if __name__ == "__main__":
    make(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else LAION)
