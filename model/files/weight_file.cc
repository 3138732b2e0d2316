#include "model/files/weight_file.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <set>

namespace contrail::model::files {
namespace {

constexpr uint64_t kChunk = 4 << 20;  // a multiple of every element's size
constexpr int64_t kMostElements = int64_t{1} << 40;

// One past the last element that the tensor touches, counted from its first; nothing where that
// cannot be.
std::optional<uint64_t> Span(const StoredTensor& tensor) {
  if (tensor.strides.size() != tensor.shape.size()) return std::nullopt;
  const auto count = CountElements(tensor.shape);
  if (!count) return std::nullopt;
  if (*count == 0) return 0;
  int64_t last = 0;
  for (size_t i = 0; i < tensor.shape.size(); ++i) {
    int64_t reach = 0;
    if (tensor.strides[i] < 0 ||
        __builtin_mul_overflow(tensor.shape[i] - 1, tensor.strides[i], &reach) ||
        __builtin_add_overflow(last, reach, &last) || last > kMostElements) {
      return std::nullopt;
    }
  }
  return static_cast<uint64_t>(last) + 1;
}

}  // namespace

std::string ShapeText(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

std::optional<uint64_t> CountElements(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t size : shape) {
    if (size < 0 || __builtin_mul_overflow(count, size, &count) || count > kMostElements) {
      return std::nullopt;
    }
  }
  return static_cast<uint64_t>(count);
}

std::vector<int64_t> RowMajorStrides(const std::vector<int64_t>& shape) {
  std::vector<int64_t> strides(shape.size());
  int64_t step = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    strides[i] = step;
    step *= std::max<int64_t>(shape[i], 1);
  }
  return strides;
}

void WeightFile::Check() const {
  for (const Storage& storage : storages) {
    CONTRAIL_ASSERT(storage.file < files.size());
    if (!files[storage.file].Holds(storage.offset, storage.bytes)) {
      throw Damaged(files[storage.file].path(),
                    "ends before '" + storage.name + "' does: it is cut short");
    }
  }
  std::set<std::string> names;
  for (const StoredTensor& tensor : tensors) {
    if (!names.insert(tensor.name).second) {
      throw Damaged(path, "holds two tensors named '" + tensor.name + "'");
    }
    CONTRAIL_ASSERT(tensor.storage < storages.size());
    const Storage& storage = storages[tensor.storage];
    const auto span = Span(tensor);
    const uint64_t room = storage.bytes / ElementSize(tensor.type);
    if (!span || tensor.first > room || *span > room - tensor.first) {
      throw Damaged(path, "'" + tensor.name + "' " + ShapeText(tensor.shape) +
                              " does not fit the bytes that are given for it");
    }
  }
}

void WeightFile::Read(const StoredTensor& tensor, float* out) {
  if (!IsFloat(tensor.type)) {
    throw UserError("E-WEIGHTS-TYPE", path,
                    "'" + tensor.name + "' holds " + ElementName(tensor.type) + " numbers",
                    "store weights as fp32, fp16, bf16 or fp64");
  }
  verified_.resize(storages.size());
  const auto count = CountElements(tensor.shape);
  CONTRAIL_ASSERT(count.has_value());
  if (tensor.strides == RowMajorStrides(tensor.shape)) return ReadDense(tensor, *count, out);
  ReadStrided(tensor, *count, out);
}

// Hands bytes [begin, end) of the storage to take(first byte, bytes, count), in order. The first
// time it reads all of the storage, for the checksum's sake.
template <typename Take>
void WeightFile::Stream(size_t index, uint64_t begin, uint64_t end, const Take& take) {
  const Storage& storage = storages[index];
  const bool check = storage.crc32.has_value() && !verified_[index];
  const uint64_t from = check ? 0 : begin;
  const uint64_t to = check ? storage.bytes : end;
  uLong crc = crc32(0, nullptr, 0);
  std::string chunk;
  for (uint64_t at = from; at < to; at += kChunk) {
    const uint64_t size = std::min(kChunk, to - at);
    chunk.resize(size);
    files[storage.file].Read(storage.offset + at, size, chunk.data(), storage.name);
    if (check) {
      crc = crc32(crc, reinterpret_cast<const Bytef*>(chunk.data()), static_cast<uInt>(size));
    }
    const uint64_t first = std::max(at, begin);
    const uint64_t last = std::min(at + size, end);
    if (first < last) take(first - begin, chunk.data() + (first - at), last - first);
  }
  if (check && crc != *storage.crc32) {
    throw Damaged(files[storage.file].path(),
                  "the checksum of '" + storage.name + "' differs: its bytes are damaged");
  }
  verified_[index] = true;
}

void WeightFile::ReadDense(const StoredTensor& tensor, uint64_t count, float* out) {
  const uint64_t size = ElementSize(tensor.type);
  const uint64_t begin = tensor.first * size;
  Stream(tensor.storage, begin, begin + count * size,
         [&](uint64_t at, const char* bytes, uint64_t n) {
           ToFloat32(tensor.type, bytes, n / size, out + at / size);
         });
}

void WeightFile::ReadStrided(const StoredTensor& tensor, uint64_t count, float* out) {
  const uint64_t size = ElementSize(tensor.type);
  const uint64_t begin = tensor.first * size;
  std::vector<float> span(*Span(tensor));
  Stream(tensor.storage, begin, begin + span.size() * size,
         [&](uint64_t at, const char* bytes, uint64_t n) {
           ToFloat32(tensor.type, bytes, n / size, span.data() + at / size);
         });
  std::vector<int64_t> index(tensor.shape.size(), 0);
  int64_t at = 0;
  for (uint64_t i = 0; i < count; ++i) {
    out[i] = span[static_cast<size_t>(at)];
    for (size_t d = index.size(); d-- > 0;) {  // count up the index, last dimension first
      at += tensor.strides[d];
      if (++index[d] < tensor.shape[d]) break;
      at -= tensor.strides[d] * index[d];
      index[d] = 0;
    }
  }
}

}  // namespace contrail::model::files
