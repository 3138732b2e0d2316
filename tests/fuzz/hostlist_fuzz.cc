// Slurm's host lists.
#include "slurm/hostlist.h"

#include "tests/fuzz/fuzz.h"

using namespace contrail;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::ReadOrRefuse([&] {
    fuzz::Require(slurm::ExpandHostList(fuzz::Text(data, size)).size() <= 65536, "the limit holds");
  });
  return 0;
}
