#include <unistd.h>

#include <array>
#include <climits>

#include "common/error.h"
#include "launcher/commands.h"

namespace contrail::launcher {

std::string SelfProgram() {
  std::array<char, PATH_MAX> self{};
  const ssize_t size = readlink("/proc/self/exe", self.data(), self.size() - 1);
  return size > 0 ? std::string(self.data(), static_cast<size_t>(size)) : "";
}

std::string WorkerProgram() {
  const std::string self = SelfProgram();
  const std::string worker = self.substr(0, self.rfind('/') + 1) + "contrail-worker";
  if (access(worker.c_str(), X_OK) != 0) {
    throw UserError(
        "E-WORKER-MISSING", worker, ErrnoText(errno),
        "build or install contrail-worker beside contrail (cmake -DCONTRAIL_WORKER=ON)");
  }
  return worker;
}

void HandOver(const std::vector<std::string>& args) {
  std::string worker = WorkerProgram();
  std::vector<std::string> words = {worker};
  words.insert(words.end(), args.begin(), args.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  execv(worker.c_str(), argv.data());
  throw UserError("E-WORKER-MISSING", worker, ErrnoText(errno), "reinstall contrail-worker");
}

}  // namespace contrail::launcher
