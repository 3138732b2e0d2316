// contrail-worker: one rank of a training job, and the tools that need tensors.
#include <cstdio>

#include "checkpoint/hdf5_environment.h"
#include "common/error.h"
#include "common/open_files.h"
#include "common/program.h"
#include "configs/cli.h"
#include "eval/commands.h"
#include "worker/help.h"
#include "worker/omp_wait.h"
#include "worker/start.h"

namespace {

int Run(const std::vector<std::string>& words) {
  if (const auto help = contrail::worker::Help(words)) {
    std::fputs(help->c_str(), stdout);
    return contrail::kExitDone;
  }
  if (words[0] == "train") return contrail::worker::TrainCommand(words);
  const auto args = contrail::ParseArgs(contrail::WorkerCommandTable(), words);
  if (args.command->name == "eval zero-shot") return contrail::eval::ZeroShotCommand(args);
  if (args.command->name == "embed") return contrail::eval::EmbedCommand(args);
  if (args.command->name == "import") return contrail::eval::ImportCommand(args);
  if (args.command->name == "export") return contrail::eval::ExportCommand(args);
  contrail::BugAt(__FILE__, __LINE__, "every command of the table is dispatched");
}

// Before the constructors of all libraries.
[[gnu::section(".preinit_array"),
  gnu::used]] void (*const before_libraries)() = contrail::EndWithoutWorkingDirectory;

}  // namespace

int main(int argc, char** argv) {
  contrail::worker::SleepWhileWaiting(argc, argv);
  contrail::RaiseOpenFilesLimit();
  contrail::ckpt::ForgetHdf5Environment();  // inherited HDF5_* variables change what is read
  return contrail::RunProgram([&] { return Run({argv + 1, argv + argc}); });
}
