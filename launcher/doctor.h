#pragma once
// `contrail doctor`: what this machine has of what a run needs, said before one waits in a queue.
// A look takes facts from the system; a judgement is a function of facts alone, so that a test can
// put any machine before it.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "configs/cli.h"

namespace contrail::launcher {

enum class Health { kOk, kWarn, kBad };

struct Finding {
  Health health = Health::kOk;
  std::string check;  // "mpi"
  std::string text;   // what there is
  std::string fix;    // what to do; empty where it is ok
};

// `contrail doctor [CONFIG.toml] [--run DIR] [--ranks N] [--json]`: one line a finding on stdout.
// kExitDone, or kExitUser where one is bad: then a run would not start, or not get far.
int RunDoctor(const ParsedArgs& args);

// --- MPI: launcher/doctor_mpi.cc ---

// What `mpirun --version` said (nothing: no such program, or no answer) beside the MPI that
// contrail-worker was built with ("Open MPI 4.1.4"; "" = built without a worker).
Finding JudgeMpirun(const std::string& program, const std::optional<std::string>& said,
                    const std::string& built_with);

// What the dynamic loader said of contrail-worker: every shared library or symbol version that is
// missing, and a libmpi of another installation than mpirun's.
std::vector<Finding> JudgeLibraries(const std::string& loader, const std::string& mpirun);

std::vector<Finding> LookAtMpi(const std::string& mpirun);

// --- This machine: launcher/doctor_machine.cc ---

// /dev/shm for that many ranks here. Open MPI keeps its queues there, and Contrail its progress
// board.
Finding JudgeSharedMemory(uint64_t total, uint64_t free, int64_t ranks);

// RLIMIT_NOFILE (hard, `contrail` raises itself to it) and RLIMIT_FSIZE; UINT64_MAX = unlimited.
Finding JudgeFileLimits(uint64_t open_files, uint64_t file_bytes);

// The best instruction set of the kernels: "avx512bf16" | "avx512" | "avx2" | "baseline", and the
// cores that this process may use.
Finding JudgeProcessor(const std::string& instructions, int64_t cores, int64_t ranks);

std::vector<Finding> LookAtMachine(int64_t ranks);

// --- The run directory: launcher/doctor_disk.cc ---

struct DiskFacts {
  std::string path;     // the nearest directory there is
  std::string problem;  // why a file cannot be made, synced and renamed there; "" = it can
  std::string kind;     // of the file system: "ext4", or its number in hexadecimal
  uint64_t free_bytes = 0;
  std::optional<uint64_t> free_files;  // none where the file system has no such number
  bool locks = true;                   // flock works
};
Finding JudgeDisk(const DiskFacts& facts);

Finding LookAtDisk(const std::string& run_dir);

}  // namespace contrail::launcher
