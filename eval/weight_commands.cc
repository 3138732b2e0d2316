// contrail import, contrail export.
#include "common/clock.h"
#include "common/error.h"
#include "common/log.h"
#include "common/strings.h"
#include "data/hf_tokenizer.h"
#include "eval/commands.h"
#include "eval/encoder.h"
#include "eval/import.h"
#include "eval/step_weights.h"
#include "model/files/export.h"
#include "model/files/file_weights.h"
#include "model/files/new_file.h"
#include "model/files/new_folder.h"

namespace contrail::eval {
namespace {

using model::files::FileWeights;
using model::files::ModelWeights;

model::files::Choices ChoicesOf(const ParsedArgs& args) {
  model::files::Choices choices;
  for (const std::string& text : args.Values("--set")) {
    const size_t equals = text.find('=');
    if (equals == std::string::npos) {
      throw UserError("E-CONFIG-SET", "--set " + text, "is no key=value");
    }
    const std::string key = text.substr(0, equals), value = text.substr(equals + 1);
    if (key == "model.name") {
      choices.model = value;
    } else if (key == "model.activation") {
      choices.activation = value;
    } else if (key == "data.mean_std") {
      choices.mean_std = value;
    } else if (key == "model.resolution") {
      constexpr size_t kMostDigits = 5;
      if (value.empty() || value.size() > kMostDigits ||
          value.find_first_not_of("0123456789") != std::string::npos || std::stol(value) == 0) {
        throw UserError("E-CONFIG-TYPE", "--set model.resolution", "'" + value + "' is no number",
                        "give pixels, for example 224");
      }
      choices.resolution = std::stol(value);
    } else {
      throw UserError("E-CONFIG-KEY", "--set", "import has no key '" + key + "'",
                      "it has model.name, model.activation, model.resolution and data.mean_std");
    }
  }
  return choices;
}

// Everything of an export to a folder, which appears whole or not at all.
void ExportFolder(FileSystem& fs, StepWeights& weights, const std::string& out) {
  model::files::RequireHuggingFace(weights.spec(), weights.inventory());
  model::files::NewFolder folder(fs, out);
  const std::string& inside = folder.temporary();
  model::files::ExportHuggingFace(fs, weights, inside);
  for (const auto& [name, text] :
       data::HuggingFaceTokenizerFiles(TokenizerOf(weights.step().state()))) {
    fs.WriteAtomically(inside + "/" + name, text);
  }
  folder.Commit();
}

std::string Describe(const ModelWeights& weights) {
  uint64_t parameters = 0;
  for (const auto& param : weights.inventory().params) parameters += CountOf(param);
  const std::string pixels =
      weights.spec().mean_std == "clip" ? "" : ", mean_std " + weights.spec().mean_std;
  return weights.spec().name + ", " + weights.spec().activation + pixels + ", " +
         std::to_string(weights.spec().resolution) + " px, " + std::to_string(parameters) +
         " parameters";
}

std::string Since(double start) { return HumanSeconds(SystemClock().Monotonic() - start); }

}  // namespace

int ImportCommand(const ParsedArgs& args) {
  const double start = SystemClock().Monotonic();
  FileSystem& fs = PosixFileSystem();
  model::files::RequireNew(fs, args.positional[1]);
  const auto weights = FileWeights::Open(fs, args.positional[0], ChoicesOf(args));
  ImportCheckpoint(fs, *weights, args.positional[1]);
  LogInfo(args.positional[1] + ": " + Describe(*weights) + ", in " + Since(start));
  return kExitDone;
}

int ExportCommand(const ParsedArgs& args) {
  const double start = SystemClock().Monotonic();
  FileSystem& fs = PosixFileSystem();
  const std::string format = args.Value("--format"), out = args.positional[1];
  if (format != "openai" && format != "open_clip" && format != "hf") {
    throw UserError("E-EXPORT-FORMAT", "--format " + format, "is no format that can be written",
                    "use one of: openai, open_clip, hf");
  }
  const auto weights = StepWeights::Open(fs, args.positional[0]);
  if (format == "openai") model::files::ExportOpenAi(fs, *weights, out);
  if (format == "open_clip") model::files::ExportOpenClip(fs, *weights, out);
  if (format == "hf") ExportFolder(fs, *weights, out);
  LogInfo(out + ": " + Describe(*weights) + ", in " + Since(start));
  return kExitDone;
}

}  // namespace contrail::eval
