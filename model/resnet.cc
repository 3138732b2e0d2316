#include "model/resnet.h"

#include "common/error.h"

namespace contrail::model {
namespace {

constexpr int64_t kHeadSize = 64;

int64_t Side(const ModelSpec& spec) { return spec.resolution / 32; }

}  // namespace

ResnetTower::ResnetTower(const ModelSpec& spec)
    : resolution_(spec.resolution),
      pixels_are_(NormalisationNamed(spec.mean_std)),
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
      stages_.push_back(static_cast<int>(stage));
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
  return Shaped(arena, inputs_[block], InputShape(block, count).rows(), InputChannels(block));
}

int64_t ResnetTower::GroupsOf(int64_t count) const {
  return training_ && count > bn_group_size_ ? count / bn_group_size_ : 1;
}

NormMode ResnetTower::Mode(int64_t count, bool collect) const {
  if (!training_) return {.running = true};
  CONTRAIL_ASSERT(count <= bn_group_size_ || count % bn_group_size_ == 0);
  return {.collect = collect, .groups = GroupsOf(count)};
}

void ResnetTower::ForwardStem(const OpTable& ops, const Arena& arena, int64_t count,
                              const NormMode& mode, View out) {
  const ImageShape pixels{count, resolution_, resolution_}, shape = StemShape(count);
  const BatchNorm norm1 = stem_[0].Norm(arena, pixels, mode.groups);
  const BatchNorm norm2 = stem_[1].Norm(arena, shape, mode.groups);
  const BatchNorm norm3 = stem_[2].Norm(arena, shape, mode.groups);
  stem_[0].Forward(ops, arena, {arena.At(pixels_, pixels.rows()), pixels}, mode);
  stem_[1].Forward(ops, arena, {norm1.x, shape, &norm1}, mode);
  stem_[2].Forward(ops, arena, {norm2.x, shape, &norm2}, mode);
  ops.AveragePool({norm3.x, shape, &norm3}, out);
}

void ResnetTower::Forward(const OpTable& ops, const Arena& arena, const uint8_t* images,
                          int64_t count, View features, bool keep) {
  const NormMode mode = Mode(count, keep);
  if (needed_) needed_(first_group_);
  // Patches of one pixel: channels-last.
  ops.Patchify(images, count, resolution_, 1, pixels_are_,
               arena.At(pixels_, count * resolution_ * resolution_));
  ForwardStem(ops, arena, count, mode, Input(arena, 0, count));
  for (size_t i = 0; i < blocks_.size(); ++i) {
    if (needed_) needed_(first_group_ + 1 + static_cast<int>(i));
    blocks_[i].Forward(ops, arena, Input(arena, i, count), InputShape(i, count), mode,
                       Input(arena, i + 1, count));
  }
  if (needed_) needed_(pool_group_);
  pool_.Forward(ops, arena, Input(arena, blocks_.size(), count), features);
  kept_ = keep ? count : 0;
}

void ResnetTower::Backward(const OpTable& ops, const Arena& arena, View d_features,
                           const GroupDone& done) {
  const int64_t count = kept_;
  CONTRAIL_ASSERT(count > 0 && d_features.rows == count);
  const NormMode again = Mode(count, /*collect=*/false);
  const int64_t groups = again.groups;
  const auto gradient = [&](size_t block) {
    const View like = Input(arena, block, count);
    return Shaped(arena, d_inputs_[GradientOf(block)], like.rows, like.cols);
  };
  const auto last_norm = [&](size_t block) {
    return blocks_[block].LastNorm(arena, InputShape(block, count), groups);
  };
  const auto after = [&](size_t block, const BatchNorm& norm) {
    return Through{&norm, Through::Relu::kOutput, Input(arena, block + 1, count)};
  };
  View d = gradient(blocks_.size());
  pool_.Backward(ops, arena, d_features, d);
  done(pool_group_);
  for (size_t i = blocks_.size(); i-- > 0;) {
    const View x = Input(arena, i, count);
    const ImageShape in = InputShape(i, count);
    const bool last = i + 1 == blocks_.size();
    // The last block's activations are still there.
    if (recompute_ && !last)
      blocks_[i].Forward(ops, arena, x, in, again, Input(arena, i + 1, count));
    if (FormsAgain(i)) blocks_[i].FormIdentityAgain(ops, arena, x, in, groups);
    if (FormsAgain(i) && last) blocks_[i].FormLastAgain(ops, arena, in, groups);
    const BatchNorm own = last_norm(i);
    if (recompute_ || last) ops.BatchNormThrough(d, after(i, own));
    const View d_x = gradient(i);
    if (recompute_ || i == 0) {
      blocks_[i].Backward(ops, arena, x, in, groups, d, d_x, nullptr);
    } else {
      if (FormsAgain(i - 1)) {
        blocks_[i - 1].FormLastAgain(ops, arena, InputShape(i - 1, count), groups);
      }
      const BatchNorm norm = last_norm(i - 1);
      const Through before = after(i - 1, norm);
      blocks_[i].Backward(ops, arena, x, in, groups, d, d_x, &before);
    }
    d = d_x;
    done(first_group_ + 1 + static_cast<int>(i));
  }
  if (recompute_) ForwardStem(ops, arena, count, again, Input(arena, 0, count));
  BackwardStem(ops, arena, groups, d);
  done(first_group_);
}

void ResnetTower::BackwardStem(const OpTable& ops, const Arena& arena, int64_t groups,
                               View d) const {
  const ImageShape pixels{kept_, resolution_, resolution_}, shape = StemShape(kept_);
  const int64_t rows = shape.rows();
  const BatchNorm norm1 = stem_[0].Norm(arena, pixels, groups);
  const BatchNorm norm2 = stem_[1].Norm(arena, shape, groups);
  const BatchNorm norm3 = stem_[2].Norm(arena, shape, groups);
  const Through after1{&norm1, Through::Relu::kOwn}, after2{&norm2, Through::Relu::kOwn};
  const Through after3{&norm3, Through::Relu::kOwn};
  const View d3 = Shaped(arena, stem_scratch_.first, rows, width_);
  const View d2 = Shaped(arena, stem_scratch_.second, rows, width_ / 2);
  const View d1 = Shaped(arena, stem_scratch_.first, rows, width_ / 2);
  ops.AveragePoolBackward(d, shape, d3, &after3);
  stem_[2].BackwardWeight(ops, arena, {norm2.x, shape, &norm2}, groups, d3, d3);
  stem_[2].BackwardInput(ops, shape, d3, false, d2, &after2);
  stem_[1].BackwardWeight(ops, arena, {norm1.x, shape, &norm1}, groups, d2, d2);
  stem_[1].BackwardInput(ops, shape, d2, false, d1, &after1);
  stem_[0].BackwardWeight(ops, arena, {arena.At(pixels_, pixels.rows()), pixels}, groups, d1, d1);
}

}  // namespace contrail::model
