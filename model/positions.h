#pragma once
// Position embeddings of images at another resolution (FixRes; Touvron et al. 2019, as CLIP's
// ViT-L/14@336 was made).

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace contrail::model {

// "visual.positional_embedding" of a ViT, "visual.attnpool.positional_embedding" of a ResNet: the
// parameters whose rows are a first one (class token, mean) and a square grid of positions.
bool IsImagePositions(const std::string& name);

// `positions` fp32 [1 + g g, C] for a grid of another size, [1 + G G, C] = `rows`: the first row as
// it is, the grid bicubic with antialiasing, as open_clip's resize_pos_embed (open_clip/model.py;
// it knows ViTs only). The same tensor where nothing changes. Neither g g nor G G may be no square.
at::Tensor ResamplePositions(const at::Tensor& positions, int64_t rows);

}  // namespace contrail::model
