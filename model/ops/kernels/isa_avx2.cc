// 16 registers of 8 floats with fused multiply-add and fp16 conversion: 6 x 2 for a product's tile.
#define CONTRAIL_ISA avx2
#define CONTRAIL_ISA_NAME "avx2"
#define CONTRAIL_VECTOR_BYTES 32
#define CONTRAIL_GEMM_ROWS 6
#define CONTRAIL_GEMM_VECS 2
#define CONTRAIL_F16C 1
#define CONTRAIL_NATIVE_BF16 0
#include "model/ops/kernels/isa.h"
