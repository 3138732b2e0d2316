#include "model/normalisation.h"

#include <cmath>

#include "common/error.h"

namespace contrail::model {
namespace {

struct Named {
  std::string_view name;
  Normalisation numbers;
};
constexpr std::array<Named, 2> kKnown = {{
    {"clip", {{0.48145466, 0.4578275, 0.40821073}, {0.26862954, 0.26130258, 0.27577711}}},
    {"half", {{0.5, 0.5, 0.5}, {0.5, 0.5, 0.5}}},
}};

bool Near(const std::array<double, 3>& a, const std::array<double, 3>& b) {
  constexpr double kRounding = 1e-4;  // a shade of a byte is 4e-3
  for (size_t c = 0; c < a.size(); ++c) {
    if (!(std::abs(a[c] - b[c]) < kRounding)) return false;
  }
  return true;
}

}  // namespace

const Normalisation& NormalisationNamed(std::string_view name) {
  for (const Named& known : kKnown) {
    if (known.name == name) return known.numbers;
  }
  throw UserError("E-MEAN-STD", "data.mean_std",
                  "no normalisation is called '" + std::string(name) + "'",
                  "use one of: clip, half");
}

std::optional<std::string> NameOfNormalisation(const Normalisation& numbers) {
  for (const Named& known : kKnown) {
    if (Near(known.numbers.mean, numbers.mean) && Near(known.numbers.std, numbers.std)) {
      return std::string(known.name);
    }
  }
  return std::nullopt;
}

}  // namespace contrail::model
