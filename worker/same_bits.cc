#include "worker/same_bits.h"

#include <algorithm>
#include <set>

#include "common/strings.h"
#include "model/ops/kernels/kernels.h"

namespace contrail::worker {

std::string InstructionSets(Comm& comm, bool narrow) {
  const char* own = narrow ? model::kernels::BestMixed().name : model::kernels::Best<float>().name;
  const std::vector<std::string> all = comm.AllGatherText(own);
  const std::set<std::string> distinct(all.begin(), all.end());
  return Join({distinct.begin(), distinct.end()}, "+");
}

MicroBatch SmallestMicroBatch(Comm& comm, MicroBatch own) {
  for (const std::string& other : comm.AllGatherText(std::to_string(own.samples))) {
    own.samples = std::min<int64_t>(own.samples, std::stoll(other));
  }
  return own;
}

int64_t MicroBatchToKeep(const ckpt::RunState& before, int ranks, int64_t resolution) {
  const bool same =
      before.world_size == static_cast<uint64_t>(ranks) && before.resolution == resolution;
  return same ? static_cast<int64_t>(before.micro_batch) : 0;
}

std::vector<std::string> WhyBitsDiffer(const ckpt::RunState& before, const ckpt::RunState& now) {
  std::vector<std::string> reasons;
  if (before.world_size != now.world_size || before.resolution != now.resolution) return reasons;
  const std::string until = "; until step " + std::to_string(before.step) + " ";
  const std::string end = ". Losses go on, and differ in rounding";
  if (before.micro_batch > 0 && before.micro_batch != now.micro_batch) {
    reasons.push_back("W-BITS: a rank now encodes " + std::to_string(now.micro_batch) +
                      " samples at once" + until + std::to_string(before.micro_batch) + end);
  }
  if (!before.instruction_sets.empty() && before.instruction_sets != now.instruction_sets) {
    reasons.push_back("W-BITS: ranks now compute with " + now.instruction_sets + until + "with " +
                      before.instruction_sets + end);
  }
  return reasons;
}

}  // namespace contrail::worker
