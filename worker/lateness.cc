#include "worker/lateness.h"

#include <algorithm>
#include <map>

#include "common/error.h"

namespace contrail::worker {
namespace {

constexpr float kLeast = 1e-3f;  // seconds; less is the scheduler's noise
constexpr size_t kWorst = 8;

}  // namespace

std::vector<monitor::LateArrival> FindLate(const std::vector<Ledger::Entry>& entries,
                                           const at::Tensor& waits) {
  const auto count = std::ssize(entries);
  CONTRAIL_ASSERT(waits.is_contiguous() && waits.size(1) == count);
  const float* wait = waits.const_data_ptr<float>();
  std::vector<monitor::LateArrival> late;
  std::map<Ledger::Operation, int> ordinals;
  for (int64_t i = 0; i < count; ++i) {
    monitor::LateArrival arrival{.operation = entries[i].operation,
                                 .ordinal = ++ordinals[entries[i].operation],
                                 .collective = entries[i].sequence};
    float longest = wait[i], shortest = wait[i];
    for (int rank = 1; rank < waits.size(0); ++rank) {
      const float own = wait[rank * count + i];
      longest = std::max(longest, own);
      if (own < shortest) {
        shortest = own;
        arrival.rank = rank;
      }
    }
    arrival.seconds = longest - shortest;
    if (arrival.seconds >= kLeast) late.push_back(arrival);
  }
  std::stable_sort(late.begin(), late.end(),
                   [](const auto& a, const auto& b) { return a.seconds > b.seconds; });
  if (late.size() > kWorst) late.resize(kWorst);
  return late;
}

std::vector<monitor::LateArrival> Lateness::Exchange() {
  pending_.Wait();
  std::vector<monitor::LateArrival> late;
  if (waits_.defined()) late = FindLate(entries_, waits_);

  const Ledger::Standing now = comm_.ledger().standing();
  CONTRAIL_ASSERT(now.done == now.entered);
  entries_ = comm_.ledger().TakeFinished();
  const auto count = std::ssize(entries_);
  waits_ = at::empty({comm_.size(), count}, at::kFloat);
  at::Tensor own = waits_.select(0, comm_.rank());
  for (int64_t i = 0; i < count; ++i) {
    own.mutable_data_ptr<float>()[i] = static_cast<float>(entries_[i].waited);
  }
  pending_ = comm_.StartAllGather(waits_, own);
  return late;
}

}  // namespace contrail::worker
