// contrail-worker: one rank of a training job, and the tools that need tensors.
#include <cstdio>
#include <exception>

#include "common/error.h"
#include "common/log.h"
#include "configs/cli.h"
#include "eval/commands.h"
#include "worker/start.h"

namespace {

using contrail::ParsedArgs;

int Run(const std::vector<std::string>& args) {
  const auto& table = contrail::WorkerCommandTable();
  if (args.empty() || args[0] == "help" || args[0] == "--help" || args[0] == "-h") {
    std::fputs(contrail::HelpOverview("contrail-worker", table).c_str(), stdout);
    return contrail::kExitDone;
  }
  if (args[0] == "train") return contrail::worker::TrainCommand(args);
  const ParsedArgs parsed = contrail::ParseArgs(table, args);
  if (parsed.Has("--help")) {
    std::fputs(contrail::HelpCommand("contrail-worker", *parsed.command).c_str(), stdout);
    return contrail::kExitDone;
  }
  if (parsed.command->name == "eval zero-shot") return contrail::eval::ZeroShotCommand(parsed);
  if (parsed.command->name == "embed") return contrail::eval::EmbedCommand(parsed);
  throw contrail::UserError("E-CLI-COMMAND", parsed.command->name,
                            "this build of contrail-worker does not have the command");
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return Run({argv + 1, argv + argc});
  } catch (const contrail::Error& error) {
    contrail::LogError(error.what());
    return error.exit_code();
  } catch (const std::exception& error) {
    contrail::LogError(std::string("E-BUG: ") + error.what());
    return contrail::kExitBug;
  }
}
