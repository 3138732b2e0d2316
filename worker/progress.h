#pragma once
// What this rank tells the watcher on its node: its progress word and its last words, or nobody
// where the run is unsupervised. Plain stores; never blocks, never allocates after the start.
//
// Progress is what has been done: a block computed, a batch loaded, bytes read or written. It is
// never told from a timer, or a rank that hangs would look alive.

#include <memory>
#include <string>

#include "monitoring/progress_word.h"

namespace contrail::worker {

class Progress {
 public:
  // `board` is the path given by the launcher; "" keeps the word private. `word` is the index of
  // this rank's word on it, of `words`.
  Progress(const std::string& board, int word, int words, int rank);

  void Enter(monitor::Phase phase);
  // Any thread: something was done.
  void Touch();
  // Any thread: `amount` (bytes, samples) was done for the main thread, which waits for it doing
  // `activity`. Work ahead of need is no sign that the main thread lives, and not told.
  void Work(monitor::Activity activity, uint64_t amount);
  monitor::Activity Do(monitor::Activity activity);  // main thread; returns what it did before

  // Called from the thread that runs background collectives too.
  void Collectives(uint64_t entered, uint64_t done, monitor::Operation oldest_unfinished,
                   bool blocked);
  void FinishStep(uint64_t step, double loss, double samples_per_second);
  void Commit(uint64_t step);
  void SetTotalSteps(uint64_t total);
  void Resume(uint64_t step);  // the step this attempt goes on from; committed already

  // Last words; then the phase, so that whoever sees it finds them.
  void Say(std::string_view text, monitor::Phase phase);

  // Removes the name of a board that a worker made. Once, when every rank of the node has it.
  void UnlinkOwnBoard();

  uint64_t step() const { return word_->step.load(std::memory_order_relaxed); }
  uint64_t collective() const { return word_->collective.load(std::memory_order_relaxed); }

 private:
  const std::string path_;
  const int index_;
  std::unique_ptr<monitor::ProgressBoard> board_;
  monitor::ProgressWord* word_;
};

// The main thread is doing this while the object lives.
class Doing {
 public:
  Doing(Progress& progress, monitor::Activity activity)
      : progress_(progress), before_(progress.Do(activity)) {}
  ~Doing() { progress_.Do(before_); }
  Doing(const Doing&) = delete;
  Doing& operator=(const Doing&) = delete;

 private:
  Progress& progress_;
  const monitor::Activity before_;
};

}  // namespace contrail::worker
