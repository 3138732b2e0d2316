#include "worker/left_behind.h"

#include <atomic>

namespace contrail::worker {
namespace {

std::atomic<bool> left_behind{false};

}  // namespace

void LeaveThreadBehind() { left_behind = true; }

bool ThreadsLeftBehind() { return left_behind; }

}  // namespace contrail::worker
