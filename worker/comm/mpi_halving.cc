#include "worker/comm/mpi_halving.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "common/error.h"
#include "worker/comm/mpi_reduce.h"
#include "worker/comm/sum_types.h"
#include "worker/rounding.h"

namespace contrail::worker {
namespace {

constexpr int kTag = 2;

template <typename T>
T* Room(std::vector<char>& buffer, int64_t elements) {
  const auto bytes = static_cast<size_t>(elements) * sizeof(T);
  if (buffer.size() < bytes) buffer.resize(bytes);
  return reinterpret_cast<T*>(buffer.data());
}

// sums may be a.
template <typename A, typename B, typename Sum>
__attribute__((optimize("O3"))) void Add(const A* a, const B* b, Sum* sums, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    sums[i] = static_cast<Sum>(static_cast<Sum>(a[i]) + static_cast<Sum>(b[i]));
  }
}

template <typename From, typename To>
__attribute__((optimize("O3"))) void Convert(const From* from, To* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = static_cast<To>(from[i]);
}

}  // namespace

// One reduce-scatter. In each round the next `width` elements of every slice go through all stages;
// a slice that has fewer left travels with zeros behind, so that all blocks are of one size.
template <typename Row, typename Sum, typename Out>
class Halving::Reduction {
 public:
  Reduction(Halving& halving, MpiGroup& group, const at::Tensor& in,
            const std::vector<int64_t>& begin, const at::Tensor& out)
      : halving_(halving),
        group_(group),
        begin_(begin),
        rounds_values_(in.scalar_type() == at::kFloat && std::is_same_v<Row, c10::BFloat16>),
        in_(static_cast<const char*>(in.const_data_ptr())),
        in_width_(in.element_size()),
        out_(static_cast<Out*>(out.mutable_data_ptr())) {}

  void Run() {
    int64_t longest = 0;
    for (int q = 0; q < group_.size; ++q) longest = std::max(longest, begin_[q + 1] - begin_[q]);
    const int64_t chunk = ChunkOf(halving_.chunk_elements_, group_.size);
    for (done_ = 0; done_ < longest; done_ += chunk) {
      width_ = std::min(chunk, longest - done_);
      Round();
    }
  }

 private:
  void Round() {
    sums_ = Room<Sum>(halving_.sums_, group_.size * width_);
    const std::vector<HalvingStage>& plan = halving_.plan_;
    for (size_t i = 0; i < plan.size(); ++i) i == 0 ? First(plan[i]) : Later(plan[i]);
    if (plan.empty()) Convert(Own(0), SumOf(0), width_);
    Convert(SumOf(group_.rank), out_ + done_, Left(group_.rank));
  }

  // Own values leave as they are; to what stays, what comes is added on the way into the sums.
  void First(const HalvingStage& stage) {
    Row* outgoing = Room<Row>(halving_.outgoing_, std::ssize(stage.give) * width_);
    std::vector<bool> stays(static_cast<size_t>(group_.size), true);
    for (size_t i = 0; i < stage.give.size(); ++i) {
      stays[static_cast<size_t>(stage.give[i])] = false;
      Pack(stage.give[i], outgoing + static_cast<int64_t>(i) * width_);
    }
    for (const int slice : stage.take) stays[static_cast<size_t>(slice)] = false;
    for (int slice = 0; slice < group_.size; ++slice) {
      if (stays[static_cast<size_t>(slice)]) Convert(Own(slice), SumOf(slice), width_);
    }
    Exchange<Row>(stage, outgoing,
                  [&](int slice, const Row* more) { Add(Own(slice), more, SumOf(slice), width_); });
  }

  void Later(const HalvingStage& stage) {
    Sum* outgoing = Room<Sum>(halving_.outgoing_, std::ssize(stage.give) * width_);
    for (size_t i = 0; i < stage.give.size(); ++i) {
      std::memcpy(outgoing + static_cast<int64_t>(i) * width_, SumOf(stage.give[i]),
                  static_cast<size_t>(width_) * sizeof(Sum));
    }
    Exchange<Sum>(stage, outgoing, [&](int slice, const Sum* more) {
      Add(SumOf(slice), more, SumOf(slice), width_);
    });
  }

  // Sends what is packed, and takes what comes: take(slice, values).
  template <typename T, typename Take>
  void Exchange(const HalvingStage& stage, const T* outgoing, const Take& take) {
    T* incoming = Room<T>(halving_.incoming_, std::ssize(stage.take) * width_);
    const MPI_Datatype type = MpiType(c10::CppTypeToScalarType<T>::value);
    MPI_Request receive = MPI_REQUEST_NULL;
    MPI_Request send = MPI_REQUEST_NULL;
    group_.Check(
        MPI_Irecv(incoming, Count(stage.take), type, stage.from, kTag, group_.comm, &receive));
    group_.Send(outgoing, Count(stage.give), type, stage.to, kTag, &send);
    Await(group_, &receive, Patience::kBrisk);
    for (size_t i = 0; i < stage.take.size(); ++i) {
      take(stage.take[i], incoming + static_cast<int64_t>(i) * width_);
    }
    Await(group_, &send, Patience::kBrisk);
  }

