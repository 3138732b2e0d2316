#include "worker/saver.h"

#include <utility>

#include "checkpoint/load.h"
#include "common/clock.h"
#include "common/error.h"
#include "common/log.h"
#include "common/strings.h"
#include "monitoring/run_files.h"
#include "worker/agree.h"

namespace contrail::worker {
namespace {

// What a rank sends the root when its part is on disk: bytes, seconds, the job's report.
std::string Success(const ckpt::SaveJob& job, const std::string& report) {
  return "written\n" + std::to_string(job.bytes()) + "\n" + ExactDouble(job.write_seconds()) +
         "\n" + report;
}

constexpr const char* kFenced = "E-FENCED";

struct Part {
  uint64_t bytes = 0;
  double seconds = 0;
  std::string report;
};

Part ParseSuccess(const std::string& text) {
  const size_t bytes = text.find('\n') + 1;
  const size_t seconds = text.find('\n', bytes) + 1;
  const size_t report = text.find('\n', seconds) + 1;
  return {std::stoull(text.substr(bytes)), std::stod(text.substr(seconds)), text.substr(report)};
}

}  // namespace

Saver::Saver(FileSystem& fs, Comm& comm, Options options, OnCommit on_commit)
    : fs_(fs),
      comm_(comm),
      options_(std::move(options)),
      on_commit_(std::move(on_commit)),
      last_begin_(SystemClock().Monotonic()),
      committed_step_(options_.resumed_step) {}

Saver::~Saver() = default;

void Saver::Fill(Pulse& pulse) {
  if (is_root()) TakeCommitResult();
  pulse.save = !job_               ? SaveStatus::kIdle
               : !job_->finished() ? SaveStatus::kWriting
               : job_->failed()    ? SaveStatus::kFailed
                                   : SaveStatus::kWritten;
  pulse.commit_running = commit_.valid();
  pulse.committed_step = committed_step_;
  pulse.failed_saves = failed_;
  pulse.save_now = options_.every_minutes > 0 &&
                   SystemClock().Monotonic() - last_begin_ >= 60 * options_.every_minutes;
}

double Saver::AfterStep(const Verdict& verdict, const ckpt::RunState& state,
                        const TakeSnapshot& snapshot) {
  const double start = SystemClock().Monotonic();
  if (commit_outstanding_ && !verdict.commit_running) {
    commit_outstanding_ = false;
    due_ = due_ || verdict.failed_saves > 0;
    if (!is_root() && verdict.committed_step != committed_step_) {
      Committed({.step = verdict.committed_step});
    }
    failed_ = verdict.failed_saves;
    GiveUpAfterTwo();
  }
  if (job_ && verdict.all_written) CollectReports();
  due_ = due_ || verdict.save_now ||
         (options_.every_steps > 0 && state.step % options_.every_steps == 0);
  if (due_ && !busy() && !verdict.hold_save) Begin(state, snapshot);
  return SystemClock().Monotonic() - start;
}

void Saver::Finish(const ckpt::RunState& state, const TakeSnapshot& snapshot) {
  while (true) {
    if (job_) CollectReports();
    if (commit_outstanding_) WaitForCommit();
    if (committed_step_ == state.step) return;
    Begin(state, snapshot);
  }
}

void Saver::Begin(const ckpt::RunState& state, const TakeSnapshot& snapshot) {
  const double start = SystemClock().Monotonic();
  due_ = false;
  last_begin_ = start;
  ckpt::SavePlan plan;
  plan.checkpoints_dir = options_.run.Checkpoints();
  plan.state = state;
  plan.layout = options_.layout;
  plan.topology = {comm_.rank(), comm_.size(), comm_.node_of_rank()};
  plan.ranges_of_rank = options_.ranges_of_rank;
  plan.retry = static_cast<uint64_t>(failed_);
  if (options_.take_buffers) plan.buffers = options_.take_buffers();
  job_ = std::make_unique<ckpt::SaveJob>(fs_, std::move(plan), snapshot());
  stall_ = SystemClock().Monotonic() - start;
}

// Collective. Every rank's part is on disk or has failed; the root goes on to commit.
void Saver::CollectReports() {
  std::string mine;
  try {
    const std::string report = job_->Report();
    mine = Success(*job_, report);
  } catch (const std::exception& error) {
    mine = std::string("failed\n") + error.what();
  }
  const ckpt::SavePlan plan = job_->plan();
  job_.reset();
  const std::vector<std::string> all = comm_.AllGatherText(mine);

  monitor::CheckpointRecord record{.step = plan.state.step, .stall_seconds = stall_};
  std::vector<std::string> reports;
  for (int rank = 0; rank < comm_.size(); ++rank) {
    if (all[rank].starts_with("failed\n")) {
      if (is_root()) ckpt::AbandonStep(fs_, plan);
      Failed("rank " + std::to_string(rank) + ": " + all[rank].substr(7));
      return;
    }
    Part part = ParseSuccess(all[rank]);
    record.bytes += part.bytes;
    record.write_seconds = std::max(record.write_seconds, part.seconds);
    reports.push_back(std::move(part.report));
  }
  commit_outstanding_ = true;
  if (!is_root()) return;
  commit_ = std::async(std::launch::async, [this, plan, reports = std::move(reports), record] {
    return Commit(plan, reports, record);
  });
}

// Root's background thread.
Saver::CommitResult Saver::Commit(const ckpt::SavePlan& plan,
                                  const std::vector<std::string>& reports,
                                  monitor::CheckpointRecord record) {
  CommitResult result;
  try {
    const double start = SystemClock().Monotonic();
    // A second launcher may have taken the run over: its attempt must be the only writer.
    const auto lease = monitor::ReadLease(options_.run, fs_);
    if (lease && lease->attempt > options_.attempt) {
      throw EnvironmentError(kFenced, options_.run.Lease(),
                             "attempt " + std::to_string(lease->attempt) +
                                 " has taken this run over from attempt " +
                                 std::to_string(options_.attempt),
                             "this attempt must not write any more");
    }
    if (options_.before_commit) options_.before_commit();
    ckpt::CommitStep(fs_, plan, reports);
    record.wall_time = SystemClock().Now();
    record.write_seconds += SystemClock().Monotonic() - start;
    result.record = record;
  } catch (const std::exception& error) {
    ckpt::AbandonStep(fs_, plan);
    result.error = error.what();
    return result;
  }
  try {
    ckpt::Prune(fs_, plan.checkpoints_dir, options_.keep_last,
                static_cast<uint64_t>(options_.attempt), "");
  } catch (const Error& error) {
    LogWarning(std::string("old checkpoints could not be removed: ") + error.what());
  }
  return result;
}

// Root: the background commit's outcome, where it has ended.
void Saver::TakeCommitResult() {
  if (!commit_.valid() || commit_.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    return;
  }
  const CommitResult result = commit_.get();
  if (result.error.empty()) {
    Committed(result.record);
  } else {
    Failed(result.error);
  }
}

// Collective: the end of a commit, waited for.
void Saver::WaitForCommit() {
  std::string outcome;
  if (is_root()) {
    if (commit_.valid()) commit_.wait();
    TakeCommitResult();
    outcome = std::to_string(failed_) + " " + std::to_string(committed_step_);
  }
  outcome = comm_.BroadcastText(outcome, 0);
  commit_outstanding_ = false;
  const size_t space = outcome.find(' ');
  failed_ = std::stoi(outcome);
  const uint64_t committed = std::stoull(outcome.substr(space + 1));
  if (committed != committed_step_) Committed({.step = committed});
  GiveUpAfterTwo();
}

void Saver::Committed(const monitor::CheckpointRecord& record) {
  failed_ = 0;
  committed_step_ = record.step;
  if (on_commit_) on_commit_(record);
}

// Every rank for a part that failed (all of them know), the root alone for a failed commit.
void Saver::Failed(const std::string& line) {
  // A fenced attempt must not try again.
  failed_ = line.starts_with(kFenced) ? 2 : failed_ + 1;
  due_ = true;
  last_error_ = line;
  if (is_root()) LogWarning("a checkpoint failed, the next step is saved instead: " + line);
  if (!commit_outstanding_) GiveUpAfterTwo();
}

void Saver::GiveUpAfterTwo() {
  if (failed_ < 2) return;
  if (last_error_.starts_with(kFenced)) {
    throw AgreedError(ErrorKind::kEnvironment, kFenced, last_error_, is_root());
  }
  throw AgreedError(EnvironmentError("E-CKPT-SAVE", options_.run.Checkpoints(),
                                     "two checkpoints in a row failed: " + last_error_,
                                     "free space or repair the file system, then resume"),
                    is_root());
}

}  // namespace contrail::worker
