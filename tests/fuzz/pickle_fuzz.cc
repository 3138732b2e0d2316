// Pickles of tensors: nothing is called, nothing is read past the end.
#include "model/files/pickle.h"

#include "tests/fuzz/fuzz.h"

using namespace contrail;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes(fuzz::Text(data, size));
  for (const bool modules : {false, true}) {
    fuzz::ReadOrRefuse([&] { model::files::Pickle(bytes, "data.pkl", modules); });
  }
  return 0;
}
