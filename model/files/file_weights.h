#pragma once
// A file of weights as a model: opened, recognised, and checked against what it and its user say.

#include <memory>
#include <string>

#include "common/file_system.h"
#include "model/files/declared.h"
#include "model/files/match.h"
#include "model/files/model_weights.h"
#include "model/files/weight_file.h"

namespace contrail::model::files {

// What the user says; "" and 0 leave it to the file.
struct Choices {
  std::string model;
  std::string activation;
  std::string mean_std;
  int64_t resolution = 0;
};

class FileWeights : public ModelWeights {
 public:
  // `path`: a .safetensors, a .pt or .bin of torch.save or torch.jit.save, an index of sharded
  // safetensors, or a folder that holds one of them under its usual name.
  // Throws UserError: E-WEIGHTS-FILE, -DAMAGED, -PICKLE, -COMPRESSED (weight_file.h),
  // E-WEIGHTS-MODEL (weights of no or another model), E-WEIGHTS-ACTIVATION, E-WEIGHTS-RESOLUTION,
  // E-WEIGHTS-CONFIG.
  static std::unique_ptr<FileWeights> Open(const FileSystem& fs, const std::string& path,
                                           const Choices& choices);

  const ModelSpec& spec() const override { return spec_; }
  const Inventory& inventory() const override { return inventory_; }
  // Throw UserError E-WEIGHTS-NONFINITE, E-WEIGHTS-TYPE, E-WEIGHTS-DAMAGED (checksum).
  void ReadParam(size_t index, float* out) override { Read(inventory_.params[index], out); }
  void ReadBuffer(size_t index, float* out) override { Read(inventory_.buffers[index], out); }

  const std::string& path() const { return file_.path; }

 private:
  FileWeights(WeightFile file, Naming naming) : file_(std::move(file)), naming_(naming) {}
  void Settle(const Match& match, const Declared& declared, const Choices& choices);
  void Read(const NamedShape& ours, float* out);

  WeightFile file_;
  Naming naming_;
  std::map<std::string, size_t> tensor_of_;
  ModelSpec spec_;
  Inventory inventory_;
};

}  // namespace contrail::model::files
