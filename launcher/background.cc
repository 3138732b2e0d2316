#include "launcher/background.h"

#include <condition_variable>
#include <csignal>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

namespace contrail::launcher {
namespace {

constexpr double kLastWait = 2;  // seconds

}  // namespace

struct Background::State {
  explicit State(size_t most) : capacity(most) {}

  struct Item {
    std::function<void()> work;
    size_t size;
  };
  const size_t capacity;
  std::mutex mutex;  // guards what follows
  std::condition_variable changed;
  std::deque<Item> queue;
  size_t waiting = 0;  // sizes of what is in the queue or being done
  uint64_t posted = 0;
  uint64_t done = 0;
  bool ending = false;

  void Run() {
    std::unique_lock<std::mutex> lock(mutex);
    for (;;) {
      changed.wait(lock, [this] { return !queue.empty() || ending; });
      if (queue.empty()) return;
      Item item = std::move(queue.front());
      queue.pop_front();
      lock.unlock();
      item.work();
      item.work = nullptr;
      lock.lock();
      waiting -= item.size;
      ++done;
      changed.notify_all();
    }
  }
};

Background::Background(size_t capacity) : state_(std::make_shared<State>(capacity)) {
  // Signals belong to the thread that watches.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread([state = state_] { state->Run(); }).detach();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Background::~Background() {
  Settle(kLastWait);
  const std::lock_guard<std::mutex> lock(state_->mutex);
  state_->ending = true;
  state_->queue.clear();
  state_->changed.notify_all();
}

bool Background::Post(std::function<void()> work, size_t size) {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  if (state_->waiting + size > state_->capacity) return false;
  state_->waiting += size;
  ++state_->posted;
  state_->queue.push_back({std::move(work), size});
  state_->changed.notify_all();
  return true;
}

bool Background::Settle(double seconds) {
  std::unique_lock<std::mutex> lock(state_->mutex);
  const uint64_t all = state_->posted;
  return state_->changed.wait_for(lock, std::chrono::duration<double>(seconds),
                                  [&] { return state_->done >= all; });
}

}  // namespace contrail::launcher
