#pragma once
// A file system for work that may have to be given up, because an operation of it hangs in the
// kernel and no one can say for how long.

#include <atomic>

#include "common/pass_through_file_system.h"

namespace contrail {

// Passes everything on and counts what comes back. Once it is cut, everything but a read of an open
// file throws E-IO (ECANCELED): a thread that comes back late changes nothing any more, except by
// the one operation that it hung in. `inner` must outlive the thread.
class LeashedFileSystem : public PassThroughFileSystem {
 public:
  explicit LeashedFileSystem(FileSystem& inner) : PassThroughFileSystem(inner) {}

  void Cut() { cut_ = true; }
  // Operations that have come back. Any thread; stands still where one hangs.
  uint64_t done() const { return done_; }

 private:
  void Before(Act act, const std::string& path, const char* doing) const override;
  void After() const override { ++done_; }

  std::atomic<bool> cut_{false};
  mutable std::atomic<uint64_t> done_{0};
};

}  // namespace contrail
