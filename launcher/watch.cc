#include "launcher/watch.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <utility>

#include "common/error.h"

namespace contrail::launcher {
namespace {

using monitor::Phase;
using monitor::ProgressBoard;

uint64_t OwnPidNamespace() {
  struct stat info {};
  return stat("/proc/self/ns/pid", &info) == 0 ? info.st_ino : 0;
}

std::unique_ptr<ProgressBoard> MakeBoard(const std::string& path, int ranks) {
  auto board = ProgressBoard::Make(path, ranks, ProgressBoard::Maker::kLauncher);
  if (!board) throw EnvironmentError("E-PROGRESS", path, "is there already");
  return board;
}

// Of this user, and started with the board's unguessable name among its arguments. nullopt where
// the kernel does not say.
std::optional<bool> WasGiven(int pid, const std::string& board) {
  const std::string folder = "/proc/" + std::to_string(pid);
  struct stat info {};
  if (stat(folder.c_str(), &info) != 0) return std::nullopt;
  if (info.st_uid != geteuid()) return false;
  std::ifstream words(folder + "/cmdline", std::ios::binary);
  if (!words) return std::nullopt;
  for (std::string word; std::getline(words, word, '\0');) {
    if (word == board) return true;
  }
  return false;
}

RankView Read(const monitor::ProgressWord& word) {
  RankView view;
  view.phase = static_cast<Phase>(word.phase.load(std::memory_order_acquire));
  view.rank = word.rank;
  view.activity = static_cast<monitor::Activity>(word.activity.load());
  view.blocked = word.blocked != 0;
  view.step = word.step;
  view.collective = word.collective;
  view.collective_done = word.collective_done;
  view.operation = static_cast<monitor::Operation>(word.operation.load());
  view.work = word.work;
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
      expected_(std::min(expected, ProgressBoard::kMaxWords)),
      pid_namespace_(OwnPidNamespace()),
      board_(MakeBoard(path_, ranks)) {
  known_.resize(static_cast<size_t>(ranks));
}

Watch::~Watch() { unlink(path_.c_str()); }

// A number in shared memory is not yet a process: only one that is surely the rank's is watched and
// killed. A rank in another pid namespace is seen by its word alone.
void Watch::Meet(Known& known, int pid, uint64_t pid_namespace) const {
  PidFd process;
  if (pid_namespace == pid_namespace_) {
    process = PidFd(pid);
    // Asked after the process was taken hold of: it is the rank's, or the rank is gone, and another
    // may have its number.
    const std::optional<bool> ours = WasGiven(pid, path_);
    const bool gone = process.Exited();
    if (!ours && !gone) return;  // the next look asks again
    known.exited = gone || !*ours;
    known.trusted = gone || *ours;
  }
  known.pid = pid;
  known.process = std::move(process);
}

const JobView& Watch::Look(double now) {
  const JobView before = std::exchange(view_, JobView());
  view_.now = now;
  for (int i = 0; i < board_->words(); ++i) {
    const monitor::ProgressWord& word = board_->word(i);
    const auto phase = static_cast<Phase>(word.phase.load(std::memory_order_acquire));
    const int rank = word.rank;
    const int pid = word.pid;
    if (phase == Phase::kAbsent || pid <= 0 || rank < 0 || rank >= std::ssize(known_)) continue;
    Known& known = known_[static_cast<size_t>(rank)];
    known.word = i;
    if (known.pid != pid) Meet(known, pid, word.pid_namespace);
    known.exited = known.exited || (known.trusted && known.process.Exited());
  }
  // The words after the deaths: what a rank said before it took others along is not missed.
  bool training = true;
  for (Known& known : known_) {
    if (known.word < 0) continue;
    Show(known, &training);
    if (!known.said && (known.exited || view_.ranks.back().phase == Phase::kDone ||
                        view_.ranks.back().phase == Phase::kFailed)) {
      const auto text = board_->LastWords(known.word);
      if (text) known.said = monitor::ParseEndRecord(*text);
    }
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
  return view_;
}

// Adds the rank to the view.
void Watch::Show(const Known& known, bool* training) {
  RankView rank = Read(board_->word(known.word));
  rank.pid = known.trusted ? known.pid : 0;
  rank.exited = known.exited;
  *training = *training && rank.phase != Phase::kStarting;
  if (rank.step >= view_.step) {
    view_.step = rank.step;
    view_.loss = rank.loss;
  }
  view_.samples_per_second = std::max(view_.samples_per_second, rank.samples_per_second);
  view_.total_steps = std::max(view_.total_steps, rank.total_steps);
  view_.committed_step = std::max(view_.committed_step, rank.committed_step);
  view_.ranks.push_back(rank);
}

std::vector<int> Watch::Descriptors() const {
  std::vector<int> out;
  for (const Known& known : known_) {
    if (known.trusted && !known.exited && known.process.valid()) {
      out.push_back(known.process.fd());
    }
  }
  return out;
}

std::optional<int> Watch::ExitStatus(int rank) const {
  const Known& known = known_.at(static_cast<size_t>(rank));
  return known.trusted ? known.process.ExitStatus(known.pid) : std::nullopt;
}

const std::optional<monitor::EndRecord>& Watch::LastWords(int rank) const {
  return known_.at(static_cast<size_t>(rank)).said;
}

void Watch::KillAll() const {
  for (const Known& known : known_) {
    if (known.trusted) known.process.Kill(SIGKILL);
  }
}

}  // namespace contrail::launcher
