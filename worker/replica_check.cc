#include "worker/replica_check.h"

#include <map>

#include "common/error.h"
#include "common/hash.h"
#include "common/host_name.h"
#include "worker/agree.h"

namespace contrail::worker {
namespace {

constexpr int64_t kBlock = int64_t{1} << 18;  // bytes one task hashes: it stays in the cache

std::string Hex(uint32_t hash) {
  char text[9];
  std::snprintf(text, sizeof text, "%08x", hash);
  return text;
}

}  // namespace

uint32_t HashOfWeights(const FlatParams& flat) {
  uint32_t hash = 0;
  for (int bucket = 0; bucket < flat.num_buckets(); ++bucket) {
    const at::Tensor weights = flat.weights(bucket);
    const char* bytes = static_cast<const char*>(weights.const_data_ptr());
    const auto size = static_cast<int64_t>(weights.nbytes());
    const int64_t blocks = (size + kBlock - 1) / kBlock;
    std::vector<uint32_t> of_block(blocks);
    at::parallel_for(0, blocks, 1, [&](int64_t first, int64_t last) {
      for (int64_t block = first; block < last; ++block) {
        const int64_t begin = block * kBlock;
        of_block[block] = Crc32c(0, bytes + begin, std::min(kBlock, size - begin));
      }
    });
    hash = Crc32c(hash, of_block.data(), of_block.size() * sizeof(uint32_t));
  }
  return hash;
}

std::vector<int> OddRanks(const std::vector<uint32_t>& hash_of_rank) {
  std::map<uint32_t, size_t> count;
  for (const uint32_t hash : hash_of_rank) ++count[hash];
  std::vector<int> odd;
  if (count.size() < 2) return odd;
  for (size_t rank = 0; rank < hash_of_rank.size(); ++rank) {
    if (2 * count[hash_of_rank[rank]] <= hash_of_rank.size()) odd.push_back(static_cast<int>(rank));
  }
  return odd;
}

void CheckReplicas(Comm& comm, const std::vector<uint32_t>& hash_of_rank, uint64_t step) {
  const std::vector<int> odd = OddRanks(hash_of_rank);
  if (odd.empty()) return;
  const std::vector<std::string> hosts = comm.AllGatherText(HostName());
  constexpr size_t kNamed = 8;
  std::string who;
  for (size_t i = 0; i < std::min(odd.size(), kNamed); ++i) {
    who += (i > 0 ? ", " : "") + std::string("rank ") + std::to_string(odd[i]) + " on " +
           hosts[odd[i]] + " (" + Hex(hash_of_rank[odd[i]]) + ")";
  }
  if (odd.size() > kNamed) who += ", ...";
  std::string others = "no majority agrees";
  for (size_t rank = 0; rank < hash_of_rank.size() && odd.size() < hash_of_rank.size(); ++rank) {
    if (!std::binary_search(odd.begin(), odd.end(), static_cast<int>(rank))) {
      others = "the other " + std::to_string(hash_of_rank.size() - odd.size()) + " agree on " +
               Hex(hash_of_rank[rank]);
      break;
    }
  }
  AgreedError error(
      EnvironmentError("E-REPLICA", "step " + std::to_string(step),
                       who + " holds other weights than it should: " + others +
                           "; its memory, processor or network corrupts data silently",
                       "training goes on from the last checkpoint; take the node out if it is "
                       "named again"),
      comm.rank() == 0);
  if (odd.size() == 1) error.Blame(odd[0]);
  throw error;
}

}  // namespace contrail::worker
