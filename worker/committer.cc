#include "worker/committer.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "checkpoint/newest.h"
#include "checkpoint/prune.h"
#include "common/clock.h"
#include "common/error.h"
#include "common/leashed_file_system.h"
#include "common/log.h"
#include "monitoring/first_commit.h"
#include "worker/tell_stays.h"

namespace contrail::worker {

struct Committer::State {
  State(FileSystem& file_system, Order what) : fs(file_system), order(std::move(what)) {}

  void Run() {
    const std::string dir = Commit();
    if (!dir.empty()) TidyUp(dir);
    const std::lock_guard<std::mutex> lock(mutex);
    finished = true;
    ended.notify_all();
  }

  // The step's directory; "" where it failed.
  std::string Commit() {
    result.record = order.record;
    try {
      const double start = SystemClock().Monotonic();
      CheckFence(order.writer, fs);
      if (order.before_step) order.before_step();
      // Any operation may have hung for longer than another launcher waits before it takes over.
      std::string dir = ckpt::CommitStep(fs, order.plan, order.reports, &result.lineage,
                                         [this] { CheckFence(order.writer, fs); });
      result.record.wall_time = SystemClock().Now();
      result.record.write_seconds += SystemClock().Monotonic() - start;
      return dir;
    } catch (const std::exception& error) {
      ckpt::AbandonStep(fs, order.plan);
      result.error = error.what();
      return "";
    }
  }

  // Without newest.json nothing is pruned. The step is found all the same: it comes from the one
  // that the file still names.
  void TidyUp(const std::string& dir) {
    const Writer& writer = order.writer;
    const ckpt::RunState& step = order.plan.state;
    try {
      CheckFence(writer, fs);
      ckpt::WriteNewest(fs, order.plan.checkpoints_dir,
                        {step.step, dir.substr(dir.rfind('/') + 1), result.lineage, step.attempt});
      if (order.tell_first) {
        monitor::WriteFirstCommit(writer.run, writer.attempt, step.step, fs);
        result.told_first = true;
      }
      committed = true;
      CheckFence(writer, fs);
      const ckpt::Pruned pruned =
          ckpt::Prune(fs, order.plan.checkpoints_dir,
                      {order.keep_last, static_cast<uint64_t>(writer.attempt), dir});
      TellStays(fs, writer, step.step, pruned.problems);
    } catch (const std::exception& error) {
      LogWarning("after the checkpoint of step " + std::to_string(step.step) +
                 " was committed: " + error.what());
    }
    committed = true;
  }

  LeashedFileSystem fs;
  const Order order;
  Result result;  // written by the thread before `committed` or `finished`
  std::atomic<bool> committed{false};
  std::atomic<bool> finished{false};
  std::mutex mutex;
  std::condition_variable ended;
};

Committer::Committer(FileSystem& fs, Order order)
    : state_(std::make_shared<State>(fs, std::move(order))),
      thread_([state = state_] { state->Run(); }) {}

Committer::~Committer() {
  if (thread_.joinable()) thread_.join();
}

bool Committer::finished() const { return state_->finished; }

bool Committer::committed() const { return state_->committed; }

uint64_t Committer::moved() const { return state_->fs.done(); }

Committer::Result Committer::result() const { return state_->result; }

void Committer::GiveUp() {
  state_->fs.Cut();
  thread_.detach();
}

bool Committer::Leave(double seconds) {
  std::unique_lock<std::mutex> lock(state_->mutex);
  const bool ended = state_->ended.wait_for(lock, std::chrono::duration<double>(seconds),
                                            [this] { return state_->finished.load(); });
  if (!ended) thread_.detach();
  return ended;
}

}  // namespace contrail::worker
