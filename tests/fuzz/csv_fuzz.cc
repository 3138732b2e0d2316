// Tables with a header row: every row has as many fields as the header.
#include "data/csv.h"
#include "tests/fuzz/fuzz.h"

using namespace contrail;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::ScratchFile file("csv");
  file.Write(fuzz::Text(data, size));
  fuzz::ReadOrRefuse([&] {
    data::CsvReader reader(file.path());
    std::vector<std::string> row;
    while (reader.Next(row)) {
      fuzz::Require(row.size() == reader.header().size(), "a row is as wide as the header");
    }
  });
  return 0;
}
