#include "launcher/watch.h"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <utility>

namespace contrail::launcher {
namespace {

using monitor::Phase;

RankView Read(const monitor::ProgressWord& word) {
  RankView view;
  view.phase = static_cast<Phase>(word.phase.load(std::memory_order_acquire));
  if (view.phase == Phase::kAbsent) return view;
  view.rank = word.rank;
  view.pid = word.pid;
  view.step = word.step;
  view.collective = word.collective;
  view.collective_done = word.collective_done;
  view.operation = static_cast<monitor::Operation>(word.operation.load());
  view.time = word.time;
  view.loss = word.loss;
  view.samples_per_second = word.samples_per_second;
  view.committed_step = word.committed_step;
  view.total_steps = word.total_steps;
  return view;
}

}  // namespace

Watch::Watch(std::string board_path, int ranks, int expected)
    : path_(std::move(board_path)),
      words_(std::min(ranks, monitor::ProgressBoard::kMaxLocalRanks)),
      expected_(std::min(expected, words_)) {
  unlink(path_.c_str());  // of an attempt that nobody could tidy up
  board_ = monitor::ProgressBoard::Map(path_);
  known_.resize(static_cast<size_t>(ranks));
}

Watch::~Watch() { unlink(path_.c_str()); }

const JobView& Watch::Look(double now) {
  const JobView before = std::exchange(view_, JobView());
  view_.now = now;
  bool training = true;
  for (int i = 0; i < words_; ++i) {
    RankView rank = Read(board_->word(i));
    if (rank.phase == Phase::kAbsent || rank.pid <= 0 || rank.rank < 0 ||
        rank.rank >= std::ssize(known_)) {
      continue;
    }
    Known& known = known_[static_cast<size_t>(rank.rank)];
    if (known.pid != rank.pid) {
      known.process = PidFd(rank.pid);
      known.pid = rank.pid;
    }
    known.exited = known.exited || known.process.Exited();
    rank.exited = known.exited;
    training = training && rank.phase != Phase::kStarting;
    if (rank.step >= view_.step) {
      view_.step = rank.step;
      view_.loss = rank.loss;
    }
    view_.samples_per_second = std::max(view_.samples_per_second, rank.samples_per_second);
    view_.total_steps = std::max(view_.total_steps, rank.total_steps);
    view_.committed_step = std::max(view_.committed_step, rank.committed_step);
    view_.ranks.push_back(rank);
  }
  view_.up = !view_.ranks.empty() && std::ssize(view_.ranks) >= expected_;
  view_.training = view_.up && training;
  if (view_.training && !base_step_) base_step_ = view_.step;
  view_.base_step = base_step_.value_or(0);
  view_.first_step = before.first_step;
  view_.first_step_time = before.first_step_time;
  if (view_.first_step == 0 && base_step_ && view_.step > *base_step_) {
    view_.first_step = view_.step;
    view_.first_step_time = now;
  }
  std::sort(view_.ranks.begin(), view_.ranks.end(),
            [](const RankView& a, const RankView& b) { return a.rank < b.rank; });
  return view_;
}

std::vector<int> Watch::Descriptors() const {
  std::vector<int> out;
  for (const Known& known : known_) {
    if (known.process.valid() && !known.exited) out.push_back(known.process.fd());
  }
  return out;
}

const PidFd* Watch::Process(int rank) const {
  return rank >= 0 && rank < std::ssize(known_) ? &known_[static_cast<size_t>(rank)].process
                                                : nullptr;
}

void Watch::KillAll() const {
  for (const Known& known : known_) known.process.Kill(SIGKILL);
}

}  // namespace contrail::launcher
