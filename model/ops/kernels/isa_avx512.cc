// 32 registers of 16 floats: 6 x 4 of them for a product's tile.
#define CONTRAIL_ISA avx512
#define CONTRAIL_ISA_NAME "avx512"
#define CONTRAIL_VECTOR_BYTES 64
#define CONTRAIL_GEMM_ROWS 6
#define CONTRAIL_GEMM_VECS 4
#define CONTRAIL_F16C 1
#define CONTRAIL_NATIVE_BF16 0
#include "model/ops/kernels/isa.h"
