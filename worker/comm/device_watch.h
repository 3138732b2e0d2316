#pragma once
// Notes in the ledger when collectives on a device are over. Nobody on the host waits for those:
// a thread looks at the oldest a thousand times a second, so that a rank that stands still shows.

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <torch/csrc/distributed/c10d/Work.hpp>

#include "worker/comm/ledger.h"

namespace contrail::worker {

class DeviceWatch {
 public:
  explicit DeviceWatch(Ledger& ledger) : ledger_(ledger), thread_([this] { Loop(); }) {}
  ~DeviceWatch();

  void Add(uint64_t sequence, c10::intrusive_ptr<c10d::Work> work);

 private:
  struct Item {
    uint64_t sequence = 0;
    c10::intrusive_ptr<c10d::Work> work;
    double begun = 0;
  };
  void Loop();

  Ledger& ledger_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Item> items_;
  bool closing_ = false;
  std::thread thread_;  // last: starts when all else is there
};

}  // namespace contrail::worker
