// Any x86-64: 16 registers of 4 floats.
#define CONTRAIL_ISA baseline
#define CONTRAIL_ISA_NAME "baseline"
#define CONTRAIL_VECTOR_BYTES 16
#define CONTRAIL_GEMM_ROWS 6
#define CONTRAIL_GEMM_VECS 2
#define CONTRAIL_F16C 0
#define CONTRAIL_NATIVE_BF16 0
#include "model/ops/kernels/isa.h"
