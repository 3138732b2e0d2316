#include "model/ops/view.h"

#include "common/error.h"

namespace contrail::model {

View AsView(const at::Tensor& tensor) {
  if (!tensor.defined()) return {};
  CONTRAIL_ASSERT(tensor.is_contiguous());
  View view;
  view.data = const_cast<void*>(tensor.const_data_ptr());
  view.rows = tensor.dim() >= 2 ? tensor.size(0) : 1;
  view.cols = view.rows == 0 ? 0 : tensor.numel() / view.rows;
  view.stride = view.cols;
  view.type = tensor.scalar_type();
  return view;
}

}  // namespace contrail::model
