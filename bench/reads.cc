// What an order of samples means for the disk: reads in it, undecoded, from shards that the page
// cache does not hold.
//   reads FOLDER interleaved|windows WINDOW BATCH BATCHES
// Prints a line: samples a second, reads and bytes a sample (the kernel's counts), and of how many
// shards and classes a batch is.

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <string>

#include "common/clock.h"
#include "data/dataset.h"

namespace {

using namespace contrail;  // NOLINT: a program of one function

// "syscr", "rchar" (asked for) and "read_bytes" (from the disk) of this process.
std::map<std::string, double> Io() {
  std::map<std::string, double> counts;
  std::ifstream file("/proc/self/io");
  std::string name;
  for (double value; file >> name >> value;) counts[name.substr(0, name.size() - 1)] = value;
  return counts;
}

void DropFromCache(const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    const int fd = ::open(path.c_str(), O_RDONLY);
    if (fd < 0) continue;
    ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    ::close(fd);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) {
    std::fputs("reads FOLDER interleaved|windows WINDOW BATCH BATCHES\n", stderr);
    return 2;
  }
  DropFromCache(data::ShardPaths({argv[1]}));
  const auto dataset = data::Dataset::Open({argv[1]});
  const data::SampleOrder order(1, dataset->shard_sizes(), std::strtoull(argv[3], nullptr, 10),
                                data::ParseOrder(argv[2]));
  const uint64_t batch = std::strtoull(argv[4], nullptr, 10);
  const uint64_t batches = std::strtoull(argv[5], nullptr, 10);
  auto before = Io();
  const double start = SystemClock().Monotonic();
  double shards = 0, classes = 0, samples = 0;
  for (uint64_t step = 0; step < batches; ++step) {
    std::set<std::string> shards_of_batch;
    std::set<int64_t> classes_of_batch;
    const data::BatchPosition at = data::PositionOfStep(step, order.size(), batch);
    for (uint64_t i = 0; i < batch; ++i, ++samples) {
      const uint64_t sample = order.At(at.epoch, at.first + i);
      classes_of_batch.insert(dataset->Read(sample).label);
      const std::string key = dataset->Key(sample);
      shards_of_batch.insert(key.substr(0, key.find('/')));
    }
    shards += static_cast<double>(shards_of_batch.size());
    classes += static_cast<double>(classes_of_batch.size());
  }
  const double seconds = SystemClock().Monotonic() - start;
  const auto after = Io();
  const auto each = [&](const char* name) { return (after.at(name) - before[name]) / samples; };
  std::printf(
      "%s: %.0f samples/s, %.2f reads and %.0f bytes asked for a sample, %.0f from the disk, "
      "%.1f shards and %.1f classes a batch\n",
      argv[2], samples / seconds, each("syscr"), each("rchar"), each("read_bytes"),
      shards / static_cast<double>(batches), classes / static_cast<double>(batches));
  return 0;
}
