#include "worker/comm/device_watch.h"

#include "common/clock.h"

namespace contrail::worker {
namespace {

double Now() { return SystemClock().Monotonic(); }

}  // namespace

DeviceWatch::~DeviceWatch() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void DeviceWatch::Add(uint64_t sequence, c10::intrusive_ptr<c10d::Work> work) {
  {
    const std::lock_guard lock(mutex_);
    items_.push_back({sequence, std::move(work), Now()});
  }
  wake_.notify_one();
}

void DeviceWatch::Loop() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return closing_ || !items_.empty(); });
    if (closing_) return;
    const Item item = items_.front();
    lock.unlock();
    const bool over = item.work->isCompleted();
    // What failed stays unfinished: that is where this rank stands.
    const bool failed = over && item.work->exception() != nullptr;
    if (over && !failed) ledger_.Leave(item.sequence, 0, Now() - item.begun);
    lock.lock();
    if (failed) {
      wake_.wait(lock, [this] { return closing_; });
      return;
    }
    if (over) {
      items_.pop_front();
    } else {
      wake_.wait_for(lock, std::chrono::milliseconds(1), [this] { return closing_; });
    }
  }
}

}  // namespace contrail::worker
