#pragma once
// Small real jobs: packed photos, a config, contrail-worker under mpirun.

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace contrail::worker {

// A directory of its own, removed at the end, with 2,000 packed photos in data/ and config.toml:
// tiny-vit, batches of 64, 24 steps, a checkpoint every 8.
class JobDir {
 public:
  JobDir();
  ~JobDir();
  const std::string& path() const { return path_; }
  std::string config() const { return path_ + "/config.toml"; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

struct Ended {
  int code = 0;        // of mpirun
  std::string output;  // stdout and stderr
};

// A job in the background.
class Job {
 public:
  // mpirun -n RANKS contrail-worker ARGS; `ranks` 0 starts the program alone, without mpirun.
  // ":" among the arguments begins another program of the same job, with its own "-n".
  // `other`, where given, is the program after ":".
  Job(int ranks, const std::vector<std::string>& args, const std::string& other = "");
  ~Job();
  void Signal(int signal);                                        // to mpirun
  void SignalRank(int rank, int signal, const std::string& run);  // found by its command line
  Ended Wait();

 private:
  pid_t pid_ = -1;
  int output_ = -1;
};

// A fault (a rule of tests/faults/inject/rules.h) in the jobs that start while this lives.
class Fault {
 public:
  Fault(const JobDir& dir, const std::string& rule);
  ~Fault();
  Fault(const Fault&) = delete;
  Fault& operator=(const Fault&) = delete;
};

// While this lives and is not released, rank 1 of two stands still after it has read the data of so
// many steps (some of them ahead of need): what is to happen to the job happens before its end.
class Held {
 public:
  Held(const JobDir& dir, uint64_t steps);
  ~Held();
  void Release();

 private:
  const std::string gate_;
  const Fault fault_;
};

Ended RunJob(int ranks, const std::vector<std::string>& args);
// ... and one more rank with the same arguments, of another program.
Ended RunJob(int ranks, const std::vector<std::string>& args, const std::string& other);

// Two ranks, of which rank 1 is killed in its save of that number, from 1: the one before is
// committed by then.
Ended RunKilled(const JobDir& dir, const std::vector<std::string>& args, int save);

// Waits until the file exists; false after two minutes.
bool WaitForFile(const std::string& path);

// Step -> loss of a run's committed series, exact.
std::map<uint64_t, double> Losses(const std::string& run);

// The whole flat space of kind k at a committed step.
std::vector<float> Tensors(const std::string& run, uint64_t step, int kind);

}  // namespace contrail::worker
