// Config files: what is taken can be written and read back.
#include "configs/load.h"
#include "tests/fuzz/fuzz.h"

using namespace contrail;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::ScratchFile file("config.toml");
  static const fuzz::ScratchFile resolved("resolved.toml");
  file.Write(fuzz::Text(data, size));
  fuzz::ReadOrRefuse([&] {
    const Config config = LoadConfig(file.path());
    const std::string text = ToToml(config);
    ResolvedValues(text);
    const Config back = LoadConfig(resolved.Write(text));
    fuzz::Require(TrainingFingerprint(back) == TrainingFingerprint(config),
                  "a resolved config reads back equal");
  });
  ResolvedValues(std::string(fuzz::Text(data, size)));
  return 0;
}
