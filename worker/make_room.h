#pragma once
// What a start clears away before the first byte is written: a disk that a dead save has filled, or
// that holds a step more than it should because the run was killed between a commit and its
// pruning, has no room for the next one.

#include <cstdint>
#include <functional>
#include <string>

#include "common/file_system.h"
#include "worker/fence.h"

namespace contrail::worker {

struct RoomOrder {
  Writer writer;
  int keep_last = 1;
  uint64_t resumed_step = 0;
  std::string resumed_dir = {};  // "": a fresh run
  double stall_seconds = 60;
};

// For the root, when it knows what the run goes on from. Only what holds the run may clean up:
// throws as CheckFence does. Removes what dead writers left, names the resumed step as the newest
// where a crash came before that, and prunes. What cannot be removed, or hangs, is told, and the
// run goes on without; `moved` is called with operations as they come back. `fs` must outlive the
// process' threads.
void MakeRoom(FileSystem& fs, const RoomOrder& order,
              const std::function<void(uint64_t operations)>& moved);

}  // namespace contrail::worker
