#pragma once
// How bytes of images become numbers: (value / 255 - mean) / std by channel. A model must see
// images as it was trained, so this belongs to it as its activation does: it is in checkpoints
// and exports.

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace contrail::model {

struct Normalisation {
  std::array<double, 3> mean, std;  // of red, green, blue
  bool operator==(const Normalisation&) const = default;
};

// "clip": Radford et al.'s constants; "half": 0.5 and 0.5, to [-1, 1] (SigLIP, LAION-2B's L/14).
// Throws UserError E-MEAN-STD for another name.
const Normalisation& NormalisationNamed(std::string_view name);

// The name of what these numbers (as configs of others round them) are, or nothing.
std::optional<std::string> NameOfNormalisation(const Normalisation& numbers);

}  // namespace contrail::model
