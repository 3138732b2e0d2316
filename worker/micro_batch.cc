#include "worker/micro_batch.h"

#include <unistd.h>

namespace contrail::worker {

int64_t FitMicroBatch(model::ClipModel& model, int64_t local_batch, uint64_t budget_bytes) {
  const auto bytes_of = [&](int64_t samples) {
    model.Plan(samples, samples * model.spec().text.context, /*training=*/true);
    return model.arena_bytes();
  };
  // Bytes grow linearly with samples.
  const int64_t one = bytes_of(1);
  const int64_t each = bytes_of(2) - one;
  for (int64_t parts = 1; parts < local_batch; ++parts) {
    if (local_batch % parts != 0) continue;
    const int64_t samples = local_batch / parts;
    if (static_cast<uint64_t>(one + (samples - 1) * each) <= budget_bytes) return samples;
  }
  return 1;
}

uint64_t ActivationBudget(int ranks_here) {
  const auto pages = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES));
  return pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) / 2 /
         static_cast<uint64_t>(ranks_here);
}

}  // namespace contrail::worker
