#pragma once
// What this rank tells the watcher on its node: its progress word, or nobody where the run is
// unsupervised. Plain stores; never blocks.

#include <memory>
#include <string>

#include "monitoring/progress_word.h"

namespace contrail::worker {

class Progress {
 public:
  // `board` is the path given by the launcher; "" keeps the word private.
  // `word` is the index of this rank's word on it.
  Progress(const std::string& board, int word, int rank);

  void Enter(monitor::Phase phase);
  void Touch();  // any thread: something was done
  // Called from the thread that runs background collectives too.
  void Collectives(uint64_t entered, uint64_t done, monitor::Operation oldest_unfinished);
  void FinishStep(uint64_t step, double loss, double samples_per_second);
  void Commit(uint64_t step);
  void SetTotalSteps(uint64_t total);
  void Resume(uint64_t step);  // the step this attempt goes on from; committed already

  uint64_t step() const { return word_->step.load(std::memory_order_relaxed); }
  uint64_t collective() const { return word_->collective.load(std::memory_order_relaxed); }

 private:
  std::unique_ptr<monitor::ProgressBoard> board_;
  std::unique_ptr<monitor::ProgressWord> own_;
  monitor::ProgressWord* word_;
};

}  // namespace contrail::worker
