#include "worker/comm/mpi_reduce.h"

#include <cstring>

#include "common/error.h"

namespace contrail::worker {
namespace {

constexpr int kTag = 1;
constexpr int64_t kScratchElements = int64_t{1} << 22;  // 16 MB of fp32 whatever the rank count
constexpr int64_t kLeastChunk = 1024;

// out[i] = rows[0][i] + rows[1][i] + ... in that order; row q starts at rows + q * stride.
// Blocked so that the partial sums stay in registers and first-level cache.
template <typename T>
__attribute__((optimize("O3"))) void SumRows(const T* rows, int64_t stride, int num_rows,
                                             int64_t count, T* out) {
  constexpr int64_t kBlock = 512;
  T sum[kBlock];
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t n = std::min(kBlock, count - begin);
    std::memcpy(sum, rows + begin, n * sizeof(T));
    for (int q = 1; q < num_rows; ++q) {
      const T* row = rows + q * stride + begin;
      for (int64_t i = 0; i < n; ++i) sum[i] = static_cast<T>(sum[i] + row[i]);
    }
    std::memcpy(out + begin, sum, n * sizeof(T));
  }
}

void SumRowsOf(at::ScalarType type, const void* rows, int64_t stride, int num_rows, int64_t count,
               void* out) {
  const auto sum = [&]<typename T>(T*) {
    SumRows(static_cast<const T*>(rows), stride, num_rows, count, static_cast<T*>(out));
  };
  switch (type) {
    case at::kFloat:
      return sum(static_cast<float*>(nullptr));
    case at::kDouble:
      return sum(static_cast<double*>(nullptr));
    case at::kInt:
      return sum(static_cast<int32_t*>(nullptr));
    case at::kLong:
      return sum(static_cast<int64_t*>(nullptr));
    case at::kByte:
      return sum(static_cast<uint8_t*>(nullptr));
    default:
      CONTRAIL_ASSERT(!"supported type");
  }
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
    default:
      CONTRAIL_ASSERT(!"supported type");
  }
  return MPI_DATATYPE_NULL;
}

std::vector<int64_t> EqualSlices(int64_t count, int size) {
  const int64_t slice = (count + size - 1) / size;
  std::vector<int64_t> begin;
  for (int q = 0; q <= size; ++q) begin.push_back(std::min(count, q * slice));
  return begin;
}

at::Tensor RankOrderSum::Scratch(at::ScalarType type, int64_t elements) {
  const int64_t bytes = elements * static_cast<int64_t>(c10::elementSize(type));
  if (!scratch_.defined() || scratch_.numel() < bytes) scratch_ = at::empty({bytes}, at::kByte);
  return scratch_.narrow(0, 0, bytes).view(type);
}

void RankOrderSum::ReduceSlice(const MpiGroup& group, const at::Tensor& in,
                               const std::vector<int64_t>& begin, at::Tensor out) {
  const int me = group.rank;
  const int size = group.size;
  const MPI_Datatype type = MpiType(in.scalar_type());
  const int64_t width = in.element_size();
  const int64_t chunk = std::max<int64_t>(
      1, std::min(chunk_elements_, std::max(kLeastChunk, kScratchElements / size)));
  at::Tensor scratch = Scratch(in.scalar_type(), size * chunk);
  char* slots = static_cast<char*>(scratch.data_ptr());  // slot q: rank q's part of this chunk
  const char* source = static_cast<const char*>(in.data_ptr());
  char* target = static_cast<char*>(out.data_ptr());

  // Elements of slice q that travel in one round.
  const auto part = [&](int q, int64_t round) {
    const int64_t left = begin[q + 1] - begin[q] - round * chunk;
    return std::max<int64_t>(0, std::min(chunk, left));
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
      group.Check(MPI_Isend(source + (begin[to] + round * chunk) * width, static_cast<int>(count),
                            type, to, kTag, group.comm, &sends[to]));
    }
    if (own > 0) {
      std::memcpy(slots + me * chunk * width, source + (begin[me] + round * chunk) * width,
                  own * width);
      for (MPI_Request& request : receives) Await(group, &request, Patience::kBrisk);
      SumRowsOf(in.scalar_type(), slots, chunk, size, own, target + round * chunk * width);
    }
    for (MPI_Request& request : sends) Await(group, &request, Patience::kBrisk);
  }
}

void RankOrderSum::ReduceSmall(const MpiGroup& group, at::Tensor tensor) {
  const int64_t count = tensor.numel();
  const MPI_Datatype type = MpiType(tensor.scalar_type());
  at::Tensor scratch = Scratch(tensor.scalar_type(), group.size * count);
  group.Check(MPI_Allgather(tensor.data_ptr(), static_cast<int>(count), type, scratch.data_ptr(),
                            static_cast<int>(count), type, group.comm));
  SumRowsOf(tensor.scalar_type(), scratch.data_ptr(), count, group.size, count, tensor.data_ptr());
}

}  // namespace contrail::worker
