#include "worker/launch.h"

#include <sched.h>

#include <algorithm>
#include <limits>
#include <thread>

#include "common/error.h"
#include "common/file_system.h"
#include "common/token.h"
#include "configs/load.h"
#include "monitoring/run_files.h"
#include "worker/agree.h"

namespace contrail::worker {
namespace {

constexpr int kMaxAttempt = 1'000'000;

// One more than any attempt that left a trace.
int NextAttempt(const monitor::RunDir& run) {
  int newest = 0;
  if (const auto lease = monitor::ReadLease(run)) newest = lease->attempt;
  const std::string prefix = "attempt_";
  for (const std::string& name : PosixFileSystem().List(run.root + "/attempts")) {
    if (name.starts_with(prefix)) {
      newest = std::max(newest, std::atoi(name.c_str() + prefix.size()));
    }
  }
  return newest + 1;
}

int Cores() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof mask, &mask) == 0) return std::max(1, CPU_COUNT(&mask));
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

int Threads(const Comm& comm, const Config& config, const ParsedArgs& args) {
  const int64_t configured = config.launcher.threads_per_rank;
  const long fallback = configured > 0 ? configured : std::max(1, Cores() / RanksHere(comm));
  return static_cast<int>(args.Int("--threads", fallback, 1, 4096));
}

// --set data.train=... agrees to other shards: a launcher says for which command line, and the bare
// form is a command line itself.
std::string Consent(const ParsedArgs& args) {
  if (args.Has("--consent") || args.Has("--attempt")) return args.Value("--consent");
  for (const std::string& set : args.Values("--set")) {
    if (set.starts_with("data.train=")) return RandomToken();
  }
  return "";
}

Launch Resolve(const Comm& comm, const ParsedArgs& args) {
  Launch launch;
  const std::vector<std::string> overrides = args.Values("--set");
  launch.run.root = args.Value("--run");
  launch.fresh = !args.positional.empty();
  if (launch.fresh) {
    if (args.Has("--attempt") || args.Has("--from")) {
      throw UserError("E-CLI-ARGS", "train", "--attempt and --from go on with a run",
                      "give --run RUN alone, without a config file");
    }
    launch.config = LoadConfig(args.positional[0], overrides);
    if (launch.run.root.empty()) {
      launch.run.root = launch.config.run.dir + "/" + launch.config.run.name;
    }
    if (comm.rank() == 0 && PosixFileSystem().Exists(launch.run.root)) {
      throw UserError(
          "E-RUN-EXISTS", launch.run.root, "exists already",
          "give another --run, or go on with it: contrail-worker train --run " + launch.run.root);
    }
  } else {
    if (launch.run.root.empty()) {
      throw UserError("E-CLI-ARGS", "train", "needs a CONFIG.toml, or --run RUN to go on with",
                      "see `contrail-worker help`");
    }
    launch.config = LoadResolved(launch.run.root, overrides);
  }
  launch.attempt = static_cast<int>(
      args.Int("--attempt", launch.fresh ? 1 : NextAttempt(launch.run), 1, kMaxAttempt));
  if (args.Has("--from")) {
    launch.from = static_cast<uint64_t>(args.Int("--from", 0, 0, std::numeric_limits<long>::max()));
  }
  launch.consent = Consent(args);
  launch.supervised = args.Has("--owner");
  launch.owner = launch.supervised ? args.Value("--owner") : RandomToken();
  launch.threads_asked = Threads(comm, launch.config, args);
  launch.threads = std::min(launch.threads_asked, Cores());
  return launch;
}

}  // namespace

int RanksHere(const Comm& comm) {
  const auto& nodes = comm.node_of_rank();
  return static_cast<int>(std::count(nodes.begin(), nodes.end(), nodes[comm.rank()]));
}

Launch ResolveLaunch(Comm& comm, const ParsedArgs& args) {
  Launch launch;
  Together(comm, [&] { launch = Resolve(comm, args); });
  // Ranks may look at different moments, and draw different tokens; the root's word counts.
  launch.attempt = std::stoi(comm.BroadcastText(std::to_string(launch.attempt), 0));
  launch.owner = comm.BroadcastText(launch.owner, 0);
  return launch;
}

void MakeRunDir(Comm& comm, const Launch& launch) {
  Together(comm, [&] {
    if (comm.rank() != 0) return;
    FileSystem& fs = PosixFileSystem();
    if (launch.fresh) {
      fs.MakeDirs(launch.run.root);
      fs.WriteAtomically(launch.run.Config(), ToToml(launch.config));
    }
    fs.MakeDirs(launch.run.Attempt(launch.attempt));
    fs.MakeDir(launch.run.Checkpoints());
    fs.MakeDir(launch.run.Telemetry());
  });
}

}  // namespace contrail::worker
