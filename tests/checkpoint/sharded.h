#pragma once
// A model of 760 million parameters and how a run of any size shares it out, as worker/flat.h does:
// what many ranks write and read, without the tensors.

#include <vector>

#include "checkpoint/format.h"

namespace contrail::ckpt {

// Two transformers: 24 layers of width 1024, 20 of width 1280, and their embeddings.
Layout BigLayout();

// Buckets of 64 MB in reverse order of use; rank r owns the r-th slice of every bucket.
std::vector<std::vector<Range>> SlicesOf(const Layout& layout, int ranks);

// A step of `ranks` ranks, 8 a node, whose arrays hold zeros; shards that hold nothing but payload
// and page checksums.
Manifest ManifestOfZeros(const Layout& layout, int ranks);

}  // namespace contrail::ckpt
