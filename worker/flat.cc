#include "worker/flat.h"

#include <ATen/Parallel.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "common/error.h"

namespace contrail::worker {
namespace {

constexpr int64_t kLeastBucket = int64_t{1} << 20;  // bytes
constexpr int64_t kMostBucket = int64_t{64} << 20;
constexpr int64_t kAlign = 32;  // elements: a cache line of 16-bit numbers

// Zeros on huge pages where the system has them: the optimizer walks through four arrays at once, a
// fifth faster with fewer page tables to read.
at::Tensor Zeros(int64_t elements, at::ScalarType type) {
  at::Tensor tensor = at::empty({elements}, type);
  constexpr uintptr_t kHugePage = uintptr_t{2} << 20;
  const auto begin = reinterpret_cast<uintptr_t>(tensor.data_ptr());
  const uintptr_t first = (begin + kHugePage - 1) / kHugePage * kHugePage;
  const uintptr_t last = (begin + tensor.nbytes()) / kHugePage * kHugePage;
  // Advice only: refused, it changes nothing.
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
  return tensor.zero_();
}

constexpr int64_t kExportPiece = int64_t{1} << 20;  // elements

// Copies a contiguous tensor out as fp32.
void Widen(const at::Tensor& from, float* to) {
  if (from.scalar_type() == at::kFloat) {
    std::memcpy(to, from.const_data_ptr<float>(), from.nbytes());
    return;
  }
  CONTRAIL_ASSERT(from.scalar_type() == at::kBFloat16);
  const auto* narrow = from.const_data_ptr<at::BFloat16>();
  for (int64_t i = 0; i < from.numel(); ++i) to[i] = static_cast<float>(narrow[i]);
}

bool IsText(const model::ParamSpec& spec) { return !spec.name.starts_with("visual."); }

int64_t RoundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

FlatParams::FlatParams(const std::vector<model::ParamSpec>& params, int rank, int size,
                       Options options)
    : rank_(rank), size_(size) {
  CONTRAIL_ASSERT(size > 0 && rank >= 0 && rank < size && !params.empty());
  PlanLayout(params);
  PlanBuckets(params, options);
  PlanRuns(params);
  Allocate(params, options);
  for (const Segment& segment : SegmentsOf(rank_)) own_elements_ += segment.count;
  StartBackward();
}

void FlatParams::PlanLayout(const std::vector<model::ParamSpec>& params) {
  for (const model::ParamSpec& spec : params) {
    const auto count = static_cast<uint64_t>(model::NumElements(spec));
    layout_.tensors.push_back({spec.name, spec.shape, layout_.num_elements, count});
    layout_.num_elements += count;
  }
}

void FlatParams::PlanBuckets(const std::vector<model::ParamSpec>& params, const Options& options) {
  const auto width = static_cast<int64_t>(sizeof(float));
  const int64_t bytes = options.bucket_bytes > 0
                            ? options.bucket_bytes
                            : std::clamp(num_elements() * width / 10, kLeastBucket, kMostBucket);
  const int64_t limit = bytes / width;
  CONTRAIL_ASSERT(options.text_masters || options.matrix_type == at::kBFloat16);
  if (options.matrix_type == at::kFloat) {
    FillBuckets(
        params, [](const model::ParamSpec&) { return true; }, limit);
  } else {
    using Spec = const model::ParamSpec&;
    if (options.text_masters) {
      FillBuckets(
          params, [](Spec spec) { return spec.matrix; }, limit);
    } else {
      FillBuckets(
          params, [](Spec spec) { return spec.matrix && IsText(spec); }, limit);
      FillBuckets(
          params, [](Spec spec) { return spec.matrix && !IsText(spec); }, limit);
    }
    FillBuckets(
        params, [](Spec spec) { return !spec.matrix; }, limit);
    // In the order in which backward completes them: by their last group.
    std::stable_sort(buckets_.begin(), buckets_.end(), [](const Bucket& a, const Bucket& b) {
      return a.groups.back() > b.groups.back();
    });
  }
  PlaceBuckets(params, options);
}

void FlatParams::FillBuckets(const std::vector<model::ParamSpec>& params, const Select& select,
                             int64_t limit) {
  std::map<int, std::vector<size_t>, std::greater<>> params_of_group;  // reverse order of use
  for (size_t i = 0; i < params.size(); ++i) {
    if (select(params[i])) params_of_group[params[i].group].push_back(i);
  }
  const size_t first = buckets_.size();
  for (const auto& [group, members] : params_of_group) {
    int64_t group_size = 0;
    for (size_t i : members) group_size += RoundUp(model::NumElements(params[i]), kAlign);
    if (buckets_.size() == first || buckets_.back().size + group_size > limit) {
      buckets_.push_back({});
    }
    Bucket& bucket = buckets_.back();
    bucket.groups.push_back(group);
    bucket.params.insert(bucket.params.end(), members.begin(), members.end());
    bucket.size += group_size;
  }
}

void FlatParams::PlaceBuckets(const std::vector<model::ParamSpec>& params, const Options& options) {
  place_.resize(params.size());
  int64_t physical = 0, wide = 0, narrow = 0, mastered = 0;
  for (size_t index = 0; index < buckets_.size(); ++index) {
    Bucket& bucket = buckets_[index];
    bucket.begin = physical;
    bucket.own_begin = physical / size_;
    const model::ParamSpec& first = params[bucket.params[0]];
    bucket.type = first.matrix ? options.matrix_type : at::kFloat;
    bucket.size = RoundUp(bucket.size, kAlign * size_);
    int64_t& working = bucket.type == at::kFloat ? wide : narrow;
    bucket.working_begin = working;
    working += bucket.size;
    bucket.has_masters = bucket.type != at::kFloat && (options.text_masters || !IsText(first));
    bucket.master_begin = mastered / size_;
    if (bucket.has_masters) mastered += bucket.size;
    int64_t place = physical;
    for (size_t i : bucket.params) {
      place_[i] = place;
      place += RoundUp(model::NumElements(params[i]), kAlign);
    }
    for (int group : bucket.groups) {
      if (static_cast<size_t>(group) >= buckets_of_group_.size())
        buckets_of_group_.resize(group + 1);
      buckets_of_group_[group].push_back(static_cast<int>(index));
    }
    physical += bucket.size;
  }
  wide_ = Zeros(wide, at::kFloat);
  if (narrow > 0) {
    narrow_ = Zeros(narrow, options.matrix_type);
    masters_ = Zeros(mastered / size_, at::kFloat);
  }
}

void FlatParams::PlanRuns(const std::vector<model::ParamSpec>& params) {
  for (Bucket& bucket : buckets_) {
    const int64_t slice = bucket.size / size_;
    const int64_t begin = bucket.begin + rank_ * slice;
    for (size_t i : bucket.params) {
      const auto logical = static_cast<int64_t>(layout_.tensors[i].begin);
      const int64_t to = std::min(begin + slice, place_[i] + model::NumElements(params[i]));
      for (int64_t at = std::max(begin, place_[i]); at < to; at += kLongestRun) {
        bucket.own_runs.push_back({at - begin, std::min(kLongestRun, to - at),
                                   logical + at - place_[i], params[i].decay});
      }
    }
  }
}

void FlatParams::Allocate(const std::vector<model::ParamSpec>& params, const Options& options) {
  const int64_t physical = buckets_.back().begin + buckets_.back().size;
  if (options.training) {
    grads_ = Zeros(physical, at::kFloat);
    exp_avg_ = Zeros(physical / size_, options.moment_type);
    exp_avg_sq_ = Zeros(physical / size_, options.moment_type);
  }
  for (size_t i = 0; i < params.size(); ++i) {
    const int64_t count = model::NumElements(params[i]);
    const Bucket& bucket = BucketAt(place_[i]);
    const at::Tensor& working = bucket.type == at::kFloat ? wide_ : narrow_;
    const int64_t place = bucket.working_begin + place_[i] - bucket.begin;
    views_.weights.push_back(working.narrow(0, place, count).view(params[i].shape));
    if (options.training)
      views_.grads.push_back(grads_.narrow(0, place_[i], count).view(params[i].shape));
  }
}

void FlatParams::ZeroGrads() { grads_.zero_(); }

const FlatParams::Bucket& FlatParams::BucketAt(int64_t physical) const {
  const auto after = std::upper_bound(
      buckets_.begin(), buckets_.end(), physical,
      [](int64_t element, const Bucket& bucket) { return element < bucket.begin; });
  CONTRAIL_ASSERT(after != buckets_.begin());
  return *(after - 1);
}

at::Tensor FlatParams::weights(int bucket) const {
  const Bucket& b = buckets_[bucket];
  return (b.type == at::kFloat ? wide_ : narrow_).narrow(0, b.working_begin, b.size);
}

at::Tensor FlatParams::grads(int bucket) const {
  return grads_.narrow(0, buckets_[bucket].begin, buckets_[bucket].size);
}

at::Tensor FlatParams::OwnSlice(const at::Tensor& whole) const {
  const int64_t slice = whole.numel() / size_;
  return whole.narrow(0, rank_ * slice, slice);
}

at::Tensor FlatParams::own_working(int bucket) const { return OwnSlice(weights(bucket)); }

at::Tensor FlatParams::own_weights(int bucket) const {
  const Bucket& b = buckets_[bucket];
  if (!b.has_masters) return own_working(bucket);
  return masters_.narrow(0, b.master_begin, b.size / size_);
}

at::Tensor FlatParams::own_grads(int bucket) const { return OwnSlice(grads(bucket)); }

at::Tensor FlatParams::own_exp_avg(int bucket) const {
  return exp_avg_.narrow(0, buckets_[bucket].own_begin, buckets_[bucket].size / size_);
}

at::Tensor FlatParams::own_exp_avg_sq(int bucket) const {
  return exp_avg_sq_.narrow(0, buckets_[bucket].own_begin, buckets_[bucket].size / size_);
}

void FlatParams::RoundOwn(int bucket) {
  if (buckets_[bucket].has_masters) own_working(bucket).copy_(own_weights(bucket));
}

void FlatParams::SetWeight(size_t param, const at::Tensor& value) {
  CONTRAIL_ASSERT(value.scalar_type() == at::kFloat);
  views_.weights[param].copy_(value.view(views_.weights[param].sizes()));
  const auto begin = static_cast<int64_t>(layout_.tensors[param].begin);
  const at::Tensor flat = value.flatten();
  for (const Segment& segment : SegmentsOf(rank_)) {
    const int64_t offset = segment.logical - begin;
    if (offset < 0 || offset >= flat.numel()) continue;
    OwnOf(0, segment).copy_(flat.narrow(0, offset, segment.count));
  }
}

const std::vector<FlatParams::Run>& FlatParams::own_runs(int bucket) const {
  return buckets_[bucket].own_runs;
}

void FlatParams::StartBackward() {
  group_done_.assign(buckets_of_group_.size(), false);
  for (Bucket& bucket : buckets_) bucket.groups_left = static_cast<int>(bucket.groups.size());
}

std::vector<int> FlatParams::GroupDone(int group) {
  CONTRAIL_ASSERT(group >= 0 && group < static_cast<int>(buckets_of_group_.size()) &&
                  !buckets_of_group_[group].empty() && !group_done_[group]);
  group_done_[group] = true;
  std::vector<int> complete;
  for (const int bucket : buckets_of_group_[group]) {
    if (--buckets_[bucket].groups_left == 0) complete.push_back(bucket);
  }
  return complete;
}

std::vector<FlatParams::Segment> FlatParams::SegmentsOf(int rank) const {
  CONTRAIL_ASSERT(rank >= 0 && rank < size_);
  std::vector<Segment> segments;
  for (size_t i = 0; i < place_.size(); ++i) {
    const auto count = static_cast<int64_t>(layout_.tensors[i].num_elements);
    const auto logical = static_cast<int64_t>(layout_.tensors[i].begin);
    for (const Bucket& bucket : buckets_) {
      const int64_t slice = bucket.size / size_;
      const int64_t begin = bucket.begin + rank * slice;
      const int64_t from = std::max(begin, place_[i]);
      const int64_t to = std::min(begin + slice, place_[i] + count);
      if (from < to) segments.push_back({logical + from - place_[i], from, to - from});
    }
  }
  return segments;
}

std::vector<ckpt::Range> FlatParams::RangesOf(int rank) const {
  std::vector<ckpt::Range> ranges;
  for (const Segment& segment : SegmentsOf(rank)) {
    const auto begin = static_cast<uint64_t>(segment.logical);
    const auto end = static_cast<uint64_t>(segment.logical + segment.count);
    if (!ranges.empty() && ranges.back().end == begin) {
      ranges.back().end = end;
    } else {
      ranges.push_back({begin, end});
    }
  }
  return ranges;
}

at::Tensor FlatParams::OwnOf(int kind, const Segment& segment) const {
  const Bucket& bucket = BucketAt(segment.physical);
  const int64_t offset = segment.physical - bucket.begin;
  const int64_t own = offset - rank_ * (bucket.size / size_);
  if (kind != 0) {
    return (kind == 1 ? exp_avg_ : exp_avg_sq_).narrow(0, bucket.own_begin + own, segment.count);
  }
  if (bucket.has_masters) return masters_.narrow(0, bucket.master_begin + own, segment.count);
  const at::Tensor& working = bucket.type == at::kFloat ? wide_ : narrow_;
  return working.narrow(0, bucket.working_begin + offset, segment.count);
}

void FlatParams::ExportOwn(int kind, float* out) const {
  CONTRAIL_ASSERT(kind >= 0 && kind < ckpt::kNumKinds);
  // Training waits for this: all threads share one list of pieces, so that they meet once and not
  // at the end of every tensor.
  struct Piece {
    at::Tensor from;
    float* to;
  };
  std::vector<Piece> pieces;
  for (const Segment& segment : SegmentsOf(rank_)) {
    const at::Tensor own = OwnOf(kind, segment);
    for (int64_t at = 0; at < segment.count; at += kExportPiece) {
      pieces.push_back({own.narrow(0, at, std::min(kExportPiece, segment.count - at)), out + at});
    }
    out += segment.count;
  }
  at::parallel_for(0, static_cast<int64_t>(pieces.size()), 1, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) Widen(pieces[i].from, pieces[i].to);
  });
}

