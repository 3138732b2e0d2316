// Sidecar indexes: the bytes stand for everything but the frame, which has to fit for a reader to
// look any further: the first line and the checksum.
#include <algorithm>

#include "common/hash.h"
#include "data/shard_index.h"
#include "tests/fuzz/fuzz.h"

using namespace contrail;

namespace {

std::string SmallArchive() {
  std::string tar = data::TarHeader("a.png", 4) + "PNG.";
  tar.resize(tar.size() + data::TarPadding(4), '\0');
  return tar + std::string(2 * data::kTarBlock, '\0');
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::ScratchFile archive("index.tar");
  static const fuzz::ScratchFile sidecar("index.tar.index");
  static const data::PositionedFile tar(archive.Write(SmallArchive()));
  static const std::string head = [] {
    const std::string text = data::IndexText(tar, data::ScanShard(tar));
    return text.substr(0, text.find(" samples="));
  }();
  const std::string_view bytes = fuzz::Text(data, size);
  sidecar.Write(bytes);
  data::ReadIndex(tar);

  const auto lines = std::count(bytes.begin(), bytes.end(), '\n');
  std::string text = head + " samples=" + std::to_string(lines) + " skipped=0\n";
  text += bytes;
  char end[16];
  std::snprintf(end, sizeof end, "end %08x\n", Crc32c(0, text.data(), text.size()));
  sidecar.Write(text + end);
  data::ReadIndex(tar);
  data::ReadIndexHead(tar);
  return 0;
}
