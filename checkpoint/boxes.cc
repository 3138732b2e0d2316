#include "checkpoint/index.h"

namespace contrail::ckpt {
namespace {

// Dimensions before `dim` are fixed by `prefix`; [begin, end) is flat inside the rest.
void Split(const std::vector<int64_t>& shape, const std::vector<uint64_t>& strides, size_t dim,
           std::vector<uint64_t> prefix, uint64_t begin, uint64_t end, std::vector<Box>* boxes) {
  if (begin >= end) return;
  const uint64_t stride = strides[dim];
  // Descend while the range lies inside one index of this dimension.
  const uint64_t first = begin / stride;
  const uint64_t last = (end - 1) / stride;
  if (first == last && stride > 1) {
    prefix.push_back(first);
    Split(shape, strides, dim + 1, prefix, begin - first * stride, end - first * stride, boxes);
    return;
  }
  uint64_t whole_begin = first, whole_end = last + 1;
  const bool ragged_head = begin % stride != 0;
  const bool ragged_tail = end % stride != 0;
  if (ragged_head) {
    std::vector<uint64_t> inner = prefix;
    inner.push_back(first);
    Split(shape, strides, dim + 1, inner, begin - first * stride, stride, boxes);
    ++whole_begin;
  }
  if (ragged_tail) --whole_end;
  if (whole_begin < whole_end) {
    Box box;
    for (const uint64_t index : prefix) {
      box.start.push_back(index);
      box.count.push_back(1);
    }
    box.start.push_back(whole_begin);
    box.count.push_back(whole_end - whole_begin);
    for (size_t d = dim + 1; d < shape.size(); ++d) {
      box.start.push_back(0);
      box.count.push_back(static_cast<uint64_t>(shape[d]));
    }
    boxes->push_back(std::move(box));
  }
  if (ragged_tail) {
    prefix.push_back(last);
    Split(shape, strides, dim + 1, prefix, 0, end - last * stride, boxes);
  }
}

}  // namespace

std::vector<Box> BoxesOf(const std::vector<int64_t>& shape, uint64_t begin, uint64_t end) {
  std::vector<Box> boxes;
  if (begin >= end) return boxes;
  if (shape.empty()) {
    boxes.emplace_back();
    return boxes;
  }
  std::vector<uint64_t> strides(shape.size(), 1);
  for (size_t d = shape.size() - 1; d > 0; --d)
    strides[d - 1] = strides[d] * static_cast<uint64_t>(shape[d]);
  Split(shape, strides, 0, {}, begin, end, &boxes);
  return boxes;
}

}  // namespace contrail::ckpt
