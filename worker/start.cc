#include "worker/start.h"

#include <unistd.h>

#include <memory>

#include "common/clock.h"
#include "common/error.h"
#include "common/host_name.h"
#include "common/log.h"
#include "configs/cli.h"
#include "monitoring/end_record.h"
#include "worker/agree.h"
#include "worker/comm/comm.h"
#include "worker/foreign_error.h"
#include "worker/launch.h"
#include "worker/left_behind.h"
#include "worker/progress.h"
#include "worker/signals.h"
#include "worker/start_checks.h"
#include "worker/trainer.h"

namespace contrail::worker {
namespace {

// One rank's life; remembers what its last words need.
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
      const bool by_rank = comm_.size() <= monitor::ProgressBoard::kMaxWords;
      progress_ = std::make_unique<Progress>(parsed.Value("--progress"),
                                             by_rank ? comm_.rank() : comm_.local_rank(),
                                             comm_.size(), comm_.rank());
    });
    if (comm_.local_rank() == 0) progress_->UnlinkOwnBoard();
    comm_.ledger().SetObserver([this](const Ledger::Standing& now) {
      progress_->Collectives(now.entered, now.done, now.oldest_unfinished, now.blocked);
    });
    launch_ = ResolveLaunch(comm_, parsed);
    known_ = !launch_.fresh;
    comm_.SetTimeout(launch_.config.launcher.collective_seconds);
    at::set_num_threads(launch_.threads);
    trainer_ = std::make_unique<Trainer>(comm_, *progress_, launch_);
    known_ = true;
    const Outcome outcome = trainer_->Run();
    EndWell(outcome == Outcome::kDone ? "done" : "stopped");
    trainer_.reset();
    return outcome == Outcome::kDone ? kExitDone : kExitStopped;
  }

  // Last words. The trainer is left as it is, and so is whatever its threads are at: to end them
  // may take as long as the disk likes, and the end of the process does it as well.
  // Returns the exit code.
  int Fail(const std::exception& error, bool speaks) {
    monitor::EndRecord record;
    if (const auto* agreed = dynamic_cast<const AgreedError*>(&error)) {
      record.culprit = agreed->culprit();
    }
    monitor::DescribeFailure(AsError(error), record);
    if (const auto* timeout = dynamic_cast<const TimeoutError*>(&error)) {
      record.missing = timeout->missing();
    }
    const int code = monitor::OutcomeExitCode(record.outcome);
    End(std::move(record), speaks);
    if (progress_) progress_->UnlinkOwnBoard();
    static_cast<void>(trainer_.release());
    return code;
  }

 private:
  monitor::EndRecord Complete(monitor::EndRecord record) {
    record.attempt = launch_.attempt;
    record.rank = comm_.rank();
    record.host = HostName();
    record.pid = getpid();
    record.step = progress_ ? progress_->step() : 0;
    record.collective = comm_.sequence();
    record.time = SystemClock().Now();
    record.signal = StopSignal();
    record.daemon_asked = ParentWasSent(record.signal);
    record.daemon = getppid();
    return record;
  }

  // Into shared memory first, which works whatever the disk does.
  void Say(const monitor::EndRecord& record, monitor::Phase phase) {
    if (!progress_) return;
    progress_->Say(EndRecordText(record, monitor::ProgressBoard::kLastWordsBytes), phase);
  }

  // Collective: all ranks are at their end, and the root writes for them.
  void EndWell(const std::string& outcome) {
    const monitor::EndRecord record = Complete({.outcome = outcome});
    Say(record, monitor::Phase::kDone);
    try {
      const std::vector<std::string> all = comm_.AllGatherText(EndRecordText(record));
      if (comm_.rank() == 0) monitor::WriteGoodEnds(launch_.run, launch_.attempt, all);
    } catch (const TimeoutError&) {
      Write(record);  // one of them never came: this rank's end is good all the same
    } catch (const std::exception& error) {
      LogWarning(std::string("the end records could not be written: ") + error.what());
    }
  }

  void End(monitor::EndRecord record, bool speaks) {
    record = Complete(std::move(record));
    Say(record, monitor::Phase::kFailed);
    if (speaks) LogError(record.message);
    // A run directory that was never made holds no record either.
    if (known_) Write(record);
  }

  void Write(const monitor::EndRecord& record) {
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
  std::unique_ptr<Trainer> trainer_;
};

int RunSession(Comm& comm, const std::vector<std::string>& args) {
  // Not destroyed where it failed: threads that were left at work use it.
  auto session = std::make_unique<Session>(comm);
  try {
    return session->Run(args);
  } catch (const AgreedError& error) {
    return session.release()->Fail(error, error.speaks());
  } catch (const std::exception& error) {
    // This rank alone has failed: the others wait for it in a collective and must be ended.
    AbortMpi(session.release()->Fail(error, true));
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
  // Threads may be left at work, after a failure or a save that was given up: they must not see
  // static objects go.
  if ((code != kExitDone && code != kExitStopped) || ThreadsLeftBehind()) _exit(code);
  return code;
}

}  // namespace contrail::worker
