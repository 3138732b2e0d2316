#include <unistd.h>

#include <csignal>

#include "common/error.h"
#include "launcher/child.h"
#include "launcher/commands.h"

namespace contrail::launcher {

void RunNodeAgent(const std::vector<std::string>& words) {
  if (words.size() < 2) throw UserError("E-CLI-ARGS", kNodeAgentWord, "needs a command to start");
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGTERM);
  sigprocmask(SIG_BLOCK, &mask, nullptr);
  std::string program = FindProgram(words[1]);
  std::vector<std::string> rest(words.begin() + 1, words.end());
  std::vector<char*> argv;
  for (std::string& word : rest) argv.push_back(word.data());
  argv.push_back(nullptr);
  execv(program.c_str(), argv.data());
  throw EnvironmentError("E-SPAWN", words[1], ErrnoText(errno),
                         "Open MPI's daemon must be in PATH on every node");
}

}  // namespace contrail::launcher
