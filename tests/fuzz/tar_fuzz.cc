// Tar shards: every member and every sample lies inside the file.
#include "data/tar.h"

#include "data/shard_index.h"
#include "tests/fuzz/fuzz.h"

using namespace contrail;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::ScratchFile file("tar");
  file.Write(fuzz::Text(data, size));
  const auto inside = [&](uint64_t offset, uint64_t bytes) {
    fuzz::Require(offset <= size && bytes <= size - offset, "contents lie inside the archive");
  };
  fuzz::ReadOrRefuse([&] {
    data::ScanTar(data::PositionedFile(file.path()),
                  [&](const data::TarMember& member) { inside(member.offset, member.size); });
  });
  fuzz::ReadOrRefuse([&] {
    for (const auto& sample : data::ScanShard(data::PositionedFile(file.path())).samples) {
      for (const auto& extent : {sample.image, sample.caption, sample.label}) {
        inside(extent.offset, extent.size);
      }
    }
  });
  return 0;
}
