#include "worker/progress.h"

#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"

namespace contrail::worker {
namespace {

using monitor::Activity;
using monitor::Phase;
using monitor::ProgressBoard;

uint64_t PidNamespace() {
  struct stat info {};
  return stat("/proc/self/ns/pid", &info) == 0 ? info.st_ino : 0;
}

}  // namespace

Progress::Progress(const std::string& board, int word, int words, int rank)
    : path_(board),
      index_(board.empty() ? 0 : word),
      board_(board.empty() ? ProgressBoard::Private() : ProgressBoard::OpenOrMake(board, words)),
      word_(&board_->word(index_)) {
  word_->step = 0;
  word_->collective = 0;
  word_->collective_done = 0;
  word_->operation = 0;
  word_->blocked = 0;
  word_->loss = 0;
  word_->samples_per_second = 0;
  word_->committed_step = 0;
  word_->total_steps = 0;
  word_->activity = static_cast<uint32_t>(Activity::kStarting);
  word_->work = 0;
  word_->pid_namespace = PidNamespace();
  word_->pid = getpid();
  word_->rank = rank;
  Enter(Phase::kStarting);
}

void Progress::Touch() { word_->time.store(SystemClock().Monotonic(), std::memory_order_relaxed); }

void Progress::Work(Activity activity, uint64_t amount) {
  if (word_->activity.load(std::memory_order_relaxed) != static_cast<uint32_t>(activity)) return;
  word_->work.fetch_add(amount, std::memory_order_relaxed);
  Touch();
}

Activity Progress::Do(Activity activity) {
  const auto before = word_->activity.exchange(static_cast<uint32_t>(activity));
  Touch();
  return static_cast<Activity>(before);
}

void Progress::Enter(Phase phase) {
  Touch();
  word_->phase.store(static_cast<uint32_t>(phase), std::memory_order_release);
}

void Progress::Collectives(uint64_t entered, uint64_t done, monitor::Operation oldest_unfinished,
                           bool blocked) {
  word_->collective = entered;
  word_->collective_done = done;
  word_->operation = static_cast<uint32_t>(oldest_unfinished);
  word_->blocked = blocked ? 1 : 0;
  Touch();
}

void Progress::FinishStep(uint64_t step, double loss, double samples_per_second) {
  word_->loss = loss;
  word_->samples_per_second = samples_per_second;
  word_->step = step;
  Touch();
}

void Progress::Commit(uint64_t step) { word_->committed_step = step; }

void Progress::Resume(uint64_t step) {
  word_->step = step;
  word_->committed_step = step;
  Touch();
}

void Progress::SetTotalSteps(uint64_t total) { word_->total_steps = total; }

void Progress::Say(std::string_view text, Phase phase) {
  board_->Say(index_, text);
  Do(Activity::kEnding);
  Enter(phase);
}

void Progress::UnlinkOwnBoard() {
  if (!path_.empty() && board_->maker() == ProgressBoard::Maker::kWorker) unlink(path_.c_str());
}

}  // namespace contrail::worker
