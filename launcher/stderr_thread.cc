#include "launcher/stderr_thread.h"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <string>
#include <utility>

#include "common/log.h"
#include "launcher/background.h"

namespace contrail::launcher {
namespace {

constexpr size_t kBehind = 1 << 20;  // bytes that may wait for the reader

void WriteWhole(const std::string& text) {
  for (size_t done = 0; done < text.size();) {
    const ssize_t n = ::write(STDERR_FILENO, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;  // a failed write to stderr has nowhere to be reported
    done += static_cast<size_t>(n);
  }
}

}  // namespace

struct StderrThread::State {
  Background thread{kBehind};
  std::atomic<uint64_t> dropped = 0;

  void Write(std::string text) {
    const uint64_t missed = dropped.exchange(0);
    if (missed > 0) {
      text = "warning: " + std::to_string(missed) + " lines were not shown: stderr was blocked\n" +
             text;
    }
    const size_t size = text.size();
    if (!thread.Post([text = std::move(text)] { WriteWhole(text); }, size)) dropped += missed + 1;
  }
};

StderrThread::StderrThread() : state_(std::make_shared<State>()) {
  SetStderrWriter([state = state_](std::string text) { state->Write(std::move(text)); });
}

StderrThread::~StderrThread() { SetStderrWriter(nullptr); }

bool StderrThread::Flush(double seconds) { return state_->thread.Settle(seconds); }

}  // namespace contrail::launcher
