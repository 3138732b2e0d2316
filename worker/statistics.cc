#include "worker/statistics.h"

#include "common/error.h"

namespace contrail::worker {
namespace {

int64_t ElementsOf(const model::BufferSpec& spec) {
  int64_t elements = 1;
  for (const int64_t size : spec.shape) elements *= size;
  return elements;
}

}  // namespace

RunningStatistics::RunningStatistics(const std::vector<model::BufferSpec>& specs) : specs_(specs) {
  int64_t total = 0;
  for (const model::BufferSpec& spec : specs_) total += ElementsOf(spec);
  flat_ = at::zeros({total}, at::kFloat);
  int64_t begin = 0;
  for (const model::BufferSpec& spec : specs_) {
    const int64_t size = ElementsOf(spec);
    views_.push_back(flat_.narrow(0, begin, size).view(spec.shape));
    views_.back().fill_(spec.initial);
    begin += size;
  }
}

void RunningStatistics::Average(Comm& comm) {
  if (specs_.empty()) return;
  comm.AllReduceSum(flat_);
  flat_.div_(comm.size());
}

std::vector<ckpt::NamedArray> RunningStatistics::Export() const {
  std::vector<ckpt::NamedArray> arrays;
  for (size_t i = 0; i < specs_.size(); ++i) {
    const float* data = views_[i].const_data_ptr<float>();
    arrays.push_back({specs_[i].name, specs_[i].shape, {data, data + views_[i].numel()}});
  }
  return arrays;
}

void RunningStatistics::Import(const std::vector<at::Tensor>& values) {
  CONTRAIL_ASSERT(values.size() == views_.size());
  for (size_t i = 0; i < values.size(); ++i) views_[i].copy_(values[i]);
}

}  // namespace contrail::worker
