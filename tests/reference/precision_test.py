"""Our bf16 and fp16 towers beside open_clip's under torch.autocast(bfloat16), both against open_clip
in fp64: same fp32 weights and inputs; ours may be no further from it than open_clip's.

    precision_test.py ENCODE        ENCODE is the program built from encode.cc
"""

import copy
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from model_test import Case, declared, disturbed, make_inputs, ours_of, relative, theirs_of, write


def joined(grads, order):
    return np.concatenate([grads[key].astype(np.float64) for key in order if key in grads])


def check(encode, name, batch):
    case = Case(name)
    model = disturbed(case.build())
    images, captions, d = make_inputs(case, batch)
    shapes, statistics = declared(encode, case)
    (exact_image, exact_text, _), exact_grads, _ = theirs_of(copy.deepcopy(model), images, captions,
                                                             d, torch.float64)
    with torch.autocast("cpu", torch.bfloat16):
        (image, text, _), grads, _ = theirs_of(copy.deepcopy(model), images, captions, d,
                                               torch.float32)
    order = [key for key in shapes if key in exact_grads]
    exact = (exact_image, exact_text, joined(exact_grads, order))
    theirs = (image.astype(np.float32), text.astype(np.float32), joined(grads, order))
    for precision in ("bf16", "fp16"):
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), model, list(shapes), statistics, images, captions, d)
            (image, text, _), grads, _ = ours_of(encode, case, Path(folder), batch, shapes,
                                                 [precision])
            ours = (image, text, joined(grads, order))
        for part, a, b, c in zip(("image features", "text features", "gradient"), ours, theirs,
                                 exact):
            mine, other = relative(a, c), relative(b, c)
            print(f"{name} {precision} {part}: {mine:.1e} from fp64; "
                  f"open_clip's autocast(bf16) {other:.1e}", flush=True)
            # A tenth for luck: which way each number is rounded. A ResNet's gradient differs by the
            # ReLUs that roundings switch, so its error goes with the root of the unit roundoff.
            least = 1.1 if precision == "bf16" else 0.5 if case.resnet else 0.2
            assert mine < least * other, (name, part, mine, other)


def main():
    torch.set_num_threads(1)
    check(sys.argv[1], "tiny-vit", 7)
    check(sys.argv[1], "tiny-rn", 7)
    # Elsewhere torch's bf16 products take minutes.
    if "avx512_bf16" in Path("/proc/cpuinfo").read_text():
        check(sys.argv[1], "ViT-B/32", 2)


if __name__ == "__main__":
    main()
