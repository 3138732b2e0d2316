#include "tests/eval/fixture.h"

#include <cstdlib>
#include <filesystem>

#include "common/error.h"
#include "common/file_system.h"
#include "data/pack.h"
#include "eval/weights.h"
#include "model/registry.h"

namespace contrail::eval {
namespace {

std::string Photos(const std::string& what) {
  return std::string("/usr/share/datasets/fashion-mnist/t10k-").append(what);
}

std::string Preset(const std::string& name) {
  return std::string(CONTRAIL_SOURCE_DIR).append("/configs/presets/").append(name);
}

}  // namespace

PackedPhotos::PackedPhotos(uint64_t samples) {
  char name[] = "/tmp/contrail-eval-XXXXXX";
  CONTRAIL_ASSERT(mkdtemp(name) != nullptr);
  dir_ = name;
  data::PackOptions options;
  options.out = dir_;
  options.limit = samples;
  options.images = Photos("images-idx3-ubyte.gz");
  options.labels = Photos("labels-idx1-ubyte.gz");
  options.classes = Preset("fashion_classnames.txt");
  options.templates = Preset("fashion_templates.txt");
  data::Pack(PosixFileSystem(), options);
}

PackedPhotos::~PackedPhotos() { std::filesystem::remove_all(dir_); }

std::unique_ptr<Encoder> FreshEncoder(uint64_t seed, int64_t batch_size) {
  const model::ModelSpec& spec = model::FindModel("tiny-vit");
  const auto params = model::ClipModel::Create(spec)->params();
  const ckpt::Layout layout = LayoutOf(params);
  at::Tensor flat = at::zeros({static_cast<int64_t>(layout.num_elements)}, at::kFloat);
  const std::vector<at::Tensor> views = ViewsOf(flat, layout);
  for (size_t i = 0; i < params.size(); ++i) model::InitParam(params[i], seed, views[i]);
  return std::make_unique<Encoder>(spec, flat, data::Tokenizer::Load(), batch_size);
}

}  // namespace contrail::eval
