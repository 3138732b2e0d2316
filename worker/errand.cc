#include "worker/errand.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "common/clock.h"
#include "common/leashed_file_system.h"
#include "worker/left_behind.h"

namespace contrail::worker {
namespace {

constexpr double kLook = 0.1;  // seconds between two looks at how far it is

}  // namespace

struct Errand::State {
  explicit State(FileSystem& inner) : fs(inner) {}

  LeashedFileSystem fs;
  std::mutex mutex;
  std::condition_variable changed;
  bool over = false;  // guarded by mutex
};

Errand::Errand(FileSystem& fs, std::function<void(FileSystem& fs)> work)
    : state_(std::make_shared<State>(fs)) {
  try {
    std::thread([state = state_, work = std::move(work)] {
      work(state->fs);
      const std::lock_guard<std::mutex> lock(state->mutex);
      state->over = true;
      state->changed.notify_all();
    }).detach();
  } catch (const std::system_error&) {
    state_->over = true;
  }
}

Errand::~Errand() {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  if (!state_->over) LeaveThreadBehind();
}

bool Errand::Wait(double stall_seconds, const std::function<void(uint64_t operations)>& moved) {
  uint64_t mark = 0;
  double moved_at = SystemClock().Monotonic();
  std::unique_lock<std::mutex> lock(state_->mutex);
  for (;;) {
    const bool over = state_->changed.wait_for(lock, std::chrono::duration<double>(kLook),
                                               [this] { return state_->over; });
    const double now = SystemClock().Monotonic();
    if (const uint64_t done = state_->fs.done(); done != mark) {
      if (moved) moved(done - mark);
      mark = done;
      moved_at = now;
    }
    if (over) return true;
    if (now - moved_at < stall_seconds) continue;
    state_->fs.Cut();
    LeaveThreadBehind();
    return false;
  }
}

}  // namespace contrail::worker
