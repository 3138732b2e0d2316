#include "worker/launch.h"

#include <sched.h>

#include <algorithm>
#include <limits>
#include <thread>

#include "common/error.h"
#include "common/file_system.h"
#include "common/token.h"
#include "configs/load.h"
#include "monitoring/owner/create_run.h"
#include "worker/agree.h"

namespace contrail::worker {
namespace {

constexpr int kMaxAttempt = 1'000'000;

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

// A launcher has taken the run before it starts ranks. Without one rank 0 does the same, by the
// same rules, and holds the run for as long as it lives.
void TakeWhereNobodyDoes(const Comm& comm, const ParsedArgs& args, Launch& launch) {
  if (args.Has("--owner") != args.Has("--attempt")) {
    throw UserError("E-CLI-ARGS", "train", "--attempt and --owner go together",
                    "they are a launcher's; without both the next attempt is taken");
  }
  launch.owner = args.Has("--owner") ? args.Value("--owner") : monitor::OwnerToken();
  if (args.Has("--owner") || comm.rank() != 0) return;
  launch.claim = std::make_shared<monitor::RunClaim>();
  if (launch.fresh) return;
  *launch.claim = monitor::TakeRun(PosixFileSystem(), launch.run, monitor::RunLock(launch.run),
                                   monitor::OwnLease(0, /*job=*/""));
  launch.attempt = launch.claim->attempt;
}

Launch Resolve(const Comm& comm, const ParsedArgs& args) {
  Launch launch;
  const std::vector<std::string> overrides = args.Values("--set");
  launch.run.root = args.Value("--run");
  launch.fresh = !args.positional.empty();
  if (launch.fresh) {
    if (args.Has("--attempt") || args.Has("--from") || args.Has("--owner")) {
      throw UserError("E-CLI-ARGS", "train", "--attempt, --owner and --from go on with a run",
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
  launch.attempt = static_cast<int>(args.Int("--attempt", 1, 1, kMaxAttempt));
  if (args.Has("--from")) {
    launch.from = static_cast<uint64_t>(args.Int("--from", 0, 0, std::numeric_limits<long>::max()));
  }
  launch.consent = Consent(args);
  launch.threads_asked = Threads(comm, launch.config, args);
  launch.threads = std::min(launch.threads_asked, Cores());
  TakeWhereNobodyDoes(comm, args, launch);
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
      *launch.claim =
          monitor::CreateRun(fs, launch.run, launch.config, monitor::OwnLease(1, /*job=*/""));
    }
    fs.MakeDirs(launch.run.Attempt(launch.attempt));
    fs.MakeDir(launch.run.Checkpoints());
    fs.MakeDir(launch.run.Telemetry());
  });
}

}  // namespace contrail::worker