void FlatParams::ImportOwn(int kind, const float* in) {
  CONTRAIL_ASSERT(kind >= 0 && kind < ckpt::kNumKinds);
  for (const Segment& segment : SegmentsOf(rank_)) {
    OwnOf(kind, segment).copy_(at::from_blob(const_cast<float*>(in), {segment.count}, at::kFloat));
    in += segment.count;
  }
}

void FlatParams::ExportWeights(float* out) const {
  for (size_t i = 0; i < place_.size(); ++i) {
    const ckpt::TensorInfo& info = layout_.tensors[i];
    const auto count = static_cast<int64_t>(info.num_elements);
    at::from_blob(out + info.begin, {count}, at::kFloat).copy_(views_.weights[i].flatten());
  }
}

void FlatParams::ImportWeights(const float* in) {
  for (size_t i = 0; i < place_.size(); ++i) {
    const ckpt::TensorInfo& info = layout_.tensors[i];
    const auto count = static_cast<int64_t>(info.num_elements);
    SetWeight(i, at::from_blob(const_cast<float*>(in + info.begin), {count}, at::kFloat));
  }
}

int64_t FlatParams::optimizer_bytes() const {
  int64_t bytes = 0;
  for (const at::Tensor& tensor : {masters_, exp_avg_, exp_avg_sq_}) {
    if (tensor.defined()) bytes += static_cast<int64_t>(tensor.nbytes());
  }
  return bytes;
}

int64_t FlatParams::bytes() const {
  int64_t bytes = optimizer_bytes();
  for (const at::Tensor& tensor : {wide_, narrow_, grads_}) {
    if (tensor.defined()) bytes += static_cast<int64_t>(tensor.nbytes());
  }
  return bytes;
}

}  // namespace contrail::worker
