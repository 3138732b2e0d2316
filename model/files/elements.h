#pragma once
// Number formats of weight files, and their way to fp32 and back.

#include <cstdint>
#include <string>

namespace contrail::model::files {

enum class ElementType {
  kFloat64,
  kFloat32,
  kFloat16,
  kBFloat16,
  kInt64,
  kInt32,
  kInt16,
  kInt8,
  kUInt8,
  kBool,
  kOther8,  // one byte each, of no meaning here (8-bit floats)
};

uint64_t ElementSize(ElementType type);
std::string ElementName(ElementType type);  // "fp16"
bool IsFloat(ElementType type);

// `count` little-endian elements at `from` (any alignment) to fp32; fp64 is rounded. Float types
// only.
void ToFloat32(ElementType type, const char* from, uint64_t count, float* out);

// fp32 to `type` (fp32, fp16: rounded to nearest even; int64: whole numbers). A finite value that
// becomes infinite makes the result false.
bool FromFloat32(ElementType type, const float* from, uint64_t count, char* out);

// Index of the first NaN or infinity, or `count`.
uint64_t FirstNonFinite(const float* values, uint64_t count);

}  // namespace contrail::model::files
