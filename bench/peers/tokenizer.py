#!/usr/bin/env python3
"""open_clip's tokenizer: captions to one padded tensor. What bench/tokenizer.cc does; its own cache of
words is kept, as in training.

  tokenizer.py CAPTIONS_FILE
"""
import pathlib
import sys

from open_clip import SimpleTokenizer
from serve import serve

captions = pathlib.Path(sys.argv[1]).read_text().splitlines()
tokenizer = SimpleTokenizer()


def work(repetitions):
    for _ in range(repetitions):
        tokens = int((tokenizer(captions).argmax(dim=1) + 1).sum())
    return tokens


serve(work)
