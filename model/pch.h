#pragma once
// The one precompiled header of the torch targets. Our own headers include only
// ATen/core/Tensor.h (1.2 s instead of 11.5 s for torch/torch.h).
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>
