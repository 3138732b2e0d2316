#include "worker/comm/ledger.h"

#include "common/error.h"

namespace contrail::worker {
namespace {

constexpr size_t kKept = 4096;

}  // namespace

uint64_t Ledger::Enter(Operation operation, int64_t bytes, bool blocking) {
  const std::lock_guard lock(mutex_);
  Entry entry;
  entry.sequence = ++entered_;
  entry.operation = operation;
  entry.bytes = bytes;
  entry.blocking = blocking;
  if (blocking) ++blocking_;
  entries_.push_back(entry);
  if (entries_.size() > kKept && entries_.front().done) entries_.pop_front();
  Tell();
  return entered_;
}

void Ledger::Leave(uint64_t sequence, double waited, double moved, int64_t messages) {
  const std::lock_guard lock(mutex_);
  CONTRAIL_ASSERT(!entries_.empty() && sequence >= entries_.front().sequence &&
                  sequence <= entered_);
  const uint64_t first = entries_.front().sequence;
  Entry& entry = entries_[sequence - first];
  if (entry.blocking && !entry.done) --blocking_;
  entry.done = true;
  entry.waited = waited;
  entry.moved = moved;
  entry.messages = messages;
  waiting_ += waited;
  moving_ += moved;
  while (done_ < entered_ && entries_[done_ + 1 - first].done) ++done_;
  Tell();
}

void Ledger::Tell() {
  if (observer_) observer_(StandingLocked());
}

Ledger::Standing Ledger::StandingLocked() const {
  Standing now{.entered = entered_, .done = done_, .blocked = blocking_ > 0};
  if (done_ < entered_) {
    now.oldest_unfinished = entries_[done_ + 1 - entries_.front().sequence].operation;
  }
  return now;
}

void Ledger::SetObserver(Observer observer) {
  const std::lock_guard lock(mutex_);
  observer_ = std::move(observer);
}

Ledger::Standing Ledger::standing() const {
  const std::lock_guard lock(mutex_);
  return StandingLocked();
}

double Ledger::waiting_seconds() const {
  const std::lock_guard lock(mutex_);
  return waiting_;
}

double Ledger::moving_seconds() const {
  const std::lock_guard lock(mutex_);
  return moving_;
}

std::vector<Ledger::Entry> Ledger::TakeFinished() {
  const std::lock_guard lock(mutex_);
  std::vector<Entry> finished;
  while (!entries_.empty() && entries_.front().sequence <= done_) {
    finished.push_back(entries_.front());
    entries_.pop_front();
  }
  return finished;
}

}  // namespace contrail::worker
