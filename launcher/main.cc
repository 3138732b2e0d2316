// contrail: trains CLIP models on clusters and keeps the runs alive. Links no tensor library.

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "checkpoint/commands.h"
#include "common/error.h"
#include "common/open_files.h"
#include "common/program.h"
#include "configs/cli.h"
#include "data/commands.h"
#include "launcher/commands.h"
#include "launcher/doctor.h"
#include "launcher/help.h"
#include "monitoring/viewer/commands.h"

namespace contrail {
namespace {

int Dispatch(const ParsedArgs& args, const std::vector<std::string>& words) {
  const std::string& name = args.command->name;
  const std::string group = name.substr(0, name.find(' '));
  // Workers wait with sleeping threads (worker/omp_wait.h); told before they load LibTorch, they
  // need not start over. A user's choice wins.
  setenv("OMP_WAIT_POLICY", "passive", /*overwrite=*/0);
  if (args.command->needs_worker) launcher::HandOver(words);
  if (name == "train") return launcher::RunTrain(args);
  if (name == "resume") return launcher::RunResume(args);
  if (name == "doctor") return launcher::RunDoctor(args);
  if (name == "data audit") return launcher::RunDataAudit(args);
  if (group == "data") return RunDataCommand(args);
  if (group == "checkpoint") return RunCheckpointCommand(args);
  if (group == "view") return RunViewCommand(args);
  BugAt(__FILE__, __LINE__, "every command of the table is dispatched");
}

int Main(const std::vector<std::string>& words) {
  RaiseOpenFilesLimit();
  if (!words.empty() && words[0] == launcher::kNodeAgentWord) launcher::RunNodeAgent(words);
  if (const auto help = launcher::Help(words)) {
    std::fputs(help->c_str(), stdout);
    return kExitDone;
  }
  CheckWorkingDirectory();
  return Dispatch(ParseArgs(CommandTable(), words), words);
}

}  // namespace
}  // namespace contrail

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  return contrail::RunProgram([&] { return contrail::Main(words); });
}
