// Runs a model on raw files, for model_test.py.
//   encode MODEL ACTIVATION            prints "name dim dim ..." for each parameter, in order
//   encode MODEL ACTIVATION init       prints "name sum squares lowest highest" of each as
//   initialised encode MODEL ACTIVATION DIR        reads weights.f32 buffers.f32 images.u8 ids.i32
//   offsets.i32 d_image.f32
//                                      d_text.f32; writes image.f32 text.f32 grads.f32, and
//                                      eval.f32 (images without training), running.f32 (after)
// With a last argument "double" it computes in fp64, with "bf16" or "fp16" in that; files stay
// fp32. Buffers are all of ClipModel::buffers(), in order; their names are printed after "buffers".
#include <cstdio>
#include <fstream>
#include <iostream>

#include "common/error.h"
#include "common/strings.h"
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

void Write(const std::string& path, const at::Tensor& values) {
  const at::Tensor data = values.to(at::kFloat);
  std::ofstream(path, std::ios::binary)
      .write(static_cast<const char*>(data.const_data_ptr()),
             static_cast<std::streamsize>(data.nbytes()));
}

// Piece by piece: of the largest model there is no room for a second copy.
void WriteScaled(const std::string& path, const at::Tensor& values, double scale) {
  std::ofstream file(path, std::ios::binary);
  for (const at::Tensor& piece : values.split(int64_t{1} << 24)) {
    const at::Tensor data = (piece * scale).to(at::kFloat);
    file.write(static_cast<const char*>(data.const_data_ptr()),
               static_cast<std::streamsize>(data.nbytes()));
  }
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

// fp16's gradients need the scale that a training step gives them.
constexpr double kHalfScale = 1024;

void Encode(ClipModel& model, const std::string& dir, at::ScalarType compute) {
  const at::ScalarType type = compute == at::kDouble ? at::kDouble : at::kFloat;
  const double scale = compute == at::kHalf ? kHalfScale : 1;
  const at::Tensor weights = Read(dir + "/weights.f32", at::kFloat).to(type);
  const at::Tensor grads = at::zeros_like(weights);
  const int64_t r = model.spec().resolution, d = model.spec().embed_dim;
  const at::Tensor images = Read(dir + "/images.u8", at::kByte).view({-1, 3, r, r});
  const TextBatch texts{Read(dir + "/ids.i32", at::kInt), Read(dir + "/offsets.i32", at::kInt)};
  const int64_t b = images.size(0);
  at::Tensor image = at::empty({b, d}, type), text = at::empty({b, d}, type);

  BoundParams bound = Slices(model.params(), weights, grads);
  for (size_t i = 0; i < bound.weights.size(); ++i) {
    if (model.params()[i].matrix) bound.weights[i] = bound.weights[i].to(compute);
  }
  const at::Tensor buffers = Read(dir + "/buffers.f32", at::kFloat).to(type);
  int64_t first = 0;
  for (const BufferSpec& spec : model.buffers()) {
    bound.buffers.push_back(buffers.narrow(0, first, spec.shape[0]));
    first += spec.shape[0];
  }
  CONTRAIL_ASSERT(first == buffers.numel());
  model.Bind(std::move(bound));
  model.Plan(b, texts.token_ids.numel(), /*training=*/false);
  model.ForwardImages(images, image, Keep::kNo);
  Write(dir + "/eval.f32", image);
  model.Plan(b, texts.token_ids.numel(), /*training=*/true);
  model.ForwardImages(images, image, Keep::kYes);
  model.ForwardTexts(texts, text, Keep::kYes);
  model.BackwardImages(Read(dir + "/d_image.f32", at::kFloat).view({b, d}).to(type) * scale, {});
  model.BackwardTexts(Read(dir + "/d_text.f32", at::kFloat).view({b, d}).to(type) * scale, {});
  Write(dir + "/image.f32", image);
  Write(dir + "/text.f32", text);
  WriteScaled(dir + "/grads.f32", grads, 1 / scale);
  model.FoldStatistics();
  Write(dir + "/running.f32", buffers);
}

// "RN50~1,1,1,1~2~96": RN50 with one block a stage, two text layers, for 96 x 96 pixels.
ModelSpec Named(const std::string& text) {
  const std::vector<std::string> parts = Split(text, '~');
  ModelSpec spec = FindModel(parts[0]);
  if (parts.size() < 4) return spec;
  std::vector<int64_t> layers;
  for (const std::string& part : Split(parts[1], ',')) layers.push_back(std::stol(part));
  if (spec.resnet.layers.empty()) {
    spec.vit.layers = layers[0];
  } else {
    spec.resnet.layers = layers;
  }
  spec.text.layers = std::stol(parts[2]);
  spec.resolution = std::stol(parts[3]);
  return spec;
}

void Describe(const ClipModel& model) {
  for (const ParamSpec& param : model.params()) {
    std::cout << param.name;
    for (const int64_t size : param.shape) std::cout << ' ' << size;
    std::cout << '\n';
  }
  std::cout << "buffers";
  for (const BufferSpec& buffer : model.buffers()) std::cout << ' ' << buffer.name;
  std::cout << '\n';
}

// Of each parameter as a run would begin: its sum and its sum of squares.
void DescribeInit(const ClipModel& model) {
  for (const ParamSpec& param : model.params()) {
    at::Tensor value = at::empty({NumElements(param)});
    InitParam(param, /*seed=*/1, value);
    const at::Tensor wide = value.to(at::kDouble);
    std::printf("%s %.17g %.17g %.9g %.9g\n", param.name.c_str(), wide.sum().item<double>(),
                wide.square().sum().item<double>(), value.min().item<double>(),
                value.max().item<double>());
  }
}

int Main(int argc, char** argv) {
  ModelSpec spec = Named(argv[1]);
  spec.activation = argv[2];
  const auto model = ClipModel::Create(spec);
  if (argc == 3) {
    Describe(*model);
  } else if (std::string(argv[3]) == "init") {
    DescribeInit(*model);
  } else {
    const std::string precision = argc == 5 ? argv[4] : "fp32";
    Encode(*model, argv[3],
           precision == "double" ? at::kDouble
           : precision == "bf16" ? at::kBFloat16
           : precision == "fp16" ? at::kHalf
                                 : at::kFloat);
  }
  return 0;
}

}  // namespace
}  // namespace contrail::model

int main(int argc, char** argv) {
  if (argc < 3 || argc > 5) {
    std::fputs("encode MODEL ACTIVATION [init | DIR [double|bf16|fp16]]\n", stderr);
    return contrail::kExitUser;
  }
  try {
    return contrail::model::Main(argc, argv);
  } catch (const contrail::Error& error) {
    std::cerr << error.what() << '\n';
    return error.exit_code();
  }
}
