// AVX-512 with dot products of bf16 pairs: for 16-bit products alone.
#define CONTRAIL_ISA avx512bf16
#define CONTRAIL_ISA_NAME "avx512bf16"
#define CONTRAIL_VECTOR_BYTES 64
#define CONTRAIL_GEMM_ROWS 6
#define CONTRAIL_GEMM_VECS 4
#define CONTRAIL_F16C 1
#define CONTRAIL_NATIVE_BF16 1
#include "model/ops/kernels/isa.h"