  Sum* SumOf(int slice) const { return sums_ + slice * width_; }

  int Count(const std::vector<int>& slices) const {
    return static_cast<int>(std::ssize(slices) * width_);
  }

  // Elements of the slice that this round is about.
  int64_t Left(int slice) const {
    return std::clamp<int64_t>(begin_[slice + 1] - begin_[slice] - done_, 0, width_);
  }

  const char* Lies(int slice) const { return in_ + (begin_[slice] + done_) * in_width_; }

  // This rank's values of a slice as they travel, and zeros.
  void Pack(int slice, Row* to) const {
    const int64_t count = Left(slice);
    if (rounds_values_) {
      RoundTo(Narrow::kBFloat16, count, reinterpret_cast<const float*>(Lies(slice)),
              reinterpret_cast<uint16_t*>(to));
    } else if (count > 0) {
      std::memcpy(to, Lies(slice), static_cast<size_t>(count) * sizeof(Row));
    }
    std::fill(to + count, to + width_, Row(0));
  }

  // The same, where they lie if they can stay there; good until the next call.
  const Row* Own(int slice) {
    if (!rounds_values_ && Left(slice) == width_) return reinterpret_cast<const Row*>(Lies(slice));
    Row* values = Room<Row>(halving_.own_, width_);
    Pack(slice, values);
    return values;
  }

  Halving& halving_;
  MpiGroup& group_;
  const std::vector<int64_t>& begin_;
  const bool rounds_values_;
  const char* in_;
  const int64_t in_width_;
  Out* out_;
  int64_t done_ = 0;     // elements of every slice in earlier rounds
  int64_t width_ = 0;    // ... and in this one
  Sum* sums_ = nullptr;  // slice q's sum so far at q * width_
};

void Halving::ReduceSlice(MpiGroup& group, const at::Tensor& in, const std::vector<int64_t>& begin,
                          const at::Tensor& out, Wire wire) {
  const bool rounds = wire == Wire::kBFloat16;
  CONTRAIL_ASSERT(!rounds || in.scalar_type() == at::kFloat);
  WithSumTypes(in.scalar_type(), rounds ? at::kBFloat16 : in.scalar_type(),
               [&]<typename Row, typename Sum, typename Out>(Row, Sum, Out) {
                 Reduction<Row, Sum, Out>(*this, group, in, begin, out).Run();
               });
}

namespace {

// The next elements of some slices where they lie, as one thing to send or receive.
class Blocks {
 public:
  Blocks(const MpiGroup& group, const std::vector<int>& slices, const std::vector<int64_t>& begin,
         int64_t done, int64_t width, at::ScalarType type) {
    const auto bytes = static_cast<int64_t>(c10::elementSize(type));
    std::vector<int> lengths;
    std::vector<MPI_Aint> places;
    for (const int slice : slices) {
      lengths.push_back(
          static_cast<int>(std::clamp<int64_t>(begin[slice + 1] - begin[slice] - done, 0, width)));
      places.push_back((begin[slice] + done) * bytes);
    }
    group.Check(MPI_Type_create_hindexed(static_cast<int>(lengths.size()), lengths.data(),
                                         places.data(), MpiType(type), &type_));
    group.Check(MPI_Type_commit(&type_));
  }
  ~Blocks() { MPI_Type_free(&type_); }  // what is under way keeps it
  Blocks(const Blocks&) = delete;
  MPI_Datatype type() const { return type_; }

 private:
  MPI_Datatype type_ = MPI_DATATYPE_NULL;
};

}  // namespace

void Halving::Gather(MpiGroup& group, char* all, const std::vector<int64_t>& begin,
                     at::ScalarType type) {
  int64_t longest = 0;
  for (int q = 0; q < group.size; ++q) longest = std::max(longest, begin[q + 1] - begin[q]);
  const int64_t width = std::max<int64_t>(1, max_count_ / group.size);
  for (int64_t done = 0; done < longest; done += width) {
    for (auto stage = plan_.rbegin(); stage != plan_.rend(); ++stage) {
      const Blocks given(group, stage->give, begin, done, width, type);
      const Blocks taken(group, stage->take, begin, done, width, type);
      MPI_Request receive = MPI_REQUEST_NULL;
      MPI_Request send = MPI_REQUEST_NULL;
      group.Check(MPI_Irecv(all, 1, given.type(), stage->to, kTag, group.comm, &receive));
      group.Send(all, 1, taken.type(), stage->from, kTag, &send);
      Await(group, &receive, Patience::kBrisk);
      Await(group, &send, Patience::kBrisk);
    }
  }
}

}  // namespace contrail::worker
