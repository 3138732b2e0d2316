#include "model/ops/kernels/conv_kernels.h"

#include <string_view>
#include <type_traits>

namespace contrail::model::kernels {

#define CONTRAIL_DECLARE(isa)                 \
  namespace isa {                             \
  extern const ConvTable<float> kConvFloat;   \
  extern const ConvTable<double> kConvDouble; \
  }
CONTRAIL_DECLARE(avx512)
CONTRAIL_DECLARE(avx2)
CONTRAIL_DECLARE(baseline)
#undef CONTRAIL_DECLARE

template <typename T>
const ConvTable<T>& ConvKernels(const char* name) {
  const std::string_view isa = name;
  const auto pick = [](const ConvTable<float>& f, const ConvTable<double>& d) -> const auto& {
    if constexpr (std::is_same_v<T, float>) {
      return f;
    } else {
      return d;
    }
  };
  if (isa == "avx512") return pick(avx512::kConvFloat, avx512::kConvDouble);
  if (isa == "avx2") return pick(avx2::kConvFloat, avx2::kConvDouble);
  return pick(baseline::kConvFloat, baseline::kConvDouble);
}

template const ConvTable<float>& ConvKernels<float>(const char*);
template const ConvTable<double>& ConvKernels<double>(const char*);

}  // namespace contrail::model::kernels
