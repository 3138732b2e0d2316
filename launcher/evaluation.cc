#include "launcher/evaluation.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "common/clock.h"
#include "common/error.h"
#include "common/log.h"
#include "common/strings.h"
#include "launcher/child.h"
#include "launcher/commands.h"
#include "launcher/process.h"

namespace contrail::launcher {
namespace {

double Now() { return SystemClock().Monotonic(); }

// What there is to read; false at the end.
bool Drain(int fd, std::string& out) {
  std::array<char, 4096> buffer{};
  const ssize_t n = read(fd, buffer.data(), buffer.size());
  if (n < 0) return errno == EINTR || errno == EAGAIN;
  out.append(buffer.data(), static_cast<size_t>(n));
  return n > 0;
}

}  // namespace

WatchedRun RunWatched(const std::vector<std::string>& argv, double limit, StopSignals& signals) {
  Child::Options options;
  options.argv = argv;
  options.keep_stderr = true;
  options.progress_fd = kProgressFd;
  Child child(options);  // killed on the way out
  WatchedRun run;
  std::string bytes;
  bool talking = true;  // its stdout is open
  bool progressing = true;
  bool begun = false;  // it has told of progress
  uint64_t moved = 0;
  double last = Now();
  while (talking || !child.Status()) {
    // A negative descriptor is passed over; a child that closed its stdout is about to end.
    std::array<pollfd, 4> entries = {pollfd{talking ? child.output() : -1, POLLIN, 0},
                                     pollfd{progressing ? child.progress() : -1, POLLIN, 0},
                                     pollfd{talking ? -1 : child.pidfd().fd(), POLLIN, 0},
                                     pollfd{signals.fd(), POLLIN, 0}};
    const double left = last + limit - Now();
    poll(entries.data(), entries.size(),
         static_cast<int>(std::ceil(std::clamp(left, 0.0, 0.5) * 1e3)));
    if (entries[0].revents != 0) {
      talking = Drain(child.output(), run.said);
      last = Now();
    }
    if (entries[1].revents != 0) {
      progressing = Drain(child.progress(), bytes);
      begun = true;
      bytes.clear();
      last = Now();
    }
    signals.Take();
    // Whatever has been said by now counts.
    while (signals.stop() && talking && poll(entries.data(), 1, 0) == 1) {
      talking = Drain(child.output(), run.said);
    }
    if (signals.stop() && talking) {
      run.end = WatchedRun::End::kStopped;
      return run;
    }
    if (!begun && Now() - last > limit / 2) {
      const uint64_t by_now = SignsOf(child.pid()).moved;
      if (by_now > moved) last = Now();
      moved = by_now;
    }
    if (Now() - last > limit) {
      // One that has said all it had to say and does not end has a result.
      if (talking) run.end = WatchedRun::End::kSilent;
      return run;
    }
  }
  run.status = *child.Status();
  return run;
}

Evaluation EvaluateAtTheEnd(const Config& config, const monitor::RunDir& run, int64_t threads,
                            StopSignals& signals) {
  const std::string& dataset = config.eval.zero_shot;
  if (signals.stop()) return {.stopped = true};
  const std::vector<std::string> argv = {WorkerProgram(), "eval",
                                         "zero-shot",     "--checkpoint",
                                         run.root,        "--dataset",
                                         dataset,         "--json",
                                         "--batch",       std::to_string(config.eval.batch_size),
                                         "--threads",     std::to_string(threads),
                                         "--progress-fd", std::to_string(kProgressFd)};
  const double limit = config.launcher.start_seconds;
  WatchedRun tried = RunWatched(argv, limit, signals);
  if (tried.end == WatchedRun::End::kSilent) {
    LogWarning("the evaluation made no progress for " + HumanSeconds(limit) +
               ": it was ended and is started once more");
    tried = RunWatched(argv, limit, signals);
  }
  if (tried.end == WatchedRun::End::kStopped) return {.stopped = true};
  const nlohmann::json result = nlohmann::json::parse(tried.said, nullptr, false);
  const bool silent = tried.end == WatchedRun::End::kSilent;
  if (silent || tried.status != 0 || !result.is_object()) {
    throw EnvironmentError(
        "E-EVAL-FAILED", dataset,
        "contrail-worker " + (silent ? "made no progress for " + HumanSeconds(limit) + ", twice"
                                     : DescribeExit(tried.status)),
        "the model is trained; `contrail resume " + run.root + "` evaluates it again");
  }
  return {.text = result.dump(2) + "\n", .json = nlohmann::json{{"zero_shot", result}}.dump()};
}

}  // namespace contrail::launcher
