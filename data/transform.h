#pragma once
// From a decoded picture to the square the model sees.

#include <cstdint>
#include <string_view>

#include "common/rng.h"
#include "data/image.h"

namespace contrail::data {

enum class CropKind {
  kCenter,         // open_clip's evaluation transform: shortest edge to R, centre square
  kRandomSquare,   // OpenAI's only augmentation: shortest edge to R, a random R x R square of it
  kRandomResized,  // open_clip's: a box of area [scale_min, 1], ratio [3/4, 4/3], resized to R x R
};

// "center" | "random-square" | "random-resized"; throws UserError E-DATA-CROP.
CropKind ParseCrop(std::string_view name);

// The R x R square. A picture already R x R is returned as it is by kCenter and kRandomSquare.
// `draws` is only used by the random kinds.
Image Transform(const Image& image, CropKind crop, int resolution, double scale_min,
                RandomStream& draws);

// Interleaved to planar: out[c * width * height + y * width + x].
void ToPlanar(const Image& image, uint8_t* out);

}  // namespace contrail::data
