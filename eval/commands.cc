#include "eval/commands.h"

#include <unistd.h>

#include <filesystem>
#include <functional>
#include <string>
#include <thread>

#include "common/error.h"
#include "common/file_system.h"
#include "common/log.h"
#include "common/program.h"
#include "common/strings.h"
#include "common/token.h"
#include "eval/embed.h"
#include "eval/zero_shot.h"

namespace contrail::eval {
namespace {

constexpr long kBatchSize = 256;

std::string Required(const ParsedArgs& args, const std::string& option) {
  const std::string value = args.Value(option);
  if (value.empty()) {
    throw UserError("E-CLI-ARGS", args.command->name, "needs " + option,
                    "see `contrail help " + args.command->name + "`");
  }
  return value;
}

int64_t BatchSize(const ParsedArgs& args) { return args.Int("--batch", kBatchSize, 1, 1 << 20); }

void SetThreads(const ParsedArgs& args) {
  const auto cores = static_cast<long>(std::max(1u, std::thread::hardware_concurrency()));
  at::set_num_threads(static_cast<int>(args.Int("--threads", cores, 1, 4096)));
}

// Writes a byte to the descriptor with every call; does nothing where there is none.
std::function<void()> ProgressTo(const std::string& fd) {
  if (fd.empty()) return [] {};
  return [number = std::stoi(fd)] {
    // A pipe that is full says the same.
    [[maybe_unused]] const ssize_t n = write(number, ".", 1);
  };
}

// RUN/eval/zero_shot_step_00001200.json where the step belongs to a run directory. Somebody who may
// only read the run has the result all the same: it is printed.
void KeepInRun(const ZeroShotResult& result) {
  std::error_code unknown;  // then it is kept nowhere
  const std::filesystem::path step = std::filesystem::weakly_canonical(result.checkpoint, unknown);
  const std::filesystem::path run = step.parent_path().parent_path();
  if (step.parent_path().filename() != "checkpoints" ||
      !std::filesystem::exists(run / "config.toml", unknown)) {
    return;
  }
  FileSystem& fs = PosixFileSystem();
  const std::string file = run / "eval" / ("zero_shot_" + step.filename().string() + ".json");
  try {
    fs.MakeDir(run / "eval");
    fs.WriteAtomically(file, ToJson(result), ".tmp-" + RandomToken());
  } catch (const IoError& error) {
    LogWarning("W-EVAL-KEPT: " + file +
               ": the result is printed, but could not be kept: " + error.what());
  }
}

}  // namespace

int ZeroShotCommand(const ParsedArgs& args) {
  c10::InferenceMode guard;
  const std::string checkpoint = Required(args, "--checkpoint");
  const std::string dataset = Required(args, "--dataset");
  SetThreads(args);
  const auto encoder = Encoder::Open(PosixFileSystem(), checkpoint, BatchSize(args),
                                     ProgressTo(args.Value("--progress-fd")));
  const ZeroShotResult result = EvaluateZeroShot(*encoder, dataset);
  Print(args.Has("--json") ? ToJson(result) : ToText(result));
  KeepInRun(result);
  return kExitDone;
}

int EmbedCommand(const ParsedArgs& args) {
  c10::InferenceMode guard;
  const std::string checkpoint = Required(args, "--checkpoint");
  const EmbedOptions options = {args.Value("--images"), args.Value("--texts"), args.positional[0],
                                args.Value("--index-dir")};
  if (options.images.empty() && options.texts.empty()) {
    throw UserError("E-CLI-ARGS", "embed", "needs --images or --texts",
                    "see `contrail help embed`");
  }
  SetThreads(args);
  const auto encoder = Encoder::Open(PosixFileSystem(), checkpoint, BatchSize(args));
  const EmbedResult result = Embed(PosixFileSystem(), *encoder, options);
  LogInfo(options.out + ": " + std::to_string(result.images) + " images, " +
          std::to_string(result.texts) + " texts in " + HumanSeconds(result.seconds));
  return kExitDone;
}

}  // namespace contrail::eval
