// Single ops beside ATen's on one thread, in turns within one process: the least processor time of
// several rounds.
//   ops [avx512bf16|avx512|avx2|baseline]
// Products of 16-bit numbers stand beside our own of fp32.

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <cstdio>
#include <ctime>

#include "model/ops/cpu_ops.h"

namespace contrail::bench {
namespace {

using model::AsView;
using model::View;
using Run = std::function<void()>;

double Seconds(const Run& run) {
  const auto now = [] {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  const double start = now();
  run();
  return now() - start;
}

// One line: both times, and the rate of ours where the work is counted in operations.
void Compare(const std::string& what, double operations, const Run& ours, const Run& aten,
             const char* other = "ATen") {
  double best = 1e9, best_aten = 1e9;
  for (int round = 0; round < 15; ++round) {
    best = std::min(best, Seconds(ours));
    best_aten = std::min(best_aten, Seconds(aten));
  }
  std::printf("%-44s %9.3f ms %6.0f GFLOP/s   %s %9.3f ms   %5.2fx\n", what.c_str(), best * 1e3,
              operations / best / 1e9, other, best_aten * 1e3, best_aten / best);
}

std::string Name(const char* format, int64_t a, int64_t b, int64_t c) {
  char text[64];
  std::snprintf(text, sizeof text, format, static_cast<long>(a), static_cast<long>(b),
                static_cast<long>(c));
  return text;
}

void Linear(const model::OpTable& ops, int64_t m, int64_t k, int64_t n) {
  at::Tensor x = at::randn({m, k}), w = at::randn({n, k}), bias = at::randn({n});
  at::Tensor out = at::randn({m, n}), d_x = at::empty({m, k}), d_w = at::zeros({n, k});
  const double flop = 2.0 * static_cast<double>(m * k * n);
  Compare(
      Name("linear %ld x %ld -> %ld", m, k, n), flop,
      [&] { ops.Linear(AsView(x), AsView(w), AsView(bias), {}, AsView(out)); },
      [&] { at::addmm_out(out, bias, x, w.t()); });
  Compare(
      "  input gradient", flop,
      [&] { ops.LinearBackwardInput(AsView(out), AsView(w), AsView(d_x)); },
      [&] { at::mm_out(d_x, out, w); });
  Compare(
      "  weight gradient, accumulated", flop,
      [&] { ops.LinearBackwardWeight(AsView(x), AsView(out), AsView(d_w), {}); },
      [&] { at::addmm_out(d_w, d_w, out.t(), x); });
}

// A block's products as the towers run them: the stream's gradient is fp32.
void Linear16(const model::OpTable& ops, at::ScalarType type, int64_t m, int64_t k, int64_t n) {
  at::Tensor x = at::randn({m, k}), w = at::randn({n, k}), bias = at::randn({n});
  at::Tensor out = at::randn({m, n}), d_x = at::empty({m, k}), d_w = at::zeros({n, k});
  const at::Tensor x16 = x.to(type), w16 = w.to(type), d_x16 = d_x.to(type);
  const double flop = 2.0 * static_cast<double>(m * k * n);
  const std::string name = type == at::kHalf ? "fp16" : "bf16";
  Compare(
      Name((name + " linear %ld x %ld -> %ld").c_str(), m, k, n), flop,
      [&] { ops.Linear(AsView(x16), AsView(w16), AsView(bias), AsView(out), AsView(out)); },
      [&] { ops.Linear(AsView(x), AsView(w), AsView(bias), AsView(out), AsView(out)); }, "fp32");
  Compare(
      "  input gradient", flop,
      [&] { ops.LinearBackwardInput(AsView(out), AsView(w16), AsView(d_x16)); },
      [&] { ops.LinearBackwardInput(AsView(out), AsView(w), AsView(d_x)); }, "fp32");
  Compare(
      "  weight gradient, accumulated", flop,
      [&] { ops.LinearBackwardWeight(AsView(x16), AsView(out), AsView(d_w), {}); },
      [&] { ops.LinearBackwardWeight(AsView(x), AsView(out), AsView(d_w), {}); }, "fp32");
}

void Attention(const model::OpTable& ops, int64_t b, int64_t length, int64_t heads, bool causal) {
  const int64_t d = 64, w = heads * d, rows = b * length;
  at::Tensor qkv = at::randn({rows, 3 * w}), d_qkv = at::empty({rows, 3 * w});
  at::Tensor out = at::empty({rows, w}), lse = at::empty({rows, heads}),
             d_out = at::randn({rows, w});
  const View all = AsView(qkv), d_all = AsView(d_qkv);
  const model::AttentionShape shape{{b, nullptr, length, length}, heads, causal, false};
  const at::Tensor split = qkv.view({b, length, 3, heads, d}).permute({2, 0, 3, 1, 4});
  const at::Tensor q = split[0], k = split[1], v = split[2];
  const at::Tensor d_heads = d_out.view({b, length, heads, d}).transpose(1, 2);
  at::Tensor result, result_lse;
  const double flop =
      4.0 * static_cast<double>(b * heads * length * length * d) * (causal ? 0.5 : 1);
  const std::string kind = causal ? "causal attention" : "attention";
  Compare(
      Name((kind + " %ld tokens, %ld heads, batch %ld").c_str(), length, heads, b), flop,
      [&] {
        ops.Attention(shape, all.Cols(0, w), all.Cols(w, w), all.Cols(2 * w, w), AsView(out),
                      AsView(lse));
      },
      [&] {
        std::tie(result, result_lse) =
            at::_scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal);
      });
  Compare(
      "  gradient", 2.5 * flop,
      [&] {
        ops.AttentionBackward(shape, all.Cols(0, w), all.Cols(w, w), all.Cols(2 * w, w),
                              AsView(out), AsView(lse), AsView(d_out), d_all.Cols(0, w),
                              d_all.Cols(w, w), d_all.Cols(2 * w, w));
      },
      [&] {
        at::_scaled_dot_product_flash_attention_for_cpu_backward(d_heads, q, k, v, result,
                                                                 result_lse, 0.0, causal);
      });
}

// With the product before it, as the towers use it.
void QuickGelu(const model::OpTable& ops, int64_t m, int64_t k, int64_t n) {
  const model::Activation f = model::Activation::kQuickGelu;
  at::Tensor x = at::randn({m, k}), w = at::randn({n, k}), bias = at::randn({n});
  at::Tensor pre = at::empty({m, n}), act = at::empty({m, n}), d_pre = at::empty({m, n});
  at::Tensor w2 = at::randn({k, n}), d_out = at::randn({m, k});
  const double flop = 2.0 * static_cast<double>(m * k * n);
  Compare(
      Name("linear + QuickGELU %ld x %ld -> %ld", m, k, n), flop,
      [&] {
        ops.LinearActivation(AsView(x), AsView(w), AsView(bias), f, AsView(pre), AsView(act));
      },
      [&] {
        at::addmm_out(pre, bias, x, w.t());
        act = pre * at::sigmoid(pre * 1.702);
      });
  Compare(
      "  gradient of its input", flop,
      [&] {
        ops.LinearActivationBackwardInput(AsView(d_out), AsView(w2), f, AsView(pre), AsView(d_pre));
      },
      [&] {
        at::mm_out(d_pre, d_out, w2);
        const at::Tensor s = at::sigmoid(pre * 1.702);
        d_pre = d_pre * s + at::sigmoid_backward(d_pre * pre, s) * 1.702;
      });
}

// Norm, ReLU and convolution and the next norm's statistics, as ResNets use it, forward and
// backward; ATen's on channels-last tensors.
void Convolution(const model::OpTable& ops, int64_t side, int64_t c, int64_t n, int64_t k) {
  const model::ImageShape shape{8, side, side};
  const int64_t rows = shape.rows();
  at::Tensor x = at::randn({rows, c}), w = at::randn({n, c, k, k}), d_w = at::zeros_like(w);
  at::Tensor out = at::empty({rows, n}), d_out = at::randn({rows, n}), d_x = at::empty({rows, c});
  at::Tensor gain = at::ones({std::max(c, n)}), zero = at::zeros({std::max(c, n)});
  at::Tensor state_in = at::ones({8, c}), state_out = at::ones({8, n});
  at::Tensor d_gain = at::zeros_like(gain), d_bias = at::zeros_like(zero);
  const auto norm = [&](const at::Tensor& of, const at::Tensor& state) {
    return model::BatchNorm{AsView(of),     shape,         1,
                            AsView(state),  AsView(gain),  AsView(zero),
                            AsView(d_gain), AsView(d_bias)};
  };
  const model::BatchNorm before = norm(x, state_in), after = norm(out, state_out);
  const model::Through through{&before, model::Through::Relu::kOwn};
  const auto images = [&](const at::Tensor& t) {
    return t.view({8, side, side, -1}).permute({0, 3, 1, 2});
  };
  const double flop = 2.0 * static_cast<double>(rows * c * n * k * k);
  char what[80];
  std::snprintf(what, sizeof what, "norm, ReLU, conv %ld x %ld, %ld^2 x %ld -> %ld",
                static_cast<long>(k), static_cast<long>(k), static_cast<long>(side),
                static_cast<long>(c), static_cast<long>(n));
  at::Tensor y, mean, rstd, result;
  const at::Tensor gain_c = gain.narrow(0, 0, c), zero_c = zero.narrow(0, 0, c);
  const auto convolution = [&](const std::array<bool, 3>& mask) {
    return at::convolution_backward(images(d_out), y, w, c10::nullopt, {1, 1}, {k / 2, k / 2},
                                    {1, 1}, false, {0, 0}, 1, mask);
  };
  Compare(
      what, flop,
      [&] {
        ops.Convolve({before.x, shape, &before}, AsView(w), 1, after.x, &after);
      },
      [&] {
        std::tie(y, mean, rstd) =
            at::native_batch_norm(images(x), gain_c, zero_c, {}, {}, true, 0.1, 1e-5);
        y = at::relu(y);
        result = at::convolution(y, w, {}, {1, 1}, {k / 2, k / 2}, {1, 1}, false, {0, 0}, 1);
      });
  Compare(
      "  input gradient through ReLU and norm", flop,
      [&] {
        ops.ConvolveBackwardInput(AsView(d_out), AsView(w), shape, false, AsView(d_x), &through);
        ops.BatchNormBackward(before, AsView(d_x), AsView(d_x));
      },
      [&] {
        const at::Tensor d =
            at::threshold_backward(std::get<0>(convolution({true, false, false})), y, 0);
        at::native_batch_norm_backward(d, images(x), gain_c, {}, {}, mean, rstd, true, 1e-5,
                                       {true, true, true});
      });
  Compare(
      "  weight gradient, accumulated", flop,
      [&] {
        ops.ConvolveBackwardWeight({before.x, shape, &before}, 1, AsView(d_out), AsView(d_w));
      },
      [&] {
        d_w += std::get<1>(convolution({false, true, false}));
      });
}

int Main(const char* isa) {
  const std::string wide = std::string(isa) == "avx512bf16" ? "avx512" : isa;
  const auto* f = model::kernels::Named<float>(wide.c_str());
  const auto* d = model::kernels::Named<double>(wide.c_str());
  const auto* mixed = model::kernels::NamedMixed(isa);
  if (f == nullptr || d == nullptr || mixed == nullptr) {
    std::fprintf(stderr, "this processor does not run '%s'\n", isa);
    return 2;
  }
  const c10::InferenceMode no_autograd;
  at::set_num_threads(1);
  const model::CpuOpTable ops(*f, *d, *mixed);
  std::printf("instruction set: %s; ATen: %s\n", isa, at::get_cpu_capability().c_str());
  Linear(ops, 1088, 128, 384);
  Linear(ops, 1088, 512, 128);
  Linear(ops, 800, 768, 3072);
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf}) {
    Linear16(ops, type, 1088, 128, 384);
    Linear16(ops, type, 800, 768, 3072);
    Linear16(ops, type, 800, 3072, 768);
  }
  QuickGelu(ops, 1088, 128, 512);
  QuickGelu(ops, 800, 768, 3072);
  Attention(ops, 64, 17, 2, false);
  Attention(ops, 64, 10, 2, true);
  Attention(ops, 16, 50, 12, false);
  Attention(ops, 4, 197, 12, false);
  Attention(ops, 4, 257, 16, false);
  Attention(ops, 16, 77, 8, true);
  Convolution(ops, 112, 32, 64, 3);
  Convolution(ops, 56, 64, 64, 3);
  Convolution(ops, 28, 128, 128, 3);
  Convolution(ops, 14, 256, 256, 3);
  Convolution(ops, 7, 512, 512, 3);
  Convolution(ops, 56, 64, 256, 1);
  Convolution(ops, 14, 256, 1024, 1);
  Convolution(ops, 7, 2048, 512, 1);
  return 0;
}

}  // namespace
}  // namespace contrail::bench

int main(int argc, char** argv) {
  const char* best = contrail::model::kernels::BestMixed().name;
  return contrail::bench::Main(argc > 1 ? argv[1] : best);
}
