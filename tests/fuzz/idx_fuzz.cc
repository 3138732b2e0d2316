// IDX pictures and labels: the first two bytes say how long the labels are.
#include "data/pack.h"
#include "tests/fuzz/fuzz.h"

using namespace contrail;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  static const fuzz::ScratchFile images("idx.images");
  static const fuzz::ScratchFile labels("idx.labels");
  static const data::PackNames names = {.classes = {"one", "two", "three"}, .templates = {}};
  const std::string_view bytes = fuzz::Text(data + 2, size - 2);
  const size_t cut = std::min<size_t>(bytes.size(), data[0] * 256u + data[1]);
  labels.Write(bytes.substr(0, cut));
  images.Write(bytes.substr(cut));
  fuzz::ReadOrRefuse([&] {
    data::PackOptions options;
    options.images = images.path();
    options.labels = labels.path();
    const auto source = data::OpenIdxSource(options, names);
    data::PackSample sample;
    for (int i = 0; i < 64 && source->Next(sample); ++i) {
      fuzz::Require(!sample.image.empty(), "a sample has a picture");
    }
  });
  return 0;
}
