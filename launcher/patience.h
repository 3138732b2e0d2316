#pragma once
// Before there is an attempt that could fail, a file system that refuses for a moment must not end
// a start either: a requeued or chained job has nobody who would start it again.

#include <functional>

#include "launcher/lease.h"

namespace contrail::launcher {

// Does `work`, which can be repeated; after an E-IO that may pass by itself again and again, 1, 2,
// 4 ... 60 s apart, saying so on stderr each time, until `seconds` are over: then that is thrown.
// Everything else is thrown at once.
void DoPatiently(double seconds, const std::function<void()>& work, const Waiting& waiting = {});

}  // namespace contrail::launcher
