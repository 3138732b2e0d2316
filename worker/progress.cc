#include "worker/progress.h"

#include <unistd.h>

#include "common/clock.h"
#include "common/error.h"

namespace contrail::worker {

Progress::Progress(const std::string& board, int word, int rank) {
  if (board.empty()) {
    own_ = std::make_unique<monitor::ProgressWord>();
    word_ = own_.get();
  } else {
    CONTRAIL_ASSERT(word < monitor::ProgressBoard::kMaxLocalRanks);
    board_ = monitor::ProgressBoard::Map(board);
    word_ = &board_->word(word);
  }
  word_->step = 0;
  word_->collective = 0;
  word_->collective_done = 0;
  word_->operation = 0;
  word_->loss = 0;
  word_->samples_per_second = 0;
  word_->committed_step = 0;
  word_->total_steps = 0;
  word_->pid = getpid();
  word_->rank = rank;
  Enter(monitor::Phase::kStarting);
}

void Progress::Touch() { word_->time = SystemClock().Monotonic(); }

void Progress::Enter(monitor::Phase phase) {
  Touch();
  word_->phase = static_cast<uint32_t>(phase);
}

void Progress::Collectives(uint64_t entered, uint64_t done, monitor::Operation oldest_unfinished) {
  word_->collective = entered;
  word_->collective_done = done;
  word_->operation = static_cast<uint32_t>(oldest_unfinished);
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

}  // namespace contrail::worker
