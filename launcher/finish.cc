#include "launcher/finish.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>

#include <nlohmann/json.hpp>

#include "common/error.h"
#include "common/file_system.h"
#include "launcher/child.h"
#include "launcher/commands.h"

namespace contrail::launcher {

std::string EvaluateAtTheEnd(const Config& config, const monitor::RunDir& run, uint64_t step,
                             int64_t threads, StopSignals& signals) {
  const std::string& dataset = config.eval.zero_shot;
  if (dataset.empty()) return "{}";
  Child::Options options;
  options.argv = {WorkerProgram(), "eval",  "zero-shot", "--checkpoint", run.root,
                  "--dataset",     dataset, "--json",    "--threads",    std::to_string(threads)};
  options.keep_stderr = true;
  Child child(options);
  std::string said;
  std::array<char, 4096> buffer{};
  for (;;) {
    std::array<pollfd, 2> entries = {pollfd{child.output(), POLLIN, 0},
                                     pollfd{signals.fd(), POLLIN, 0}};
    poll(entries.data(), entries.size(), -1);
    signals.Take();
    if (signals.stop()) return "{}";  // the child is killed on the way out
    if (entries[0].revents == 0) continue;
    const ssize_t n = read(child.output(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    said.append(buffer.data(), static_cast<size_t>(n));
  }
  while (!child.Status()) usleep(1000);
  const nlohmann::json result = nlohmann::json::parse(said, nullptr, false);
  if (child.Status() != 0 || !result.is_object()) {
    throw EnvironmentError(
        "E-EVAL-FAILED", dataset, "contrail-worker " + DescribeExit(child.Status()),
        "the model is trained; `contrail resume " + run.root + "` evaluates it again");
  }
  FileSystem& fs = PosixFileSystem();
  fs.MakeDirs(run.Eval());
  std::array<char, 64> name{};
  std::snprintf(name.data(), name.size(), "/zero_shot_step_%08llu.json",
                static_cast<unsigned long long>(step));
  fs.WriteAtomically(run.Eval() + name.data(), result.dump(2) + "\n");
  return nlohmann::json{{"zero_shot", result}}.dump();
}

}  // namespace contrail::launcher
