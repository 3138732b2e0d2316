#include "model/files/elements.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <cmath>
#include <cstring>

#include "common/error.h"

namespace contrail::model::files {
namespace {

template <typename T>
void Convert(const char* from, uint64_t count, float* out) {
  for (uint64_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, from + i * sizeof(T), sizeof(T));
    out[i] = static_cast<float>(value);
  }
}

template <typename T>
void Store(const float* from, uint64_t count, char* out) {
  for (uint64_t i = 0; i < count; ++i) {
    const T value = static_cast<T>(from[i]);
    std::memcpy(out + i * sizeof(T), &value, sizeof(T));
  }
}

}  // namespace

uint64_t ElementSize(ElementType type) {
  switch (type) {
    case ElementType::kFloat64:
    case ElementType::kInt64:
      return 8;
    case ElementType::kFloat32:
    case ElementType::kInt32:
      return 4;
    case ElementType::kFloat16:
    case ElementType::kBFloat16:
    case ElementType::kInt16:
      return 2;
    default:
      return 1;
  }
}

std::string ElementName(ElementType type) {
  switch (type) {
    case ElementType::kFloat64:
      return "fp64";
    case ElementType::kFloat32:
      return "fp32";
    case ElementType::kFloat16:
      return "fp16";
    case ElementType::kBFloat16:
      return "bf16";
    case ElementType::kInt64:
      return "int64";
    case ElementType::kInt32:
      return "int32";
    case ElementType::kInt16:
      return "int16";
    case ElementType::kInt8:
      return "int8";
    case ElementType::kUInt8:
      return "uint8";
    case ElementType::kBool:
      return "bool";
    case ElementType::kOther8:
      return "an 8-bit format";
  }
  BugAt(__FILE__, __LINE__, "a known element type");
}

bool IsFloat(ElementType type) {
  return type == ElementType::kFloat64 || type == ElementType::kFloat32 ||
         type == ElementType::kFloat16 || type == ElementType::kBFloat16;
}

void ToFloat32(ElementType type, const char* from, uint64_t count, float* out) {
  CONTRAIL_ASSERT(IsFloat(type));
  if (type == ElementType::kFloat64) return Convert<double>(from, count, out);
  if (type == ElementType::kFloat16) return Convert<c10::Half>(from, count, out);
  if (type == ElementType::kBFloat16) return Convert<c10::BFloat16>(from, count, out);
  std::memcpy(out, from, count * sizeof(float));
}

bool FromFloat32(ElementType type, const float* from, uint64_t count, char* out) {
  if (type == ElementType::kFloat32) {
    std::memcpy(out, from, count * sizeof(float));
    return true;
  }
  if (type == ElementType::kInt64) {
    Store<int64_t>(from, count, out);
    return true;
  }
  CONTRAIL_ASSERT(type == ElementType::kFloat16);
  constexpr float kRoundsToInfinity = 65520;  // half of the step above the largest fp16, 65504
  Store<c10::Half>(from, count, out);
  for (uint64_t i = 0; i < count; ++i) {
    if (std::isfinite(from[i]) && std::abs(from[i]) >= kRoundsToInfinity) return false;
  }
  return true;
}

uint64_t FirstNonFinite(const float* values, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) {
    if (!std::isfinite(values[i])) return i;
  }
  return count;
}

}  // namespace contrail::model::files
