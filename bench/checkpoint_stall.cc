// How long beginning a save holds up training, beside a bare copy of the same bytes.
//
//   checkpoint_stall [--model ViT-B/32] [--pairs 9]
//
// The stall is the snapshot (worker/trainer.cc): memory from the pool, own weights and moments
// copied into it. The peer is one memcpy from memory to memory, both touched before, on one thread.

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "checkpoint/snapshot.h"
#include "common/clock.h"
#include "model/clip.h"
#include "model/registry.h"
#include "worker/flat.h"

namespace contrail::bench {
namespace {

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double Stall(ckpt::SnapshotPool& pool, const worker::FlatParams& flat) {
  const double start = SystemClock().Monotonic();
  const auto snapshot = pool.Take();
  for (int kind = 0; kind < ckpt::kNumKinds; ++kind)
    flat.ExportOwn(kind, snapshot->data[kind].data());
  return SystemClock().Monotonic() - start;
}

double Copy(const ckpt::Pages& from, ckpt::Pages& to) {
  const double start = SystemClock().Monotonic();
  for (int kind = 0; kind < ckpt::kNumKinds; ++kind)
    std::memcpy(to.data(), from.data(), from.size() * sizeof(float));
  return SystemClock().Monotonic() - start;
}

int Run(const std::string& name, int pairs, int threads) {
  const c10::InferenceMode no_autograd;
  at::set_num_threads(threads);
  const auto model = model::ClipModel::Create(model::FindModel(name));
  const worker::FlatParams flat(model->params(), 0, 1);
  ckpt::SnapshotPool pool(flat.RangesOf(0));
  const auto elements = static_cast<size_t>(flat.own_elements());
  ckpt::Pages from(elements, 1), to(elements, 2);
  std::vector<double> stalls, copies, ratios;
  Stall(pool, flat);  // once to warm up
  for (int pair = 0; pair < pairs; ++pair) {
    double copy = 0;
    if (pair % 2 == 0) copy = Copy(from, to);
    const double stall = Stall(pool, flat);
    if (pair % 2 == 1) copy = Copy(from, to);
    stalls.push_back(stall);
    copies.push_back(copy);
    ratios.push_back(stall / copy);
  }
  std::printf(
      "%s, 1 rank, %.0f MB, %d thread%s: stall %.3f s, memcpy %.3f s, ratio %.2f "
      "(median of %d pairs, %.2f to %.2f)\n",
      name.c_str(), static_cast<double>(12 * elements) / 1e6, threads, threads == 1 ? "" : "s",
      Median(stalls), Median(copies), Median(ratios), pairs,
      *std::min_element(ratios.begin(), ratios.end()),
      *std::max_element(ratios.begin(), ratios.end()));
  return 0;
}

}  // namespace
}  // namespace contrail::bench

int main(int argc, char** argv) {
  std::string model = "ViT-B/32";
  int pairs = 9;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::string(argv[i]) == "--model") model = argv[i + 1];
    if (std::string(argv[i]) == "--pairs") pairs = std::atoi(argv[i + 1]);
  }
  for (const int threads : {1, at::get_num_threads()}) contrail::bench::Run(model, pairs, threads);
  return 0;
}
