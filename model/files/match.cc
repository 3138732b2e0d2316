#include "model/files/match.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "common/error.h"
#include "common/strings.h"
#include "model/files/weight_file.h"

namespace contrail::model::files {
namespace {

constexpr size_t kShown = 3;

bool SameShape(const std::vector<int64_t>& a, const std::vector<int64_t>& b) {
  // A scalar may be stored as a row of one.
  const auto scalar = [](const std::vector<int64_t>& shape) {
    return shape.empty() || (shape.size() == 1 && shape[0] == 1);
  };
  return a == b || (scalar(a) && scalar(b));
}

// Every difference between what the model needs and what the file has, in the model's order.
std::vector<std::string> Differences(const Shapes& shapes, Naming naming, const ModelSpec& spec) {
  const Inventory inventory = InventoryOf(spec);
  std::vector<std::string> differences;
  std::set<std::string> used;
  for (const auto* tensors : {&inventory.params, &inventory.buffers}) {
    for (const NamedShape& ours : *tensors) {
      for (const FilePart& part : PartsOf(naming, ours)) {
        used.insert(part.name);
        const auto found = shapes.find(part.name);
        if (found == shapes.end()) {
          differences.push_back("it has no '" + part.name + "' " + ShapeText(part.shape));
        } else if (!SameShape(found->second, part.shape)) {
          differences.push_back("'" + part.name + "' is " + ShapeText(found->second) +
                                " where the model has " + ShapeText(part.shape));
        }
      }
    }
  }
  for (const auto& [name, shape] : shapes) {
    if (!used.contains(name) && !IsNoWeight(name)) {
      differences.push_back("'" + name + "' " + ShapeText(shape) + " is no part of the model");
    }
  }
  return differences;
}

// The spec at the resolution that the file's position embedding is made for, or nothing.
std::optional<ModelSpec> AtFilesResolution(const Shapes& shapes, Naming naming, ModelSpec spec) {
  const bool vit = spec.resnet.layers.empty();
  const std::string name =
      vit ? "visual.positional_embedding" : "visual.attnpool.positional_embedding";
  const auto found = shapes.find(PartsOf(naming, {name, {1, 1}})[0].name);
  if (found == shapes.end() || found->second.size() != 2) return std::nullopt;
  const int64_t cells = found->second[0] - 1;
  const auto side = static_cast<int64_t>(std::llround(std::sqrt(static_cast<double>(cells))));
  constexpr int64_t kMostCells = 1 << 20;
  if (cells < 1 || cells > kMostCells || side * side != cells) return std::nullopt;
  spec.resolution = side * (vit ? spec.vit.patch : 32);
  return spec;
}

std::vector<ModelSpec> Candidates(const Shapes& shapes, const std::string& name,
                                  const std::string& prefer) {
  std::vector<ModelSpec> candidates = Registry();
  if (!name.empty()) candidates = {FindModel(name)};
  for (ModelSpec& spec : candidates) {
    if (shapes.contains("logit_bias")) spec.loss = "siglip";
  }
  std::stable_sort(candidates.begin(), candidates.end(),
                   [&](const ModelSpec& a, const ModelSpec& b) {
                     return (a.name == prefer) > (b.name == prefer);
                   });
  return candidates;
}

}  // namespace

Match MatchModel(const Shapes& shapes, Naming naming, const std::string& name,
                 const std::string& prefer, const std::string& where) {
  std::optional<Match> at_other_resolution;
  std::vector<std::string> fewest;
  std::string nearest;
  for (const ModelSpec& spec : Candidates(shapes, name, prefer)) {
    std::vector<std::string> differences = Differences(shapes, naming, spec);
    if (differences.empty()) return {spec, true};
    const auto resized = AtFilesResolution(shapes, naming, spec);
    if (resized && resized->resolution != spec.resolution) {
      if (Differences(shapes, naming, *resized).empty()) {
        // A file of ours says which of two models it is, whatever its resolution.
        if (spec.name == prefer) return {*resized, false};
        if (!at_other_resolution) at_other_resolution = {*resized, false};
      }
    }
    if (nearest.empty() || differences.size() < fewest.size()) {
      nearest = spec.name;
      fewest = std::move(differences);
    }
  }
  if (at_other_resolution) return *at_other_resolution;
  const size_t shown = std::min(kShown, fewest.size());
  std::string what = (name.empty() ? "fits no model of the table; nearest is " : "is no ") +
                     nearest + ": " +
                     Join({fewest.begin(), fewest.begin() + static_cast<int64_t>(shown)}, "; ");
  if (fewest.size() > shown) what += "; and " + std::to_string(fewest.size() - shown) + " more";
  throw UserError("E-WEIGHTS-MODEL", where, what,
                  name.empty() ? "" : "choose another model.name, or leave it out");
}

}  // namespace contrail::model::files
