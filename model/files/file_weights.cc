#include "model/files/file_weights.h"

#include <cmath>
#include <filesystem>

#include "common/log.h"
#include "model/files/open_file.h"
#include "model/normalisation.h"

namespace contrail::model::files {
namespace {

constexpr std::array kUsualNames = {
    "model.safetensors", "model.safetensors.index.json", "open_clip_model.safetensors",
    "pytorch_model.bin", "pytorch_model.bin.index.json", "open_clip_pytorch_model.bin"};

// The file of weights inside a folder, "" where there is none.
std::string InFolder(const FileSystem& fs, const std::string& folder) {
  for (const char* name : kUsualNames) {
    if (fs.Exists(folder + "/" + name)) return folder + "/" + name;
  }
  return "";
}

std::string Pixels(int64_t resolution) { return std::to_string(resolution) + " px"; }

}  // namespace

std::unique_ptr<FileWeights> FileWeights::Open(const FileSystem& fs, const std::string& path,
                                               const Choices& choices) {
  std::string file = path;
  std::error_code cannot_tell;  // what may not be looked at is named by whoever opens it
  if (std::filesystem::is_directory(path, cannot_tell)) {
    file = InFolder(fs, path);
    if (file.empty()) {
      throw UserError("E-WEIGHTS-FILE", path, "is a folder without a file of weights",
                      "name the file itself");
    }
  }
  WeightFile weights = OpenWeightFile(fs, file);
  Shapes shapes;
  Naming naming = Naming::kOpenClip;
  for (const StoredTensor& tensor : weights.tensors) {
    shapes[tensor.name] = tensor.shape;
    if (tensor.name.starts_with("vision_model.") || tensor.name.starts_with("text_model.")) {
      naming = Naming::kHuggingFace;
    }
  }
  const Declared declared = ReadDeclared(fs, weights, naming);
  const Match match =
      MatchModel(shapes, naming, choices.model, declared.model.value_or(""), weights.path);
  std::unique_ptr<FileWeights> model(new FileWeights(std::move(weights), naming));
  model->Settle(match, declared, choices);
  return model;
}

void FileWeights::Settle(const Match& match, const Declared& declared, const Choices& choices) {
  spec_ = match.spec;
  CheckHeads(declared, spec_);
  const auto wrong_resolution = [&](const std::string& what, const std::string& fix) {
    return UserError("E-WEIGHTS-RESOLUTION", file_.path,
                     "its position embedding is made for " + Pixels(spec_.resolution) + what, fix);
  };
  if (declared.resolution && *declared.resolution != spec_.resolution) {
    throw wrong_resolution(", but " + declared.where + " says " + Pixels(*declared.resolution),
                           "weights and config must be of one model");
  }
  if (choices.resolution > 0 && choices.resolution != spec_.resolution) {
    throw wrong_resolution(", asked for " + Pixels(choices.resolution),
                           "leave model.resolution out; a [[phase]] changes it");
  }
  const bool confirmed = match.own_resolution || declared.resolution || choices.resolution > 0 ||
                         declared.model == spec_.name;
  if (!confirmed) {
    const int64_t own = FindModel(spec_.name).resolution;
    throw wrong_resolution(
        ", while " + spec_.name + " has " + Pixels(own),
        "if that is right, say --set model.resolution=" + std::to_string(spec_.resolution));
  }

  if (!choices.activation.empty() && declared.activation &&
      choices.activation != *declared.activation) {
    throw UserError("E-WEIGHTS-ACTIVATION", file_.path,
                    "was trained with " + *declared.activation + " (" + declared.activation_from +
                        " says so), asked for " + choices.activation,
                    "leave model.activation out");
  }
  if (declared.activation) {
    spec_.activation = *declared.activation;
  } else if (!choices.activation.empty()) {
    spec_.activation = choices.activation;
  } else {
    LogWarning("W-WEIGHTS-ACTIVATION: " + file_.path + ": does not say its activation; taken as " +
               spec_.activation + ". If it was trained with another: contrail import --set " +
               "model.activation=gelu");
  }
  if (!choices.mean_std.empty() && declared.mean_std && choices.mean_std != *declared.mean_std) {
    throw UserError("E-WEIGHTS-CONFIG", file_.path,
                    "was trained with images normalised as \"" + *declared.mean_std + "\" (" +
                        declared.mean_std_from + " says so), asked for \"" + choices.mean_std +
                        "\"",
                    "leave data.mean_std out");
  }
  spec_.mean_std = declared.mean_std.value_or(choices.mean_std.empty() ? "clip" : choices.mean_std);
  static_cast<void>(NormalisationNamed(spec_.mean_std));  // E-MEAN-STD
  inventory_ = InventoryOf(spec_);                        // E-MODEL-ACTIVATION
  for (size_t i = 0; i < file_.tensors.size(); ++i) tensor_of_[file_.tensors[i].name] = i;
}

void FileWeights::Read(const NamedShape& ours, float* out) {
  for (const FilePart& part : PartsOf(naming_, ours)) {
    const StoredTensor& tensor = file_.tensors[tensor_of_.at(part.name)];
    const uint64_t count = CountOf({part.name, part.shape});
    file_.Read(tensor, out);
    const uint64_t bad = FirstNonFinite(out, count);
    if (bad < count) {
      throw UserError("E-WEIGHTS-NONFINITE", file_.path,
                      "'" + part.name + "' holds " + std::to_string(out[bad]) + " at element " +
                          std::to_string(bad),
                      "the weights are broken: choose another file");
    }
    if (part.transposed) {
      const std::vector<float> theirs(out, out + count);
      const int64_t rows = part.shape[0], columns = part.shape[1];
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = 0; c < columns; ++c) out[c * rows + r] = theirs[r * columns + c];
      }
    }
    out += count;
  }
}

}  // namespace contrail::model::files
