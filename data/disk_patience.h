#pragma once
// How often a read that failed is tried again, and when the sample is given up.

#include <cstddef>
#include <functional>
#include <mutex>
#include <unordered_map>

#include "common/error.h"

namespace contrail::data {

// Thread safe.
class DiskPatience {
 public:
  // `sleep` seconds; for tests.
  explicit DiskPatience(std::function<void(double)> sleep = {});

  // True for what a disk or a file server says when it fails, perhaps for a moment (EIO, ESTALE and
  // the like). Not for what says that there is no such file or that it may not be read.
  static bool MayPass(const IoError& error);

  // After `tries` failures of one read from `shard`: waits and says true where it is worth another
  // try. Three more, 0.1, 0.4 and 1.6 s apart; a shard that has had 10 s of waiting gets none.
  bool Wait(size_t shard, int tries);

 private:
  const std::function<void(double)> sleep_;
  std::mutex mutex_;
  std::unordered_map<size_t, double> waited_;  // seconds, by shard
};

}  // namespace contrail::data
