// The table of one instruction set; see simd.h for who includes this.

#include "model/ops/kernels/simd.h"
//
#include "model/ops/kernels/gemm.h"
//
#include "model/ops/kernels/rows.h"
//
#include "model/ops/kernels/attention.h"
//
#include "model/ops/kernels/conv.h"
//
#include "model/ops/kernels/norm.h"

namespace contrail::model::kernels::CONTRAIL_ISA {

// Constant: nothing of an instruction set may run before the processor has been asked for it.
template <typename T>
constexpr Table<T> MakeTable(const char* name) {
  return {name,
          kLanes<T>,
          RunGemm<T>,
          Attention<T>,
          AttentionBackward<T>,
          LayerNorm<T>,
          LayerNormBackward<T>,
          LayerNormGains<T>,
          ColumnSums<T>,
          Normalize<T>,
          NormalizeBackward<T>,
          Add<T>};
}

extern const Table<float> kFloat;
extern const Table<double> kDouble;
constinit const Table<float> kFloat = MakeTable<float>(CONTRAIL_ISA_NAME);
constinit const Table<double> kDouble = MakeTable<double>(CONTRAIL_ISA_NAME);

}  // namespace contrail::model::kernels::CONTRAIL_ISA
