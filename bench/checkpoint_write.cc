// Saving and committing a checkpoint against a plain write + fsync of the same bytes.
//
//   checkpoint_write [--mb 100] [--pairs 9] [DIR]
//
// Ranks are processes of one node. Both sides of a pair fork the same number of processes and write
// from memory that is there already; the order alternates, the medians of pairs are printed.

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "checkpoint/load.h"
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

// Runs `work(rank)` in a process each and returns what they wrote.
std::vector<std::string> InProcesses(int ranks, const std::function<std::string(int)>& work) {
  std::vector<int> pipes;
  std::vector<pid_t> children;
  for (int rank = 0; rank < ranks; ++rank) {
    int ends[2];
    CONTRAIL_ASSERT(::pipe(ends) == 0);
    const pid_t child = ::fork();
    CONTRAIL_ASSERT(child >= 0);
    if (child == 0) {
      const std::string result = work(rank);
      for (size_t done = 0; done < result.size();) {
        const ssize_t n = ::write(ends[1], result.data() + done, result.size() - done);
        if (n <= 0) ::_exit(1);
        done += static_cast<size_t>(n);
      }
      ::_exit(0);
    }
    ::close(ends[1]);
    pipes.push_back(ends[0]);
    children.push_back(child);
  }
  std::vector<std::string> results;
  for (int rank = 0; rank < ranks; ++rank) {
    std::string& result = results.emplace_back();
    char buffer[65536];
    for (ssize_t n; (n = ::read(pipes[rank], buffer, sizeof buffer)) > 0;)
      result.append(buffer, static_cast<size_t>(n));
    ::close(pipes[rank]);
    int status = 0;
    ::waitpid(children[rank], &status, 0);
    CONTRAIL_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  return results;
}

struct Job {
  std::string dir;
  std::vector<ckpt::SavePlan> plans;
  std::vector<ckpt::Snapshot> snapshots;
};

// A model of a few hundred matrices, in equal slices.
Job MakeJob(const std::string& dir, int ranks, uint64_t bytes) {
  Job job;
  job.dir = dir;
  ckpt::SavePlan plan;
  plan.checkpoints_dir = dir + "/checkpoints";
  const uint64_t elements = bytes / sizeof(float) / ckpt::kNumKinds;
  constexpr uint64_t kWidth = 192;
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
    ckpt::Snapshot& snapshot = job.snapshots.emplace_back();
    snapshot.ranges = plan.ranges_of_rank[rank];
    for (auto& data : snapshot.data) {
      data.resize(snapshot.ranges[0].end - snapshot.ranges[0].begin);
      for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<float>(i * 2654435761u);
    }
  }
  return job;
}

double Plain(const Job& job) {
  const double start = Now();
  InProcesses(static_cast<int>(job.plans.size()), [&](int rank) {
    const std::string path = job.dir + "/plain." + std::to_string(rank);
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    CONTRAIL_ASSERT(fd >= 0);
    uint64_t offset = 0;
    for (const auto& data : job.snapshots[rank].data) {
      const char* bytes = reinterpret_cast<const char*>(data.data());
      for (uint64_t at = 0; at < data.size() * sizeof(float);) {
        const uint64_t size = std::min<uint64_t>(4 << 20, data.size() * sizeof(float) - at);
        const ssize_t n = ::pwrite(fd, bytes + at, size, static_cast<off_t>(offset + at));
        CONTRAIL_ASSERT(n > 0);
        at += static_cast<uint64_t>(n);
      }
      offset += data.size() * sizeof(float);
    }
    CONTRAIL_ASSERT(::fsync(fd) == 0 && ::close(fd) == 0);
    return std::string();
  });
  const double seconds = Now() - start;
  for (size_t rank = 0; rank < job.plans.size(); ++rank)
    ::unlink((job.dir + "/plain." + std::to_string(rank)).c_str());
  return seconds;
}

double Save(Job& job, double* commit_seconds) {
  FileSystem& fs = PosixFileSystem();
  const double start = Now();
  const std::vector<std::string> reports =
      InProcesses(static_cast<int>(job.plans.size()), [&](int rank) {
        return ckpt::SaveJob(fs, job.plans[rank], std::move(job.snapshots[rank])).Report();
      });
  const double written = Now();
  const std::string dir = ckpt::CommitStep(fs, job.plans[0], reports);
  const double end = Now();
  *commit_seconds = end - written;
  fs.RemoveTree(dir);
  return end - start;
}

void Measure(const std::string& dir, int ranks, uint64_t megabytes, int pairs) {
  Job job = MakeJob(dir, ranks, megabytes * 1000000);
  std::vector<double> ratios, saves, plains, commits;
  double commit = 0;
  Save(job, &commit);  // once to warm up
  Plain(job);
  for (int pair = 0; pair < pairs; ++pair) {
    double plain = 0;
    if (pair % 2 == 0) plain = Plain(job);
    const double save = Save(job, &commit);
    if (pair % 2 == 1) plain = Plain(job);
    ratios.push_back(save / plain);
    saves.push_back(save);
    plains.push_back(plain);
    commits.push_back(commit);
  }
  std::printf(
      "%d rank%s, %llu MB: save + commit %.3f s (commit %.3f s), plain write + fsync %.3f s, "
      "ratio %.2f (median of %d pairs, %.2f to %.2f)\n",
      ranks, ranks == 1 ? "" : "s", static_cast<unsigned long long>(megabytes), Median(saves),
      Median(commits), Median(plains), Median(ratios), pairs,
      *std::min_element(ratios.begin(), ratios.end()),
      *std::max_element(ratios.begin(), ratios.end()));
}

int Main(const std::vector<std::string>& args) {
  uint64_t megabytes = 100;
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
  for (const int ranks : {1, 4}) Measure(dir, ranks, megabytes, pairs);
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
