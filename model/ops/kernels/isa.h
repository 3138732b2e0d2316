// The table of one instruction set; see simd.h for who includes this.

#include "model/ops/kernels/simd.h"
//
#include "model/ops/kernels/gemm.h"
//
#include "model/ops/kernels/rows.h"
//
#include "model/ops/kernels/formats.h"
//
#include "model/ops/kernels/mixed_gemm.h"
//
#include "model/ops/kernels/attention.h"
//
#include "model/ops/kernels/conv.h"
//
#include "model/ops/kernels/norm.h"

namespace contrail::model::kernels::CONTRAIL_ISA {

extern const MixedTable kMixed;
constinit const MixedTable kMixed = {CONTRAIL_ISA_NAME, kLanes<float>, CONTRAIL_NATIVE_BF16,
                                     MixedProduct,      WidenRow,      NarrowRow};

#if !CONTRAIL_NATIVE_BF16  // which adds nothing to the tables of the set below it

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
          Add<T>,
          ActivateRow<T>};
}

extern const Table<float> kFloat;
extern const Table<double> kDouble;
constinit const Table<float> kFloat = MakeTable<float>(CONTRAIL_ISA_NAME);
constinit const Table<double> kDouble = MakeTable<double>(CONTRAIL_ISA_NAME);

#endif

}  // namespace contrail::model::kernels::CONTRAIL_ISA
