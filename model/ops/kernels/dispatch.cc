#include "model/ops/kernels/kernels.h"

#include <string_view>

namespace contrail::model::kernels {

#define CONTRAIL_DECLARE(isa)         \
  namespace isa {                     \
  extern const Table<float> kFloat;   \
  extern const Table<double> kDouble; \
  }
CONTRAIL_DECLARE(avx512)
CONTRAIL_DECLARE(avx2)
CONTRAIL_DECLARE(baseline)
#undef CONTRAIL_DECLARE

namespace {

template <typename T>
const Table<T>* Pick(bool supported, const Table<float>& f, const Table<double>& d) {
  if (!supported) return nullptr;
  if constexpr (std::is_same_v<T, float>) {
    return &f;
  } else {
    return &d;
  }
}

}  // namespace

template <typename T>
const Table<T>* Named(const char* name) {
  const std::string_view isa = name;
  if (isa == "avx512") {
    const bool supported = __builtin_cpu_supports("avx512f") &&
                           __builtin_cpu_supports("avx512dq") &&
                           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    return Pick<T>(supported, avx512::kFloat, avx512::kDouble);
  }
  if (isa == "avx2") {
    const bool supported = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    return Pick<T>(supported, avx2::kFloat, avx2::kDouble);
  }
  if (isa == "baseline") return Pick<T>(true, baseline::kFloat, baseline::kDouble);
  return nullptr;
}

template <typename T>
const Table<T>& Best() {
  static const Table<T>& best = [&]() -> const Table<T>& {
    for (const char* name : {"avx512", "avx2"}) {
      if (const Table<T>* table = Named<T>(name)) return *table;
    }
    return *Named<T>("baseline");
  }();
  return best;
}

template const Table<float>* Named<float>(const char*);
template const Table<double>* Named<double>(const char*);
template const Table<float>& Best<float>();
template const Table<double>& Best<double>();

}  // namespace contrail::model::kernels
