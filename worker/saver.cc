#include "worker/saver.h"

#include <algorithm>
#include <chrono>
#include <system_error>
#include <thread>
#include <utility>

#include "common/clock.h"
#include "common/error.h"
#include "common/host_name.h"
#include "common/log.h"
#include "common/strings.h"
#include "worker/agree.h"
#include "worker/errand.h"
#include "worker/left_behind.h"

namespace contrail::worker {
namespace {

constexpr const char* kFenced = "E-FENCED";
constexpr double kLastCommit = 1;      // seconds that a commit may take when all else has ended
constexpr double kTidyUp = 10;         // seconds for one operation of removing a failed save
constexpr double kLongestPause = 0.1;  // seconds between two looks at a save that all wait for

double Now() { return SystemClock().Monotonic(); }

// What a rank sends the root when its part is on disk: bytes, seconds, the job's report.
std::string Success(const ckpt::SaveJob& job, const std::string& report) {
  return "written\n" + std::to_string(job.bytes()) + "\n" + ExactDouble(job.write_seconds()) +
         "\n" + report;
}

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

// What names the directory of a save, without what is in it.
ckpt::SavePlan PlaceOf(const ckpt::SavePlan& plan) {
  ckpt::SavePlan place;
  place.checkpoints_dir = plan.checkpoints_dir;
  place.state.step = plan.state.step;
  place.state.attempt = plan.state.attempt;
  place.retry = plan.retry;
  place.owner = plan.owner;
  return place;
}

}  // namespace

Saver::Saver(FileSystem& fs, Comm& comm, Options options, OnCommit on_commit)
    : fs_(fs),
      comm_(comm),
      options_(std::move(options)),
      on_commit_(std::move(on_commit)),
      hosts_(comm.AllGatherText(HostName())),
      last_begin_(Now()),
      committed_step_(options_.resumed_step) {}

Saver::~Saver() {
  if (job_ && !job_->finished()) {
    job_->Abandon();
    LeaveThreadBehind();
  }
  if (commit_ && !commit_->Leave(kLastCommit)) LeaveThreadBehind();
}

void Saver::Fill(Pulse& pulse) {
  pulse.save = Status();
  pulse.commit_running = commit_ != nullptr;
  pulse.committed_step = committed_step_;
  pulse.failed_saves = failed_;
  pulse.save_now = options_.every_minutes > 0 && Now() - last_begin_ >= 60 * options_.every_minutes;
}

double Saver::AfterStep(const Verdict& verdict, const ckpt::RunState& state,
                        const TakeSnapshot& snapshot) {
  const double start = Now();
  if (busy() && verdict.stalled_rank >= 0) {
    GiveUp(verdict.stalled_rank);
  } else if (commit_outstanding_ && !verdict.commit_running) {
    commit_outstanding_ = false;
    due_ = due_ || verdict.failed_saves > 0;
    if (!is_root() && verdict.committed_step != committed_step_) {
      Committed({.step = verdict.committed_step});
    }
    failed_ = verdict.failed_saves;
    if (failed_ > 0) last_error_ = comm_.BroadcastText(last_error_, 0);
    GiveUpAfterTwo();
  }
  if (job_ && verdict.all_written) CollectReports();
  due_ = due_ || verdict.save_now ||
         (options_.every_steps > 0 && state.step % options_.every_steps == 0);
  if (due_ && !busy() && !verdict.hold_save) Begin(state, snapshot);
  return Now() - start;
}

void Saver::Finish(const ckpt::RunState& state, const TakeSnapshot& snapshot) {
  while (busy() || committed_step_ != state.step) {
    if (!busy()) Begin(state, snapshot);
    if (const int stalled = Settle(); stalled >= 0) {
      GiveUp(stalled);
    } else if (job_) {
      CollectReports();
    } else {
      HearOfCommit();
    }
  }
}

void Saver::Begin(const ckpt::RunState& state, const TakeSnapshot& snapshot) {
  const double start = Now();
  due_ = false;
  last_begin_ = start;
  ckpt::SavePlan plan;
  plan.checkpoints_dir = options_.writer.run.Checkpoints();
  plan.state = state;
  plan.layout = options_.layout;
  plan.topology = {comm_.rank(), comm_.size(), comm_.node_of_rank()};
  plan.ranges_of_rank = options_.ranges_of_rank;
  plan.retry = static_cast<uint64_t>(failed_);
  plan.owner = options_.writer.owner;
  if (!parent_.empty()) plan.state.parent = parent_;
  if (options_.take_buffers) plan.buffers = options_.take_buffers();
  place_ = PlaceOf(plan);
  job_ = std::make_unique<ckpt::SaveJob>(fs_, std::move(plan), snapshot());
  mark_ = 0;
  moved_at_ = Now();
  stall_ = moved_at_ - start;
}

// How the running save stands on this rank.
SaveStatus Saver::Status() {
  TakeCommitResult();
  if (job_ && job_->finished()) return job_->failed() ? SaveStatus::kFailed : SaveStatus::kWritten;
  if (!job_ && !commit_) return SaveStatus::kIdle;
  return Moves(job_ ? job_->bytes_written() : commit_->moved()) ? SaveStatus::kWriting
                                                                : SaveStatus::kStalled;
}

// Takes note of how far the save has come. False where it stands still for too long.
bool Saver::Moves(uint64_t mark) {
  const double now = Now();
  if (mark != mark_) {
    if (options_.moved) options_.moved(mark - mark_);
    mark_ = mark;
    moved_at_ = now;
  }
  return now - moved_at_ < options_.stall_seconds;
}

// Collective: waits until every rank's part, or the root's commit, has ended or failed; then -1. Or
// until it stands still somewhere; then the lowest such rank. Ranks look together, so that none
// waits in a collective for as long as another one's disk takes.
int Saver::Settle() {
  const at::Tensor mine = at::empty({1}, at::kInt);
  const at::Tensor all = at::empty({comm_.size()}, at::kInt);
  for (double pause = 0.001;; pause = std::min(2 * pause, kLongestPause)) {
    *mine.mutable_data_ptr<int>() = static_cast<int>(Status());
    comm_.AllGather(all, mine);
    const int* const begin = all.const_data_ptr<int>();
    const int* const end = begin + comm_.size();
    const int* const stalled = std::find(begin, end, static_cast<int>(SaveStatus::kStalled));
    if (stalled != end) return static_cast<int>(stalled - begin);
    if (std::find(begin, end, static_cast<int>(SaveStatus::kWriting)) == end) return -1;
    std::this_thread::sleep_for(std::chrono::duration<double>(pause));
  }
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
  ckpt::SavePlan plan = job_->plan();
  job_.reset();
  const std::vector<std::string> all = comm_.AllGatherText(mine);

  monitor::CheckpointRecord record{.step = plan.state.step, .stall_seconds = stall_};
  std::vector<std::string> reports;
  for (int rank = 0; rank < comm_.size(); ++rank) {
    if (all[rank].starts_with("failed\n")) {
      GiveBackSpace();
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
  mark_ = 0;
  moved_at_ = Now();
  try {
    commit_ =
        std::make_unique<Committer>(fs_, Committer::Order{.writer = options_.writer,
                                                          .keep_last = options_.keep_last,
                                                          .tell_first = !first_commit_told_,
                                                          .plan = std::move(plan),
                                                          .reports = std::move(reports),
                                                          .record = record,
                                                          .before_step = options_.before_commit});
  } catch (const std::system_error& error) {  // no thread
    GiveBackSpace();
    Failed(EnvironmentError("E-IO", ckpt::TemporaryDir(place_),
                            std::string("could not start a thread: ") + error.what())
               .what());
  }
}

// Root: the commit's outcome, where it is known. Should removing old steps hang, the commit is no
// worse for it.
void Saver::TakeCommitResult() {
  if (!commit_) return;
  const bool tidying = !commit_->finished();
  if (tidying && (!commit_->committed() || Moves(commit_->moved()))) return;
  const Committer::Result result = commit_->result();
  if (tidying && !commit_->Leave(0)) {
    LeaveThreadBehind();
    LogWarning("removing old checkpoints in " + options_.writer.run.Checkpoints() +
               " does not come to an end; the run goes on without");
  }
  commit_.reset();
  if (!result.error.empty()) return Failed(result.error);
  parent_ = result.lineage;
  first_commit_told_ = first_commit_told_ || result.told_first;
  Committed(result.record);
}

// Collective: the end of a commit.
void Saver::HearOfCommit() {
  const std::string outcome = comm_.BroadcastText(
      std::to_string(failed_) + "\n" + std::to_string(committed_step_) + "\n" + last_error_, 0);
  commit_outstanding_ = false;
  const size_t second = outcome.find('\n') + 1;
  failed_ = std::stoi(outcome);
  last_error_ = outcome.substr(outcome.find('\n', second) + 1);
  const uint64_t committed = std::stoull(outcome.substr(second));
  if (committed != committed_step_) Committed({.step = committed});
  GiveUpAfterTwo();
}

// The bytes of a save that failed go before the next one is begun: the disk may have room for one.
void Saver::GiveBackSpace() {
  if (!is_root()) return;
  Errand errand(fs_, [place = place_](FileSystem& fs) { ckpt::AbandonStep(fs, place); });
  if (errand.Wait(std::min(options_.stall_seconds, kTidyUp), options_.moved)) return;
  LogWarning("removing " + ckpt::TemporaryDir(place_) +
             " does not come to an end; the run goes on without");
}

// Every rank, at the same step: the running save has stood still on one of them for too long.
void Saver::GiveUp(int stalled_rank) {
  const std::string what = job_ ? "its part of the checkpoint" : "the commit of the checkpoint";
  if (job_ && !job_->finished()) {
    job_->Abandon();
    LeaveThreadBehind();
  }
  job_.reset();
  if (commit_) {
    commit_->GiveUp();
    LeaveThreadBehind();
  }
  commit_.reset();
  commit_outstanding_ = false;
  if (is_root()) {  // which may hang as the save does, so nobody waits
    Errand(fs_, [place = place_](FileSystem& fs) { ckpt::AbandonStep(fs, place); });
  }
  const Error stalled = EnvironmentError(
      "E-CKPT-STALLED", ckpt::TemporaryDir(place_),
      "rank " + std::to_string(stalled_rank) + " on " + hosts_[stalled_rank] + ": " + what +
          " has not moved for " + HumanSeconds(options_.stall_seconds),
      "look at the file system of that host");
  Failed(stalled.what());
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
  if (is_root()) LogWarning("a checkpoint failed, another one is begun at once: " + line);
  if (!commit_outstanding_) GiveUpAfterTwo();
}

void Saver::GiveUpAfterTwo() {
  if (failed_ < 2) return;
  if (last_error_.starts_with(kFenced)) {
    throw AgreedError(ErrorKind::kEnvironment, kFenced, last_error_, is_root());
  }
  throw AgreedError(EnvironmentError("E-CKPT-SAVE", options_.writer.run.Checkpoints(),
                                     "two checkpoints in a row failed: " + last_error_,
                                     "free space or repair the file system, then resume"),
                    is_root());
}

}  // namespace contrail::worker
