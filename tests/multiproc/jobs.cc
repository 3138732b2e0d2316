#include "tests/multiproc/jobs.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "checkpoint/load.h"
#include "common/error.h"
#include "common/file_system.h"
#include "data/pack.h"
#include "monitoring/store/run_store.h"

namespace contrail::worker {
namespace {

constexpr const char* kPhotos = "/usr/share/datasets/fashion-mnist/train-";
constexpr const char* kConfig = R"(
[run]
seed = 7
[model]
name = "tiny-vit"
[data]
train = ["data/pairs-{000000..000001}.tar"]
[train]
global_batch_size = 64
steps = 24
lr = 1e-3
warmup_steps = 4
[checkpoint]
every_steps = 8
keep_last = 10
)";

constexpr uint64_t kBatch = 64;  // as above

}  // namespace

JobDir::JobDir() {
  char name[] = "/tmp/contrail-job-XXXXXX";
  CONTRAIL_ASSERT(mkdtemp(name) != nullptr);
  path_ = name;
  const std::string presets = std::string(CONTRAIL_SOURCE_DIR) + "/configs/presets/";
  data::Pack(PosixFileSystem(), {.out = path_ + "/data",
                                 .shard_samples = 1000,
                                 .limit = 2000,
                                 .images = std::string(kPhotos) + "images-idx3-ubyte.gz",
                                 .labels = std::string(kPhotos) + "labels-idx1-ubyte.gz",
                                 .classes = presets + "fashion_classnames.txt",
                                 .templates = presets + "fashion_templates.txt"});
  std::ofstream(config()) << kConfig;
}

JobDir::~JobDir() { std::filesystem::remove_all(path_); }

Job::Job(int ranks, const std::vector<std::string>& args, const std::string& other) {
  std::vector<std::string> command;
  const std::string worker = std::string(CONTRAIL_BINARY_DIR) + "/bin/contrail-worker";
  if (ranks > 0) {
    command = {"mpirun", "--oversubscribe",    "--mca", "btl", "self,vader", "--bind-to", "none",
               "-n",     std::to_string(ranks)};
  }
  command.push_back(worker);
  for (const std::string& arg : args) {
    command.push_back(arg);
    if (arg == ":") command.insert(command.end(), {"-n", "1", other.empty() ? worker : other});
  }
  std::vector<char*> argv;
  for (std::string& word : command) argv.push_back(word.data());
  argv.push_back(nullptr);
  int ends[2];
  CONTRAIL_ASSERT(pipe2(ends, O_CLOEXEC) == 0);
  output_ = ends[0];
  pid_ = fork();
  if (pid_ == 0) {
    dup2(ends[1], 1);
    dup2(ends[1], 2);
    execvp(argv[0], argv.data());
    _exit(127);
  }
  close(ends[1]);
}

Job::~Job() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  if (output_ >= 0) close(output_);
}

Fault::Fault(const JobDir& dir, const std::string& rule) {
  const std::string rules = dir / "rules";
  std::ofstream(rules) << rule << "\n";
  setenv("CONTRAIL_TEST_FAULTS", rules.c_str(), 1);
  setenv("LD_PRELOAD", CONTRAIL_INJECT_LIBRARY, 1);
}

Fault::~Fault() {
  unsetenv("LD_PRELOAD");
  unsetenv("CONTRAIL_TEST_FAULTS");
}

// One read a sample; half of the batch is this rank's.
Held::Held(const JobDir& dir, uint64_t steps)
    : gate_(dir / "gate"),
      fault_(dir, "name=held who=rank:1 call=pread path=*.tar hang=yes while=" + gate_ +
                      " nth=" + std::to_string(steps * kBatch / 2 + 1)) {
  std::ofstream(gate_) << "shut";
}

Held::~Held() { Release(); }

void Held::Release() { std::filesystem::remove(gate_); }

// A rank syncs its part of a save and the folder of it.
Ended RunKilled(const JobDir& dir, const std::vector<std::string>& args, int save) {
  const Fault fault(dir, "name=killed who=rank:1 call=fsync path=*/checkpoints/step_* kill=9 nth=" +
                             std::to_string(2 * save - 1));
  return RunJob(2, args);
}

void Job::Signal(int signal) { kill(pid_, signal); }

void Job::SignalRank(int rank, int signal, const std::string& run) {
  int seen = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream file(entry.path() / "cmdline", std::ios::binary);
    const std::string line((std::istreambuf_iterator<char>(file)), {});
    const std::string program = line.substr(0, line.find('\0'));
    if (!program.ends_with("/contrail-worker") || line.find(run) == std::string::npos) continue;
    if (seen++ == rank) {
      kill(std::stoi(name), signal);
      return;
    }
  }
}

Ended Job::Wait() {
  Ended ended;
  char buffer[4096];
  ssize_t size;
  while ((size = read(output_, buffer, sizeof buffer)) > 0) ended.output.append(buffer, size);
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  ended.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return ended;
}

Ended RunJob(int ranks, const std::vector<std::string>& args) { return Job(ranks, args).Wait(); }

Ended RunJob(int ranks, const std::vector<std::string>& args, const std::string& other) {
  std::vector<std::string> both = args;
  both.push_back(":");
  both.insert(both.end(), args.begin(), args.end());
  return Job(ranks, both, other).Wait();
}

bool WaitForFile(const std::string& path) {
  for (int i = 0; i < 12000 && !std::filesystem::exists(path); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return std::filesystem::exists(path);
}

std::map<uint64_t, double> Losses(const std::string& run) {
  monitor::RunStore store({run});
  store.Refresh();
  std::map<uint64_t, double> losses;
  for (const monitor::StepRow* row : store.committed()) {
    losses[row->record.step] = row->record.loss;
  }
  return losses;
}

std::vector<float> Tensors(const std::string& run, uint64_t step, int kind) {
  char name[32];
  std::snprintf(name, sizeof name, "/step_%08llu", static_cast<unsigned long long>(step));
  const auto reader =
      ckpt::StepReader::Open(PosixFileSystem(), run + "/checkpoints" + std::string(name));
  std::vector<float> values(reader->layout().num_elements);
  reader->Read(kind, {0, values.size()}, values.data());
  return values;
}

}  // namespace contrail::worker
