#include "worker/pulse.h"

#include <cstring>

namespace contrail::worker {
namespace {

constexpr int kTimes = sizeof(monitor::StepTimes) / sizeof(float);
static_assert(sizeof(monitor::StepTimes) == kTimes * sizeof(float));

enum Slot {
  kNorm,
  kCorrect,
  kReplaced,
  kConsumedHigh,  // a double holds 53 bits
  kConsumedLow,
  kWeightsHash,
  kStop,
  kSave,
  kSaveNow,
  kCommitRunning,
  kCommitted,
  kFailedSaves,
  kFirstTime
};
constexpr int kWidth = kFirstTime + kTimes;

void Write(const Pulse& pulse, double* out) {
  out[kNorm] = pulse.grad_norm_squared;
  out[kCorrect] = static_cast<double>(pulse.correct);
  out[kReplaced] = static_cast<double>(pulse.replaced);
  out[kConsumedHigh] = static_cast<double>(pulse.consumed >> 32);
  out[kConsumedLow] = static_cast<double>(pulse.consumed & 0xffffffff);
  out[kWeightsHash] = pulse.weights_hash;
  out[kStop] = pulse.stop;
  out[kSave] = static_cast<int>(pulse.save);
  out[kSaveNow] = pulse.save_now;
  out[kCommitRunning] = pulse.commit_running;
  out[kCommitted] = static_cast<double>(pulse.committed_step);
  out[kFailedSaves] = pulse.failed_saves;
  float times[kTimes];
  std::memcpy(times, &pulse.times, sizeof times);
  for (int i = 0; i < kTimes; ++i) out[kFirstTime + i] = times[i];
}

SaveStatus StatusOf(double save) { return static_cast<SaveStatus>(static_cast<int>(save)); }

}  // namespace

Verdict Exchange(Comm& comm, const Pulse& own) {
  at::Tensor mine = at::empty({kWidth}, at::kDouble);
  at::Tensor all = at::empty({comm.size(), kWidth}, at::kDouble);
  Write(own, mine.mutable_data_ptr<double>());
  comm.AllGather(all, mine);

  Verdict verdict;
  const double* root = all.const_data_ptr<double>();
  verdict.save_now = root[kSaveNow] != 0;
  verdict.commit_running = root[kCommitRunning] != 0;
  verdict.committed_step = static_cast<uint64_t>(root[kCommitted]);
  verdict.failed_saves = static_cast<int>(root[kFailedSaves]);
  verdict.all_written = true;
  double norm_squared = 0;
  for (int rank = 0; rank < comm.size(); ++rank) {
    const double* row = root + static_cast<int64_t>(rank) * kWidth;
    norm_squared += row[kNorm];
    verdict.correct += static_cast<int64_t>(row[kCorrect]);
    verdict.replaced += static_cast<int64_t>(row[kReplaced]);
    verdict.consumed += (static_cast<uint64_t>(row[kConsumedHigh]) << 32) +
                        static_cast<uint64_t>(row[kConsumedLow]);
    verdict.weights_hashes.push_back(static_cast<uint32_t>(row[kWeightsHash]));
    verdict.stop = verdict.stop || row[kStop] != 0;
    const SaveStatus save = StatusOf(row[kSave]);
    verdict.all_written =
        verdict.all_written && (save == SaveStatus::kWritten || save == SaveStatus::kFailed);
    if (save == SaveStatus::kStalled && verdict.stalled_rank < 0) verdict.stalled_rank = rank;
    float times[kTimes];
    for (int i = 0; i < kTimes; ++i) times[i] = static_cast<float>(row[kFirstTime + i]);
    std::memcpy(&verdict.times.emplace_back(), times, sizeof times);
  }
  verdict.grad_norm = std::sqrt(norm_squared);
  return verdict;
}

}  // namespace contrail::worker
