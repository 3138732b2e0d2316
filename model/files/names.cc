#include "model/files/names.h"

#include <array>
#include <utility>

#include "common/error.h"

namespace contrail::model::files {
namespace {

using Renaming = std::pair<const char*, const char*>;

// Outside the blocks.
constexpr std::array<Renaming, 8> kWhole = {{
    {"visual.class_embedding", "vision_model.embeddings.class_embedding"},
    {"visual.positional_embedding", "vision_model.embeddings.position_embedding.weight"},
    {"visual.conv1.weight", "vision_model.embeddings.patch_embedding.weight"},
    {"visual.proj", "visual_projection.weight"},
    {"positional_embedding", "text_model.embeddings.position_embedding.weight"},
    {"token_embedding.weight", "text_model.embeddings.token_embedding.weight"},
    {"text_projection", "text_projection.weight"},
    {"logit_scale", "logit_scale"},
}};
// Beginnings, of layers' names.
constexpr std::array<Renaming, 3> kNorms = {{
    {"visual.ln_pre.", "vision_model.pre_layrnorm."},  // sic
    {"visual.ln_post.", "vision_model.post_layernorm."},
    {"ln_final.", "text_model.final_layer_norm."},
}};
constexpr std::array<Renaming, 5> kInBlock = {{
    {"attn.out_proj.", "self_attn.out_proj."},
    {"ln_1.", "layer_norm1."},
    {"ln_2.", "layer_norm2."},
    {"mlp.c_fc.", "mlp.fc1."},
    {"mlp.c_proj.", "mlp.fc2."},
}};

std::vector<FilePart> InBlock(const std::string& tower, const std::string& rest,
                              const std::vector<int64_t>& shape) {
  const size_t dot = rest.find('.');
  const std::string layer = tower + ".encoder.layers." + rest.substr(0, dot) + ".";
  const std::string name = rest.substr(dot + 1);
  for (const auto& [ours, theirs] : kInBlock) {
    if (name.starts_with(ours)) {
      return {{layer + theirs + name.substr(std::string(ours).size()), shape}};
    }
  }
  const std::string in_proj = "attn.in_proj_";  // [3 w, w] or [3 w]
  if (!name.starts_with(in_proj)) return {};
  std::vector<int64_t> third = shape;
  third[0] /= 3;
  std::vector<FilePart> parts;
  for (const char* projection : {"q_proj.", "k_proj.", "v_proj."}) {
    parts.push_back({layer + "self_attn." + projection + name.substr(in_proj.size()), third});
  }
  return parts;
}

}  // namespace

std::vector<FilePart> PartsOf(Naming naming, const NamedShape& ours) {
  const auto& [name, shape] = ours;
  if (naming == Naming::kOpenClip) return {{name, shape}};
  for (const auto& [whole, theirs] : kWhole) {
    if (name != whole) continue;
    if (name == "visual.proj" || name == "text_projection") {
      return {{theirs, {shape[1], shape[0]}, /*transposed=*/true}};
    }
    return {{theirs, shape}};
  }
  for (const auto& [beginning, theirs] : kNorms) {
    if (name.starts_with(beginning)) {
      return {{theirs + name.substr(std::string(beginning).size()), shape}};
    }
  }
  const std::string visual = "visual.transformer.resblocks.", text = "transformer.resblocks.";
  std::vector<FilePart> parts;
  if (name.starts_with(visual)) parts = InBlock("vision_model", name.substr(visual.size()), shape);
  if (name.starts_with(text)) parts = InBlock("text_model", name.substr(text.size()), shape);
  if (!parts.empty()) return parts;
  return {{name, shape}};  // they have no such thing
}

bool IsNoWeight(const std::string& name) {
  for (const char* size :
       {"input_resolution", "context_length", "vocab_size", "attn_mask",
        "vision_model.embeddings.position_ids", "text_model.embeddings.position_ids"}) {
    if (name == size) return true;
  }
  return name.ends_with(".num_batches_tracked");
}

}  // namespace contrail::model::files
