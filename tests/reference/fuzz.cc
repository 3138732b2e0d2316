// Damages a file of weights in memory, over and over, and opens and reads it each time: a reader
// may refuse with a user's error or succeed, nothing else.
//   fuzz FILE ROUNDS [SEED]            prints "ROUNDS rounds: N refused, M read"
// Half of the rounds cut the file short; the others change one to four bytes, mostly where the
// structure is: at the ends, in headers, in the pickle.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "common/error.h"
#include "model/files/open_file.h"
#include "tests/fuzz/one_file.h"

namespace contrail::model::files {
namespace {

// Whether all of it can be read.
bool ReadsWhole(const FileSystem& fs, const std::string& path) {
  try {
    WeightFile file = OpenWeightFile(fs, path);
    constexpr uint64_t kMost = 1 << 26;  // a stretched tensor needs more memory than the file has
    for (const StoredTensor& tensor : file.tensors) {
      const uint64_t count = CountElements(tensor.shape).value();
      if (count > kMost || !IsFloat(tensor.type)) continue;
      std::vector<float> values(count);
      file.Read(tensor, values.data());
    }
    return true;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kUser) throw;
    return false;
  }
}

// Places where structure lies: both ends, and around every header of a zip archive.
std::vector<size_t> StructurePlaces(const std::string& bytes) {
  std::vector<size_t> places;
  const auto add = [&](size_t from, size_t count) {
    for (size_t i = from; i < std::min(from + count, bytes.size()); ++i) places.push_back(i);
  };
  add(0, 4096);
  add(bytes.size() - std::min<size_t>(bytes.size(), 8192), 8192);
  for (size_t at = 0; (at = bytes.find("PK\x03\x04", at)) != std::string::npos; ++at) add(at, 64);
  const size_t pickle = bytes.find("data.pkl");
  if (pickle != std::string::npos) add(pickle, 16384);
  return places;
}

int Main(const std::string& path, long rounds, unsigned seed) {
  OneFile fs(PosixFileSystem().ReadAll(path));
  const std::string whole = fs.bytes;
  if (!ReadsWhole(fs, path)) {
    std::fputs("the undamaged file is refused\n", stderr);
    return 1;
  }
  const std::vector<size_t> places = StructurePlaces(whole);
  std::mt19937 random(seed);
  long refused = 0;
  for (long round = 0; round < rounds; ++round) {
    fs.bytes = whole;
    if (round % 2 == 0) {
      fs.bytes.resize(random() % whole.size());
      if (ReadsWhole(fs, path)) {
        std::fprintf(stderr, "read although cut to %zu bytes\n", fs.bytes.size());
        return 1;
      }
      ++refused;
      continue;
    }
    for (unsigned i = 0; i <= random() % 4; ++i) {
      const size_t at =
          random() % 8 == 0 ? random() % whole.size() : places[random() % places.size()];
      constexpr unsigned char kNasty[] = {0, 1, 0x7f, 0x80, 0xff};
      fs.bytes[at] = static_cast<char>(random() % 2 ? kNasty[random() % 5] : random() % 256);
    }
    refused += !ReadsWhole(fs, path);
  }
  std::printf("%ld rounds: %ld refused, %ld read\n", rounds, refused, rounds - refused);
  return 0;
}

}  // namespace
}  // namespace contrail::model::files

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  return contrail::model::files::Main(argv[1], std::atol(argv[2]),
                                      argc > 3 ? static_cast<unsigned>(std::atol(argv[3])) : 1);
}
