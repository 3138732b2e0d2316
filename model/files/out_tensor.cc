#include "model/files/out_tensor.h"

#include "common/error.h"

namespace contrail::model::files {
namespace {

// Part `index` of the parts that one tensor of ours is made of.
std::vector<float> PartOf(const std::vector<float>& ours, const std::vector<FilePart>& parts,
                          size_t index) {
  size_t begin = 0;
  for (size_t i = 0; i < index; ++i) begin += CountOf({"", parts[i].shape});
  const FilePart& part = parts[index];
  const size_t count = CountOf({"", part.shape});
  if (!part.transposed) {
    const auto first = ours.begin() + static_cast<int64_t>(begin);
    return {first, first + static_cast<int64_t>(count)};
  }
  std::vector<float> theirs(count);
  const auto rows = static_cast<size_t>(part.shape[0]);
  const auto columns = static_cast<size_t>(part.shape[1]);
  for (size_t c = 0; c < columns; ++c) {
    for (size_t r = 0; r < rows; ++r) theirs[r * columns + c] = ours[begin + c * rows + r];
  }
  return theirs;
}

}  // namespace

EncodedTensor OutTensor::Encode() const {
  EncodedTensor encoded{values(), {}};
  CONTRAIL_ASSERT(encoded.numbers.size() * ElementSize(type) == bytes());
  if (type == ElementType::kFloat32) return encoded;
  encoded.text.resize(bytes());
  if (!FromFloat32(type, encoded.numbers.data(), encoded.numbers.size(), encoded.text.data())) {
    throw UserError("E-EXPORT-RANGE", name,
                    "holds a value beyond the range of " + ElementName(type),
                    "export to open_clip, which keeps fp32");
  }
  encoded.numbers = {};
  return encoded;
}

std::vector<OutTensor> OutTensors(ModelWeights& weights, Naming naming) {
  std::vector<OutTensor> tensors;
  const Inventory& inventory = weights.inventory();
  for (size_t i = 0; i < inventory.params.size(); ++i) {
    const NamedShape& ours = inventory.params[i];
    const std::vector<FilePart> parts = PartsOf(naming, ours);
    for (size_t p = 0; p < parts.size(); ++p) {
      tensors.push_back(
          {parts[p].name, ElementType::kFloat32, parts[p].shape, [&weights, &ours, parts, i, p] {
             std::vector<float> values(CountOf(ours));
             weights.ReadParam(i, values.data());
             const bool all = parts.size() == 1 && !parts[0].transposed;
             if (all) return values;  // not in a conditional expression, which would copy
             return PartOf(values, parts, p);
           }});
    }
  }
  const std::string counted = ".running_var";  // each norm has one
  for (size_t i = 0; i < inventory.buffers.size(); ++i) {
    const NamedShape& ours = inventory.buffers[i];
    tensors.push_back({ours.name, ElementType::kFloat32, ours.shape, [&weights, &ours, i] {
                         std::vector<float> values(CountOf(ours));
                         weights.ReadBuffer(i, values.data());
                         return values;
                       }});
    if (!ours.name.ends_with(counted)) continue;
    const std::string norm = ours.name.substr(0, ours.name.size() - counted.size());
    // Nothing reads it: the statistics' momentum is fixed.
    tensors.push_back({norm + ".num_batches_tracked", ElementType::kInt64, {}, [] {
                         return std::vector<float>{0};
                       }});
  }
  return tensors;
}

Notes NotesOf(const ModelSpec& spec) {
  Notes notes = {{"model", spec.name},
                 {"activation", spec.activation},
                 {"resolution", std::to_string(spec.resolution)}};
  if (spec.mean_std != "clip") notes.emplace_back("mean_std", spec.mean_std);
  return notes;
}

}  // namespace contrail::model::files
