#include "model/resnet.h"

#include "common/error.h"

namespace contrail::model {
namespace {

constexpr int64_t kHeadSize = 64;

int64_t Side(const ModelSpec& spec) { return spec.resolution / 32; }

}  // namespace

ResnetTower::ResnetTower(const ModelSpec& spec)
    : resolution_(spec.resolution),
      width_(spec.resnet.width),
      bn_group_size_(spec.resnet.bn_group_size),
      pool_(Side(spec) * Side(spec), 32 * spec.resnet.width, 32 * spec.resnet.width / kHeadSize,
            spec.embed_dim) {
  const int64_t half = width_ / 2;
  stem_.emplace_back(ConvShape{.in = 3, .out = half, .kernel = 3, .stride = 2});
  stem_.emplace_back(ConvShape{.in = half, .out = half, .kernel = 3});
  stem_.emplace_back(ConvShape{.in = half, .out = width_, .kernel = 3});
  int64_t in = width_, planes = width_;
  for (size_t stage = 0; stage < spec.resnet.layers.size(); ++stage, planes *= 2) {
    for (int64_t i = 0; i < spec.resnet.layers[stage]; ++i) {
      blocks_.emplace_back(in, planes, stage > 0 && i == 0 ? 2 : 1);
      names_.push_back("layer" + std::to_string(stage + 1) + "." + std::to_string(i));
      in = blocks_.back().channels_out();
    }
  }
}

void ResnetTower::Declare(ParamList* list) {
  list->SetPrefix("visual.");
  first_group_ = list->NextGroup();
  for (size_t i = 0; i < kStem; ++i) {
    const std::string number = std::to_string(i + 1);
    stem_[i].Declare("conv" + number, "bn" + number, {Init::Kind::kOnes}, list);
  }
  for (size_t i = 0; i < blocks_.size(); ++i) {
    list->NextGroup();
    blocks_[i].Declare(names_[i], list);
  }
  pool_group_ = list->NextGroup();
  pool_.Declare(list);
}

std::vector<BufferSpec> ResnetTower::Buffers() const {
  std::vector<BufferSpec> buffers;
  for (size_t i = 0; i < kStem; ++i) {
    stem_[i].AddBuffers("visual.bn" + std::to_string(i + 1), &buffers);
  }
  for (size_t i = 0; i < blocks_.size(); ++i) {
    blocks_[i].AddBuffers("visual." + names_[i], &buffers);
  }
  return buffers;
}

void ResnetTower::Bind(ParamCursor* cursor) {
  for (ConvNorm& conv : stem_) conv.Bind(cursor);
  for (Bottleneck& block : blocks_) block.Bind(cursor);
  pool_.Bind(cursor);
}

void ResnetTower::BindBuffers(const std::vector<at::Tensor>& buffers) {
  size_t next = 0;
  for (ConvNorm& conv : stem_) conv.BindBuffers(buffers, &next);
  for (Bottleneck& block : blocks_) block.BindBuffers(buffers, &next);
}

void ResnetTower::FoldStatistics(const OpTable& ops) {
  for (ConvNorm& conv : stem_) conv.FoldStatistics(ops);
  for (Bottleneck& block : blocks_) block.FoldStatistics(ops);
}

void ResnetTower::DropStatistics() {
  for (ConvNorm& conv : stem_) conv.DropStatistics();
  for (Bottleneck& block : blocks_) block.DropStatistics();
}

ImageShape ResnetTower::InputShape(size_t block, int64_t count) const {
  ImageShape shape = StemShape(count).Halved();
  for (size_t i = 0; i < block; ++i) shape = blocks_[i].Out(shape);
  return shape;
}

View ResnetTower::Input(const Arena& arena, size_t block, int64_t count) const {
  const int64_t cols = block < blocks_.size() ? blocks_[block].channels_in() : 32 * width_;
  const size_t slot = training_ ? block : block % 2;
  return Shaped(arena, inputs_[slot], InputShape(block, count).rows(), cols);
}

void ResnetTower::Plan(int64_t samples, bool training, ArenaPlan* plan) {
  samples_ = samples;
  training_ = training;
  kept_ = 0;
  std::vector<int64_t> sizes;  // of the blocks' inputs and of the pool's
  for (const Bottleneck& block : blocks_) {
    sizes.push_back(InputShape(sizes.size(), samples).rows() * block.channels_in());
  }
  sizes.push_back(InputShape(blocks_.size(), samples).rows() * 32 * width_);
  if (!training) sizes.assign(2, *std::max_element(sizes.begin(), sizes.end()));
  inputs_.clear();
  for (const int64_t size : sizes) inputs_.push_back(plan->Add(1, size));
  pool_.Plan(samples, plan);

  const int64_t mark = plan->Mark();  // without training, layers take turns from here on
  pixels_ = plan->Add(samples * resolution_ * resolution_, 3);
  const int64_t rows = StemShape(samples).rows();
  for (size_t i = 0; i < kStem; ++i) {
    stem_[i].Plan(samples, rows, training, plan);
    stem_out_[i] = plan->Add(rows, i + 1 < kStem ? width_ / 2 : width_);
  }
  int64_t end = plan->Mark();
  for (size_t i = 0; i < blocks_.size(); ++i) {
    if (!training) plan->Rewind(mark);
    blocks_[i].Plan(InputShape(i, samples), training, plan);
    end = std::max(end, plan->Mark());
  }
  plan->Rewind(end);
}

void ResnetTower::PlanScratch(bool training, ArenaPlan* plan) {
  pool_.PlanScratch(training, plan);
  if (!training) return;
  const int64_t stem = StemShape(samples_).rows() * width_;
  int64_t most = stem, gradients = 0;
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const int64_t in = InputShape(i, samples_).rows() * blocks_[i].channels_in();
    const int64_t out = InputShape(i + 1, samples_).rows() * blocks_[i].channels_out();
    const int64_t wide =
        InputShape(i, samples_).rows() * blocks_[i].channels_out() / Bottleneck::kExpansion;
    most = std::max({most, in, out, wide});
    gradients = std::max({gradients, in, out});
  }
  scratch_.first = plan->Add(1, most);
  scratch_.second = plan->Add(1, most);
  d_even_ = plan->Add(1, gradients);
  d_odd_ = plan->Add(1, gradients);
}

