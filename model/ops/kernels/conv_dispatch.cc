#include "model/ops/kernels/conv_kernels.h"

#include <string_view>
#include <type_traits>

namespace contrail::model::kernels {

#define CONTRAIL_DECLARE(isa)                     \
  namespace isa {                                 \
  extern const ConvTable<float> kConvFloat;       \
  extern const ConvTable<double> kConvDouble;     \
  extern const ConvTable<BFloat16> kConvBFloat16; \
  extern const ConvTable<Half> kConvHalf;         \
  }
CONTRAIL_DECLARE(avx512)
CONTRAIL_DECLARE(avx2)
CONTRAIL_DECLARE(baseline)
#undef CONTRAIL_DECLARE

namespace {

template <typename T>
const ConvTable<T>& Pick(const ConvTable<float>& f, const ConvTable<double>& d,
                         const ConvTable<BFloat16>& b, const ConvTable<Half>& h) {
  if constexpr (std::is_same_v<T, float>) {
    return f;
  } else if constexpr (std::is_same_v<T, double>) {
    return d;
  } else if constexpr (std::is_same_v<T, BFloat16>) {
    return b;
  } else {
    return h;
  }
}

}  // namespace

template <typename T>
const ConvTable<T>& ConvKernels(const char* name) {
#define CONTRAIL_PICK(isa) \
  Pick<T>(isa::kConvFloat, isa::kConvDouble, isa::kConvBFloat16, isa::kConvHalf)
  const std::string_view isa = name;
  if (isa == "avx512") return CONTRAIL_PICK(avx512);
  if (isa == "avx2") return CONTRAIL_PICK(avx2);
  return CONTRAIL_PICK(baseline);
#undef CONTRAIL_PICK
}

template const ConvTable<float>& ConvKernels<float>(const char*);
template const ConvTable<double>& ConvKernels<double>(const char*);
template const ConvTable<BFloat16>& ConvKernels<BFloat16>(const char*);
template const ConvTable<Half>& ConvKernels<Half>(const char*);

}  // namespace contrail::model::kernels
