// Memory that ranks share, limits, processor and kernel of this machine.

#include <sched.h>
#include <sys/resource.h>
#include <sys/statvfs.h>

#include <limits>

#include "common/strings.h"
#include "launcher/doctor.h"
#include "launcher/process.h"

namespace contrail::launcher {
namespace {

constexpr uint64_t kUnlimited = std::numeric_limits<uint64_t>::max();
constexpr uint64_t kSharedARank = 6'000'000;  // Open MPI's queues: 4 MiB and room
constexpr uint64_t kFewOpenFiles = 4096;
constexpr uint64_t kTooFewOpenFiles = 256;
constexpr uint64_t kLargeFile = 100'000'000'000;  // no checkpoint's file of one node is larger

uint64_t Limit(rlim_t value) { return value == RLIM_INFINITY ? kUnlimited : value; }

std::string Instructions() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  if (avx512 && __builtin_cpu_supports("avx512bf16")) return "avx512bf16";
  if (avx512) return "avx512";
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "avx2";
#endif
  return "baseline";
}

int64_t UsableCores() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

}  // namespace

Finding JudgeSharedMemory(uint64_t total, uint64_t free, int64_t ranks) {
  const uint64_t need = kSharedARank * static_cast<uint64_t>(ranks);
  const std::string text = HumanBytes(free) + " of " + HumanBytes(total) + " free, " +
                           std::to_string(ranks) + (ranks == 1 ? " rank needs " : " ranks need ") +
                           HumanBytes(need);
  if (free >= need) return {Health::kOk, "/dev/shm", text, ""};
  return {Health::kBad, "/dev/shm", text,
          "remove what others left there, or give a container more (--shm-size)"};
}

Finding JudgeFileLimits(uint64_t open_files, uint64_t file_bytes) {
  const std::string files = open_files == kUnlimited ? "any number of" : std::to_string(open_files);
  const std::string text =
      files + " open files" +
      (file_bytes == kUnlimited ? "" : ", none larger than " + HumanBytes(file_bytes));
  if (file_bytes < kLargeFile) {
    return {Health::kBad, "file limits", text,
            "raise it (ulimit -f unlimited): checkpoints are large"};
  }
  if (open_files >= kFewOpenFiles) return {Health::kOk, "file limits", text, ""};
  return {open_files < kTooFewOpenFiles ? Health::kBad : Health::kWarn, "file limits", text,
          "raise the hard limit (ulimit -Hn): every shard and every other rank needs one"};
}

Finding JudgeProcessor(const std::string& instructions, int64_t cores, int64_t ranks) {
  const std::string text =
      instructions + ", " + std::to_string(cores) + (cores == 1 ? " core" : " cores") + " to use";
  if (cores < ranks) {
    return {Health::kWarn, "processor", text + " for " + std::to_string(ranks) + " ranks",
            "ask for more cores: srun and sbatch give one a task without --cpus-per-task"};
  }
  if (instructions == "baseline") {
    return {Health::kWarn, "processor", text, "without AVX2 training takes several times as long"};
  }
  return {Health::kOk, "processor", text, ""};
}

std::vector<Finding> LookAtMachine(int64_t ranks) {
  std::vector<Finding> findings;
  struct statvfs shared {};
  if (statvfs("/dev/shm", &shared) != 0) {
    findings.push_back({Health::kBad, "/dev/shm", "is not there", "mount a tmpfs on it"});
  } else {
    findings.push_back(JudgeSharedMemory(uint64_t{shared.f_blocks} * shared.f_frsize,
                                         uint64_t{shared.f_bavail} * shared.f_frsize, ranks));
  }
  rlimit open_files{}, file_bytes{};
  getrlimit(RLIMIT_NOFILE, &open_files);
  getrlimit(RLIMIT_FSIZE, &file_bytes);
  findings.push_back(JudgeFileLimits(Limit(open_files.rlim_max), Limit(file_bytes.rlim_cur)));
  findings.push_back(JudgeProcessor(Instructions(), UsableCores(), ranks));
  findings.push_back(KernelHasPidFds()
                         ? Finding{Health::kOk, "kernel", "has pidfds", ""}
                         : Finding{Health::kWarn, "kernel", "has no pidfds (Linux before 5.3)",
                                   "deaths of ranks are noticed by looking, a little later"});
  return findings;
}

}  // namespace contrail::launcher
