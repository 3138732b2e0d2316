#include "worker/comm/mpi_reduce.h"

#include <cstring>

#include "common/error.h"
#include "worker/comm/sum_types.h"
#include "worker/rounding.h"

namespace contrail::worker {
namespace {

constexpr int kTag = 1;
constexpr int64_t kScratchElements = int64_t{1} << 22;  // 16 MB of fp32 whatever the rank count
constexpr int64_t kLeastChunk = 1024;

// out[i] = rows[0][i] + rows[1][i] + ... in that order, formed in Sum; row q starts at rows +
// q * stride. Blocked so that the partial sums stay in registers and first-level cache.
template <typename Row, typename Sum, typename Out>
__attribute__((optimize("O3"))) void SumRows(const Row* rows, int64_t stride, int num_rows,
                                             int64_t count, Out* out) {
  constexpr int64_t kBlock = 512;
  Sum sum[kBlock];
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t n = std::min(kBlock, count - begin);
    for (int64_t i = 0; i < n; ++i) sum[i] = static_cast<Sum>(rows[begin + i]);
    for (int q = 1; q < num_rows; ++q) {
      const Row* row = rows + q * stride + begin;
      for (int64_t i = 0; i < n; ++i) sum[i] = static_cast<Sum>(sum[i] + static_cast<Sum>(row[i]));
    }
    for (int64_t i = 0; i < n; ++i) out[begin + i] = static_cast<Out>(sum[i]);
  }
}

void SumRowsOf(at::ScalarType stored, at::ScalarType travels, const void* rows, int64_t stride,
               int num_rows, int64_t count, void* out) {
  WithSumTypes(stored, travels, [&]<typename Row, typename Sum, typename Out>(Row, Sum, Out) {
    SumRows<Row, Sum, Out>(static_cast<const Row*>(rows), stride, num_rows, count,
                           static_cast<Out*>(out));
  });
}

}  // namespace

MPI_Datatype MpiType(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return MPI_FLOAT;
    case at::kDouble:
      return MPI_DOUBLE;
    case at::kInt:
      return MPI_INT32_T;
    case at::kLong:
      return MPI_INT64_T;
    case at::kByte:
      return MPI_UINT8_T;
    case at::kBFloat16:
    case at::kHalf:
      return MPI_UINT16_T;
    default:
      CONTRAIL_ASSERT(!"supported type");
  }
  return MPI_DATATYPE_NULL;
}

int64_t ChunkOf(int64_t chunk_elements, int size) {
  return std::max<int64_t>(
      1, std::min(chunk_elements, std::max(kLeastChunk, kScratchElements / size)));
}

std::vector<int64_t> EqualSlices(int64_t count, int size) {
  const int64_t slice = (count + size - 1) / size;
  std::vector<int64_t> begin;
  for (int q = 0; q <= size; ++q) begin.push_back(std::min(count, q * slice));
  return begin;
}

char* RankOrderSum::Scratch(std::vector<char>& scratch, int64_t bytes) {
  if (std::ssize(scratch) < bytes) scratch.resize(bytes);
  return scratch.data();
}

void RankOrderSum::ReduceSlice(MpiGroup& group, const at::Tensor& in,
                               const std::vector<int64_t>& begin, const at::Tensor& out,
                               Wire wire) {
  const int me = group.rank;
  const int size = group.size;
  const bool rounds = wire == Wire::kBFloat16;
  CONTRAIL_ASSERT(!rounds || in.scalar_type() == at::kFloat);
  const at::ScalarType travels = rounds ? at::kBFloat16 : in.scalar_type();
  const MPI_Datatype type = MpiType(travels);
  const auto width = static_cast<int64_t>(c10::elementSize(travels));
  const int64_t chunk = ChunkOf(chunk_elements_, size);
  char* slots = Scratch(received_, size * chunk * width);  // slot q: rank q's part of this chunk
  char* outgoing = rounds ? Scratch(rounded_, size * chunk * width) : nullptr;
  const char* source = static_cast<const char*>(in.data_ptr());
  char* target = static_cast<char*>(out.data_ptr());

  // Elements of slice q that travel in one round.
  const auto part = [&](int q, int64_t round) {
    const int64_t left = begin[q + 1] - begin[q] - round * chunk;
    return std::max<int64_t>(0, std::min(chunk, left));
  };
  // Own values for rank q as they travel: from where they lie, or rounded into `room`.
  const auto values = [&](int q, int64_t round, char* room) -> const char* {
    const int64_t first = begin[q] + round * chunk;
    if (!rounds) return source + first * width;
    RoundTo(Narrow::kBFloat16, part(q, round), reinterpret_cast<const float*>(source) + first,
            reinterpret_cast<uint16_t*>(room));
    return room;
  };
  int64_t longest = 0;
  for (int q = 0; q < size; ++q) longest = std::max(longest, begin[q + 1] - begin[q]);

  std::vector<MPI_Request> receives(size, MPI_REQUEST_NULL);
  std::vector<MPI_Request> sends(size, MPI_REQUEST_NULL);
  for (int64_t round = 0; round * chunk < longest; ++round) {
    const int64_t own = part(me, round);
    // Every rank starts with another peer, so that no rank is everyone's first target.
    for (int k = 1; k < size && own > 0; ++k) {
      const int from = (me - k + size) % size;
      group.Check(MPI_Irecv(slots + from * chunk * width, static_cast<int>(own), type, from, kTag,
                            group.comm, &receives[from]));
    }
    for (int k = 1; k < size; ++k) {
      const int to = (me + k) % size;
      const int64_t count = part(to, round);
      if (count == 0) continue;
      group.Send(values(to, round, outgoing + to * chunk * width), static_cast<int>(count), type,
                 to, kTag, &sends[to]);
    }
    if (own > 0) {
      char* mine = slots + me * chunk * width;
      const char* given = values(me, round, mine);
      if (given != mine) std::memcpy(mine, given, own * width);
      for (MPI_Request& request : receives) Await(group, &request, Patience::kBrisk);
      SumRowsOf(in.scalar_type(), travels, slots, chunk, size, own,
                target + round * chunk * out.element_size());
    }
    for (MPI_Request& request : sends) Await(group, &request, Patience::kBrisk);
  }
}

void RankOrderSum::ReduceSmall(const MpiGroup& group, const at::Tensor& tensor,
                               const Gather& gather) {
  const int64_t count = tensor.numel();
  const at::ScalarType stored = tensor.scalar_type();
  const auto bytes = static_cast<int64_t>(tensor.nbytes());
  char* all = Scratch(received_, group.size * bytes);
  if (bytes > 0) std::memcpy(all + group.rank * bytes, tensor.data_ptr(), bytes);
  gather(all);
  SumRowsOf(stored, stored, all, count, group.size, count, tensor.data_ptr());
}

}  // namespace contrail::worker
