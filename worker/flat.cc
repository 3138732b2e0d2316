#include "worker/flat.h"

#include <cstring>
#include <map>

#include "common/error.h"

namespace contrail::worker {
namespace {

constexpr int64_t kAlign = 16;  // elements: one cache line, one AVX-512 register

int64_t RoundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

FlatParams::FlatParams(const std::vector<model::ParamSpec>& params, int rank, int size,
                       Options options)
    : rank_(rank), size_(size) {
  CONTRAIL_ASSERT(size > 0 && rank >= 0 && rank < size && !params.empty());
  PlanLayout(params);
  PlanBuckets(params, options.bucket_bytes);
  PlanStretches(params);
  Allocate(params, options.training);
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

void FlatParams::PlanBuckets(const std::vector<model::ParamSpec>& params, int64_t bucket_bytes) {
  std::map<int, std::vector<size_t>, std::greater<>> params_of_group;  // reverse order of use
  for (size_t i = 0; i < params.size(); ++i) params_of_group[params[i].group].push_back(i);
  bucket_of_group_.assign(params_of_group.begin()->first + 1, -1);
  place_.resize(params.size());

  const int64_t limit = bucket_bytes / static_cast<int64_t>(sizeof(float));
  int64_t physical = 0;
  const auto close = [&] {
    if (buckets_.empty()) return;
    Bucket& last = buckets_.back();
    last.size = RoundUp(physical - last.begin, kAlign * size_);
    physical = last.begin + last.size;
  };
  for (const auto& [group, members] : params_of_group) {
    int64_t group_size = 0;
    for (size_t i : members) group_size += RoundUp(model::NumElements(params[i]), kAlign);
    if (buckets_.empty() || physical - buckets_.back().begin + group_size > limit) {
      close();
      buckets_.push_back({});
      buckets_.back().begin = physical;
    }
    buckets_.back().groups.push_back(group);
    bucket_of_group_[group] = num_buckets() - 1;
    for (size_t i : members) {
      place_[i] = physical;
      physical += RoundUp(model::NumElements(params[i]), kAlign);
    }
  }
  close();
  for (Bucket& bucket : buckets_) bucket.own_begin = bucket.begin / size_;
}

void FlatParams::PlanStretches(const std::vector<model::ParamSpec>& params) {
  for (Bucket& bucket : buckets_) {
    const int64_t slice = bucket.size / size_;
    const int64_t begin = bucket.begin + rank_ * slice;
    // Decaying parameters cut to the own slice; whatever lies between does not decay.
    std::map<int64_t, int64_t> decaying;
    for (size_t i = 0; i < params.size(); ++i) {
      const int64_t end_of_param = place_[i] + RoundUp(model::NumElements(params[i]), kAlign);
      const int64_t from = std::max(begin, place_[i]);
      const int64_t to = std::min(begin + slice, end_of_param);
      if (params[i].decay && from < to) decaying[from - begin] = to - begin;
    }
    int64_t done = 0;
    const auto add = [&](int64_t end, bool decay) {
      if (end == done) return;
      std::vector<Stretch>& list = bucket.own_stretches;
      if (!list.empty() && list.back().decay == decay) {
        list.back().end = end;
      } else {
        list.push_back({done, end, decay});
      }
      done = end;
    };
    for (const auto& [from, to] : decaying) {
      add(from, false);
      add(to, true);
    }
    add(slice, false);
  }
}

void FlatParams::Allocate(const std::vector<model::ParamSpec>& params, bool training) {
  const int64_t physical = buckets_.back().begin + buckets_.back().size;
  weights_ = at::zeros({physical}, at::kFloat);
  if (training) {
    grads_ = at::zeros({physical}, at::kFloat);
    exp_avg_ = at::zeros({physical / size_}, at::kFloat);
    exp_avg_sq_ = at::zeros({physical / size_}, at::kFloat);
  }
  for (size_t i = 0; i < params.size(); ++i) {
    const int64_t count = model::NumElements(params[i]);
    views_.weights.push_back(weights_.narrow(0, place_[i], count).view(params[i].shape));
    if (training) views_.grads.push_back(grads_.narrow(0, place_[i], count).view(params[i].shape));
  }
}

void FlatParams::ZeroGrads() { grads_.zero_(); }

at::Tensor FlatParams::weights(int bucket) const {
  return weights_.narrow(0, buckets_[bucket].begin, buckets_[bucket].size);
}

at::Tensor FlatParams::grads(int bucket) const {
  return grads_.narrow(0, buckets_[bucket].begin, buckets_[bucket].size);
}

at::Tensor FlatParams::OwnSlice(const at::Tensor& physical, const Bucket& bucket) const {
  const int64_t slice = bucket.size / size_;
  return physical.narrow(0, bucket.begin + rank_ * slice, slice);
}

at::Tensor FlatParams::own_weights(int bucket) const {
  return OwnSlice(weights_, buckets_[bucket]);
}

at::Tensor FlatParams::own_grads(int bucket) const { return OwnSlice(grads_, buckets_[bucket]); }

at::Tensor FlatParams::own_exp_avg(int bucket) const {
  return exp_avg_.narrow(0, buckets_[bucket].own_begin, buckets_[bucket].size / size_);
}

at::Tensor FlatParams::own_exp_avg_sq(int bucket) const {
  return exp_avg_sq_.narrow(0, buckets_[bucket].own_begin, buckets_[bucket].size / size_);
}

const std::vector<FlatParams::Stretch>& FlatParams::own_stretches(int bucket) const {
  return buckets_[bucket].own_stretches;
}

void FlatParams::StartBackward() {
  group_done_.assign(bucket_of_group_.size(), false);
  for (Bucket& bucket : buckets_) bucket.groups_left = static_cast<int>(bucket.groups.size());
}

std::optional<int> FlatParams::GroupDone(int group) {
  CONTRAIL_ASSERT(group >= 0 && group < static_cast<int>(bucket_of_group_.size()) &&
                  bucket_of_group_[group] >= 0 && !group_done_[group]);
  group_done_[group] = true;
  const int bucket = bucket_of_group_[group];
  if (--buckets_[bucket].groups_left > 0) return std::nullopt;
  return bucket;
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

float* FlatParams::OwnAddress(int kind, const Segment& segment) const {
  if (kind == 0) return weights_.data_ptr<float>() + segment.physical;
  for (const Bucket& bucket : buckets_) {
    const int64_t offset = segment.physical - bucket.begin;
    if (offset < 0 || offset >= bucket.size) continue;
    const int64_t own = bucket.own_begin + offset - rank_ * (bucket.size / size_);
    return (kind == 1 ? exp_avg_ : exp_avg_sq_).data_ptr<float>() + own;
  }
  CONTRAIL_ASSERT(!"segment lies in a bucket");
  return nullptr;
}

void FlatParams::ExportOwn(int kind, float* out) const {
  CONTRAIL_ASSERT(kind >= 0 && kind < ckpt::kNumKinds);
  for (const Segment& segment : SegmentsOf(rank_)) {
    std::memcpy(out, OwnAddress(kind, segment), segment.count * sizeof(float));
    out += segment.count;
  }
}

void FlatParams::ImportOwn(int kind, const float* in) {
  CONTRAIL_ASSERT(kind >= 0 && kind < ckpt::kNumKinds);
  for (const Segment& segment : SegmentsOf(rank_)) {
    std::memcpy(OwnAddress(kind, segment), in, segment.count * sizeof(float));
    in += segment.count;
  }
}

void FlatParams::ExportWeights(float* out) const {
  for (size_t i = 0; i < place_.size(); ++i) {
    std::memcpy(out + layout_.tensors[i].begin, weights_.data_ptr<float>() + place_[i],
                layout_.tensors[i].num_elements * sizeof(float));
  }
}

void FlatParams::ImportWeights(const float* in) {
  for (size_t i = 0; i < place_.size(); ++i) {
    std::memcpy(weights_.data_ptr<float>() + place_[i], in + layout_.tensors[i].begin,
                layout_.tensors[i].num_elements * sizeof(float));
  }
}

int64_t FlatParams::bytes() const {
  int64_t elements = weights_.numel();
  for (const at::Tensor& tensor : {grads_, exp_avg_, exp_avg_sq_}) {
    if (tensor.defined()) elements += tensor.numel();
  }
  return elements * static_cast<int64_t>(sizeof(float));
}

}  // namespace contrail::worker
