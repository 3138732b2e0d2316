#include <algorithm>

#include "checkpoint/skeleton.h"

namespace contrail::ckpt {

uint64_t NumElements(const std::vector<Range>& ranges) {
  uint64_t sum = 0;
  for (const Range& range : ranges) sum += range.end - range.begin;
  return sum;
}

std::vector<Extent> Gaps(std::vector<Extent> payload, uint64_t file_bytes) {
  std::sort(payload.begin(), payload.end(),
            [](const Extent& a, const Extent& b) { return a.begin < b.begin; });
  std::vector<Extent> gaps;
  uint64_t at = 0;
  for (const Extent& extent : payload) {
    if (extent.begin > at) gaps.push_back({at, extent.begin});
    at = std::max(at, extent.end);
  }
  if (at < file_bytes) gaps.push_back({at, file_bytes});
  return gaps;
}

}  // namespace contrail::ckpt
