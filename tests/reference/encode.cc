// Runs a model on raw files, for model_test.py.
//   encode MODEL ACTIVATION            prints "name dim dim ..." for each parameter, in order
//   encode MODEL ACTIVATION DIR        reads weights.f32 images.u8 ids.i32 offsets.i32 d_image.f32
//                                      d_text.f32; writes image.f32 text.f32 grads.f32
#include <cstdio>
#include <fstream>
#include <iostream>

#include "common/error.h"
#include "model/clip.h"

namespace contrail::model {
namespace {

at::Tensor Read(const std::string& path, at::ScalarType type) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) throw std::runtime_error("cannot read " + path);
  const auto bytes = static_cast<int64_t>(file.tellg());
  at::Tensor data = at::empty({bytes / static_cast<int64_t>(c10::elementSize(type))}, type);
  file.seekg(0).read(static_cast<char*>(data.mutable_data_ptr()), bytes);
  return data;
}

void Write(const std::string& path, const at::Tensor& data) {
  std::ofstream(path, std::ios::binary)
      .write(static_cast<const char*>(data.const_data_ptr()),
             static_cast<std::streamsize>(data.nbytes()));
}

BoundParams Slices(const std::vector<ParamSpec>& params, const at::Tensor& weights,
                   const at::Tensor& grads) {
  BoundParams bound;
  int64_t first = 0;
  for (const ParamSpec& spec : params) {
    bound.weights.push_back(weights.narrow(0, first, NumElements(spec)));
    bound.grads.push_back(grads.narrow(0, first, NumElements(spec)));
    first += NumElements(spec);
  }
  CONTRAIL_ASSERT(first == weights.numel());
  return bound;
}

void Encode(ClipModel& model, const std::string& dir) {
  const at::Tensor weights = Read(dir + "/weights.f32", at::kFloat);
  const at::Tensor grads = at::zeros_like(weights);
  const int64_t r = model.spec().resolution, d = model.spec().embed_dim;
  const at::Tensor images = Read(dir + "/images.u8", at::kByte).view({-1, 3, r, r});
  const TextBatch texts{Read(dir + "/ids.i32", at::kInt), Read(dir + "/offsets.i32", at::kInt)};
  const int64_t b = images.size(0);
  at::Tensor image = at::empty({b, d}), text = at::empty({b, d});

  model.Bind(Slices(model.params(), weights, grads));
  model.Plan(b, texts.token_ids.numel(), /*training=*/true);
  model.ForwardImages(images, image, Keep::kYes);
  model.ForwardTexts(texts, text, Keep::kYes);
  model.BackwardImages(Read(dir + "/d_image.f32", at::kFloat).view({b, d}), {});
  model.BackwardTexts(Read(dir + "/d_text.f32", at::kFloat).view({b, d}), {});
  Write(dir + "/image.f32", image);
  Write(dir + "/text.f32", text);
  Write(dir + "/grads.f32", grads);
}

int Main(int argc, char** argv) {
  ModelSpec spec = FindModel(argv[1]);
  spec.activation = argv[2];
  const auto model = ClipModel::Create(spec);
  if (argc == 4) {
    Encode(*model, argv[3]);
    return 0;
  }
  for (const ParamSpec& param : model->params()) {
    std::cout << param.name;
    for (const int64_t size : param.shape) std::cout << ' ' << size;
    std::cout << '\n';
  }
  return 0;
}

}  // namespace
}  // namespace contrail::model

int main(int argc, char** argv) {
  if (argc != 3 && argc != 4) {
    std::fputs("encode MODEL ACTIVATION [DIR]\n", stderr);
    return contrail::kExitUser;
  }
  try {
    return contrail::model::Main(argc, argv);
  } catch (const contrail::Error& error) {
    std::cerr << error.what() << '\n';
    return error.exit_code();
  }
}
