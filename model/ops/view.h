#pragma once
// A matrix in somebody else's memory: what ops read and write. Copying one costs nothing, so an op
// call costs nothing but its work (an at::Tensor view costs about a microsecond).
//
// Rows may be apart (`stride` elements), columns are contiguous. The memory is wherever the op
// table computes: host memory for CpuOps().

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace contrail::model {

struct View {
  void* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;  // elements from one row to the next
  at::ScalarType type = at::kFloat;

  explicit operator bool() const { return data != nullptr; }

  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }

  View Rows(int64_t first, int64_t count) const {
    View view = *this;
    view.data = Address(first * stride);
    view.rows = count;
    return view;
  }
  View Cols(int64_t first, int64_t count) const {
    View view = *this;
    view.data = Address(first);
    view.cols = count;
    return view;
  }
  // The same memory with as many numbers of a type that is no wider.
  View As(at::ScalarType narrower) const {
    View view = *this;
    view.type = narrower;
    return view;
  }

 private:
  void* Address(int64_t element) const {
    return data == nullptr
               ? nullptr
               : static_cast<char*>(data) + element * static_cast<int64_t>(c10::elementSize(type));
  }
};

// A contiguous tensor as a matrix: the first dimension by the product of the others; one row where
// it has one dimension or none. An undefined tensor gives an empty view.
View AsView(const at::Tensor& tensor);

}  // namespace contrail::model