NormMode ResnetTower::Mode(int64_t count, bool collect) const {
  if (!training_) return {.running = true};
  if (count <= bn_group_size_) return {.collect = collect, .groups = 1};
  CONTRAIL_ASSERT(count % bn_group_size_ == 0);
  return {.collect = collect, .groups = count / bn_group_size_};
}

void ResnetTower::ForwardStem(const OpTable& ops, const Arena& arena, const uint8_t* images,
                              int64_t count, const NormMode& mode) {
  View x = arena.At(pixels_, count * resolution_ * resolution_);
  ImageShape shape{count, resolution_, resolution_};
  ops.Patchify(images, count, resolution_, 1, x);  // patches of one pixel: channels-last
  for (size_t i = 0; i < kStem; ++i) {
    const View out = arena.At(stem_out_[i], StemShape(count).rows());
    stem_[i].Forward(ops, arena, x, shape, {}, mode, out);
    x = out;
    shape = StemShape(count);
  }
  ops.AveragePool(x, shape, Input(arena, 0, count));
}

void ResnetTower::Forward(const OpTable& ops, const Arena& arena, const uint8_t* images,
                          int64_t count, View features, bool keep) {
  const NormMode mode = Mode(count, keep);
  ForwardStem(ops, arena, images, count, mode);
  for (size_t i = 0; i < blocks_.size(); ++i) {
    blocks_[i].Forward(ops, arena, Input(arena, i, count), InputShape(i, count), mode,
                       Input(arena, i + 1, count));
  }
  pool_.Forward(ops, arena, Input(arena, blocks_.size(), count), features);
  kept_ = keep ? count : 0;
}

void ResnetTower::Backward(const OpTable& ops, const Arena& arena, View d_features,
                           const GroupDone& done) {
  const int64_t count = kept_;
  CONTRAIL_ASSERT(count > 0 && d_features.rows == count);
  const NormMode mode = Mode(count, false);
  const auto gradient = [&](size_t block) {
    const View like = Input(arena, block, count);
    return Shaped(arena, block % 2 == 0 ? d_even_ : d_odd_, like.rows, like.cols);
  };
  pool_.Backward(ops, arena, d_features, gradient(blocks_.size()));
  done(pool_group_);
  for (size_t i = blocks_.size(); i-- > 0;) {
    blocks_[i].Backward(ops, arena, scratch_, Input(arena, i, count), InputShape(i, count),
                        Input(arena, i + 1, count), mode, gradient(i + 1), gradient(i));
    done(first_group_ + 1 + static_cast<int>(i));
  }
  BackwardStem(ops, arena, mode, gradient(0));
  done(first_group_);
}

void ResnetTower::BackwardStem(const OpTable& ops, const Arena& arena, const NormMode& mode,
                               View d) const {
  const ImageShape shape = StemShape(kept_);
  const int64_t rows = shape.rows();
  const auto output = [&](size_t i) { return arena.At(stem_out_[i], rows); };
  const View d3 = Shaped(arena, scratch_.first, rows, width_);
  const View d2 = Shaped(arena, scratch_.second, rows, width_ / 2);
  const View d1 = Shaped(arena, scratch_.first, rows, width_ / 2);
  ops.AveragePoolBackward(d, shape, d3);
  stem_[2].Backward(ops, arena, output(1), shape, output(2), mode, d3, d3, d2);
  stem_[1].Backward(ops, arena, output(0), shape, output(1), mode, d2, d2, d1);
  stem_[0].Backward(ops, arena, arena.At(pixels_, kept_ * resolution_ * resolution_),
                    {kept_, resolution_, resolution_}, output(0), mode, d1, d1, {});
}

}  // namespace contrail::model
