#pragma once
// What libcontrail_nccl.so exports, by a name that can be loaded.

namespace c10d {
class Backend;
class Store;
}  // namespace c10d

extern "C" {

// A ProcessGroupNCCL on `device`, connected; the caller owns one reference in `*out`. False with a
// line in `problem` where there is no such device or NCCL does not start.
bool ContrailNcclBackend(c10d::Store* store, int rank, int size, int device, double timeout,
                         c10d::Backend** out, char* problem, int problem_size);
}
