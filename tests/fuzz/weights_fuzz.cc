// Files of weights, safetensors and zip archives: every tensor that is listed can be read.
#include "model/files/open_file.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/one_file.h"

using namespace contrail;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const OneFile fs{std::string(fuzz::Text(data, size))};
  fuzz::ReadOrRefuse([&] {
    model::files::WeightFile file = model::files::OpenWeightFile(fs, "a.weights");
    constexpr uint64_t kMost = 1 << 20;  // a stretched tensor needs more memory than the file has
    for (const model::files::StoredTensor& tensor : file.tensors) {
      const uint64_t count = model::files::CountElements(tensor.shape).value();
      if (count > kMost || !model::files::IsFloat(tensor.type)) continue;
      std::vector<float> values(count);
      file.Read(tensor, values.data());
    }
  });
  return 0;
}
