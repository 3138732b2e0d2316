#include "model/ops/kernels/kernels.h"

#include <string_view>

namespace contrail::model::kernels {

#define CONTRAIL_DECLARE(isa)         \
  namespace isa {                     \
  extern const Table<float> kFloat;   \
  extern const Table<double> kDouble; \
  extern const MixedTable kMixed;     \
  }
CONTRAIL_DECLARE(avx512)
CONTRAIL_DECLARE(avx2)
CONTRAIL_DECLARE(baseline)
CONTRAIL_DECLARE(avx512bf16)
#undef CONTRAIL_DECLARE

namespace {

bool Supports(std::string_view isa) {
  if (isa == "avx512bf16") return Supports("avx512") && __builtin_cpu_supports("avx512bf16");
  if (isa == "avx512") {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  }
  if (isa == "avx2") {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("f16c");
  }
  return isa == "baseline";
}

template <typename T>
const Table<T>* Pick(const Table<float>& f, const Table<double>& d) {
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
  if (!Supports(isa)) return nullptr;
  if (isa == "avx512") return Pick<T>(avx512::kFloat, avx512::kDouble);
  if (isa == "avx2") return Pick<T>(avx2::kFloat, avx2::kDouble);
  if (isa == "baseline") return Pick<T>(baseline::kFloat, baseline::kDouble);
  return nullptr;
}

const MixedTable* NamedMixed(const char* name) {
  const std::string_view isa = name;
  if (!Supports(isa)) return nullptr;
  for (const MixedTable* table :
       {&avx512bf16::kMixed, &avx512::kMixed, &avx2::kMixed, &baseline::kMixed}) {
    if (isa == table->name) return table;
  }
  return nullptr;
}

const MixedTable& BestMixed() {
  static const MixedTable& best = []() -> const MixedTable& {
    for (const char* name : {"avx512bf16", "avx512", "avx2"}) {
      if (const MixedTable* table = NamedMixed(name)) return *table;
    }
    return *NamedMixed("baseline");
  }();
  return best;
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
