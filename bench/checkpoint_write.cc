// Saving a checkpoint against a plain write + fsync of the same bytes.
//
//   checkpoint_write [--mb 600] [--pairs 9] [DIR]
//
// Ranks are threads of one process, from memory that is there already. The peer writes as many
// files at once, 4 MiB at a time, through the page cache or past it (dd conv=fsync, and
// oflag=direct with it), with nothing else to do; Contrail's save is timed with the processor idle
// and with every core busy, as in training. Sides take turns, the medians of pairs are printed.

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "checkpoint/save.h"
#include "common/error.h"

namespace contrail {
namespace {

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct Job {
  std::string dir;
  std::vector<ckpt::SavePlan> plans;
  std::vector<std::shared_ptr<const ckpt::Snapshot>> snapshots;
};

// A model of a few hundred matrices, in equal slices.
Job MakeJob(const std::string& dir, int ranks, uint64_t bytes) {
  Job job;
  job.dir = dir;
  ckpt::SavePlan plan;
  plan.checkpoints_dir = dir + "/checkpoints";
  const uint64_t elements = bytes / sizeof(float) / ckpt::kNumKinds;
  constexpr uint64_t kWidth = 768;
  while (plan.layout.num_elements < elements) {
    const uint64_t rows =
        std::min<uint64_t>(kWidth, (elements - plan.layout.num_elements + kWidth - 1) / kWidth);
    plan.layout.tensors.push_back({"block." + std::to_string(plan.layout.tensors.size()),
                                   {static_cast<int64_t>(rows), kWidth},
                                   plan.layout.num_elements,
                                   rows * kWidth});
    plan.layout.num_elements += rows * kWidth;
  }
  plan.state.model = "bench";
  const uint64_t all = plan.layout.num_elements;
  for (int rank = 0; rank < ranks; ++rank)
    plan.ranges_of_rank.push_back({{all * rank / ranks, all * (rank + 1) / ranks}});
  for (int rank = 0; rank < ranks; ++rank) {
    plan.topology = {rank, ranks, std::vector<int>(ranks, 0)};
    job.plans.push_back(plan);
    const auto snapshot = ckpt::SnapshotPool(plan.ranges_of_rank[rank]).Take();
    for (ckpt::Pages& data : snapshot->data)
      for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<float>(i * 2654435761u);
    job.snapshots.push_back(snapshot);
  }
  return job;
}

// One file a rank; each kind at a page of its own, as in a shard.
void PlainFile(const Job& job, size_t rank, int flags) {
  const std::string path = job.dir + "/plain." + std::to_string(rank);
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | flags, 0644);
  CONTRAIL_ASSERT(fd >= 0);
  uint64_t offset = 0;
  for (const ckpt::Pages& data : job.snapshots[rank]->data) {
    const char* bytes = reinterpret_cast<const char*>(data.data());
    // Whole pages: direct I/O takes no others.
    const uint64_t total = data.size() * sizeof(float) / 4096 * 4096;
    for (uint64_t at = 0; at < total;) {
      const uint64_t size = std::min<uint64_t>(4 << 20, total - at);
      const ssize_t n = ::pwrite(fd, bytes + at, size, static_cast<off_t>(offset + at));
      CONTRAIL_ASSERT(n > 0);
      at += static_cast<uint64_t>(n);
    }
    offset += total;
  }
  CONTRAIL_ASSERT(::fsync(fd) == 0 && ::close(fd) == 0);
}

double Plain(const Job& job, int flags) {
  const double start = Now();
  std::vector<std::thread> ranks;
  for (size_t rank = 0; rank < job.plans.size(); ++rank)
    ranks.emplace_back([&job, rank, flags] { PlainFile(job, rank, flags); });
  for (std::thread& rank : ranks) rank.join();
  const double seconds = Now() - start;
  for (size_t rank = 0; rank < job.plans.size(); ++rank)
    ::unlink((job.dir + "/plain." + std::to_string(rank)).c_str());
  return seconds;
}

// Returns the seconds until every rank's part is durable.
double Save(const Job& job, double* commit_seconds) {
  FileSystem& fs = PosixFileSystem();
  const double start = Now();
  std::vector<std::unique_ptr<ckpt::SaveJob>> jobs;
  for (size_t rank = 0; rank < job.plans.size(); ++rank)
    jobs.push_back(std::make_unique<ckpt::SaveJob>(fs, job.plans[rank], job.snapshots[rank]));
  std::vector<std::string> reports;
  for (const auto& one : jobs) reports.push_back(one->Report());
  const double written = Now();
  const std::string dir = ckpt::CommitStep(fs, job.plans[0], reports);
  *commit_seconds = Now() - written;
  fs.RemoveTree(dir);
  return written - start;
}

// Every core busy with sums, as long as it lives.
class Busy {
 public:
  explicit Busy(unsigned threads) {
    for (unsigned i = 0; i < threads; ++i) threads_.emplace_back([this] { Compute(); });
  }
  ~Busy() {
    stop_.store(true);
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  void Compute() {
    std::vector<float> values(4096, 1.0f);
    while (!stop_.load(std::memory_order_relaxed)) {
      for (float& value : values) value = value * 0.999f + 0.001f;
      sink_.store(values[0], std::memory_order_relaxed);
    }
  }

  std::vector<std::thread> threads_;
  std::atomic<bool> stop_{false};
  std::atomic<float> sink_{0};
};

void PrintRatio(const char* name, const std::vector<double>& plain,
                const std::vector<double>& save) {
  std::vector<double> rates;
  for (size_t i = 0; i < save.size(); ++i) rates.push_back(plain[i] / save[i]);
  std::printf("  of the rate of %s (%.3f s): %.2f (%.2f to %.2f)\n", name, Median(plain),
              Median(rates), *std::min_element(rates.begin(), rates.end()),
              *std::max_element(rates.begin(), rates.end()));
}

void Measure(const std::string& dir, int ranks, uint64_t megabytes, int pairs, unsigned busy) {
  const Job job = MakeJob(dir, ranks, megabytes * 1000000);
  std::vector<double> saves, commits, buffered, direct;
  double commit = 0;
  Save(job, &commit);  // once to warm up
  bool takes_direct = true;
  try {
    Plain(job, O_DIRECT);
  } catch (const Error&) {  // a file system that knows no direct I/O
    takes_direct = false;
  }
  for (int pair = 0; pair < pairs; ++pair) {
    const auto peers = [&] {
      buffered.push_back(Plain(job, 0));
      if (takes_direct) direct.push_back(Plain(job, O_DIRECT));
    };
    if (pair % 2 == 0) peers();
    {
      const Busy training(busy);
      saves.push_back(Save(job, &commit));
    }
    if (pair % 2 == 1) peers();
    commits.push_back(commit);
  }
  std::printf("%d rank%s, %llu MB, %u busy threads: save %.3f s, commit %.3f s, medians of %d\n",
              ranks, ranks == 1 ? "" : "s", static_cast<unsigned long long>(megabytes), busy,
              Median(saves), Median(commits), pairs);
  PrintRatio("write + fsync", buffered, saves);
  if (takes_direct) PrintRatio("direct write + fsync", direct, saves);
}

int Main(const std::vector<std::string>& args) {
  uint64_t megabytes = 600;
  int pairs = 9;
  std::string place = ".";
  for (size_t i = 0; i < args.size(); ++i) {
    if (args[i] == "--mb" && i + 1 < args.size()) {
      megabytes = std::stoull(args[++i]);
    } else if (args[i] == "--pairs" && i + 1 < args.size()) {
      pairs = std::stoi(args[++i]);
    } else {
      place = args[i];
    }
  }
  std::string dir = place + "/checkpoint-bench-XXXXXX";
  if (::mkdtemp(dir.data()) == nullptr) throw UserError("E-IO", place, "cannot write there");
  for (const int ranks : {1, 4})
    for (const unsigned busy : {0u, std::thread::hardware_concurrency()})
      Measure(dir, ranks, megabytes, pairs, busy);
  PosixFileSystem().RemoveTree(dir);
  return 0;
}

}  // namespace
}  // namespace contrail

int main(int argc, char** argv) {
  try {
    return contrail::Main(std::vector<std::string>(argv + 1, argv + argc));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
