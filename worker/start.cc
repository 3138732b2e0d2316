#include "worker/start.h"

#include <unistd.h>

#include <memory>

#include "common/clock.h"
#include "common/error.h"
#include "common/log.h"
#include "configs/cli.h"
#include "monitoring/end_record.h"
#include "worker/agree.h"
#include "worker/comm/comm.h"
#include "worker/launch.h"
#include "worker/progress.h"
#include "worker/signals.h"
#include "worker/start_checks.h"
#include "worker/trainer.h"

namespace contrail::worker {
namespace {

// One rank's life; remembers what its end record needs.
class Session {
 public:
  explicit Session(Comm& comm) : comm_(comm) {}

  int Run(const std::vector<std::string>& args) {
    ParsedArgs parsed;
    Together(comm_, [&] { parsed = ParseArgs(WorkerCommandTable(), args); });
    // Before anything can take long: the launcher knows run and attempt already.
    if (parsed.Has("--run") && parsed.Has("--attempt")) {
      Together(comm_, [&] {
        launch_.run.root = parsed.Value("--run");
        launch_.attempt = static_cast<int>(parsed.Int("--attempt", 1, 1, 1'000'000));
        known_ = true;
      });
    }
    Together(comm_, [&] {
      CheckSize(comm_, parsed.Int("--ranks", 0, 1, 1'000'000));
      // Two nodes may be one host (and one board): words go by rank while there are enough.
      const bool by_rank = comm_.size() <= monitor::ProgressBoard::kMaxLocalRanks;
      progress_ = std::make_unique<Progress>(
          parsed.Value("--progress"), by_rank ? comm_.rank() : comm_.local_rank(), comm_.rank());
    });
    comm_.ledger().SetObserver([this](const Ledger::Standing& now) {
      progress_->Collectives(now.entered, now.done, now.oldest_unfinished);
    });
    launch_ = ResolveLaunch(comm_, parsed);
    known_ = !launch_.fresh;
    comm_.SetTimeout(launch_.config.launcher.collective_seconds);
    at::set_num_threads(launch_.threads);
    const Outcome outcome = Train();
    progress_->Enter(monitor::Phase::kDone);
    End({.outcome = outcome == Outcome::kDone ? "done" : "stopped"});
    return outcome == Outcome::kDone ? kExitDone : kExitStopped;
  }

  Outcome Train() {
    Trainer trainer(comm_, *progress_, launch_);
    known_ = true;
    return trainer.Run();
  }

  // Leaves the end record and says in the progress word that this rank has failed.
  void Fail(const std::exception& error) {
    monitor::EndRecord record;
    if (const auto* agreed = dynamic_cast<const AgreedError*>(&error)) {
      record.culprit = agreed->culprit();
    }
    monitor::DescribeFailure(error, record);
    if (const auto* timeout = dynamic_cast<const TimeoutError*>(&error)) {
      record.missing = timeout->missing();
    }
    if (progress_) progress_->Enter(monitor::Phase::kFailed);
    End(std::move(record));
  }

 private:
  void End(monitor::EndRecord record) {
    // A run directory that was never made holds no record either.
    if (!known_) return;
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    record.attempt = launch_.attempt;
    record.rank = comm_.rank();
    record.host = host;
    record.pid = getpid();
    record.step = progress_ ? progress_->step() : 0;
    record.collective = comm_.sequence();
    record.time = SystemClock().Now();
    try {
      monitor::WriteEndRecord(launch_.run, record);
    } catch (const std::exception& error) {
      LogWarning(std::string("the end record could not be written: ") + error.what());
    }
  }

  Comm& comm_;
  Launch launch_;
  bool known_ = false;  // launch_.run and launch_.attempt are those of a run
  std::unique_ptr<Progress> progress_;
};

int RunSession(Comm& comm, const std::vector<std::string>& args) {
  Session session(comm);
  try {
    return session.Run(args);
  } catch (const AgreedError& error) {
    if (error.speaks()) LogError(error.what());
    session.Fail(error);
    return error.exit_code();
  } catch (const std::exception& error) {
    // This rank alone has failed: the others wait for it in a collective and must be ended.
    monitor::EndRecord described;
    monitor::DescribeFailure(error, described);
    LogError(described.message);
    session.Fail(error);
    AbortMpi(monitor::OutcomeExitCode(described.outcome));
  }
}

}  // namespace

int TrainCommand(const std::vector<std::string>& args) {
  CatchStopSignals();
  const bool has_parent_job = StartedByMpi();
  if (has_parent_job) DieWithParent();
  c10::InferenceMode guard;
  std::unique_ptr<Comm> comm = has_parent_job ? MakeMpiComm() : MakeSingleComm();
  const int code = RunSession(*comm, args);
  comm.reset();  // its thread uses MPI
  ShutdownMpi();
  if (WritersLeftBehind()) _exit(code);  // they must not see static objects go
  return code;
}

}  // namespace contrail::worker
