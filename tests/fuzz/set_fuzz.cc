// --set key=value.
#include "configs/load.h"
#include "tests/fuzz/fuzz.h"

using namespace contrail;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::ScratchFile file("set.toml");
  static const std::string& path = file.Write("[data]\ntrain = [\"a.tar\"]\n[train]\nsteps = 10\n");
  fuzz::ReadOrRefuse([&] { LoadConfig(path, {std::string(fuzz::Text(data, size))}); });
  return 0;
}
