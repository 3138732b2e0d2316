#pragma once
// A scratch run directory, removed at the end, and made-up records.

#include <stdlib.h>

#include <cmath>
#include <fstream>
#include <sstream>
#include <string>

#include "common/file_system.h"
#include "monitoring/recorder.h"
#include "monitoring/run_dir.h"

namespace contrail::monitor {

class ScratchRun {
 public:
  ScratchRun() {
    char name[] = "/tmp/contrail_monitoring_XXXXXX";
    run_.root = mkdtemp(name);
  }
  ~ScratchRun() { PosixFileSystem().RemoveTree(run_.root); }
  ScratchRun(const ScratchRun&) = delete;
  const RunDir& run() const { return run_; }

 private:
  RunDir run_;
};

// Doubles that do not survive a trip through float, times that differ by rank.
inline StepRecord MakeStep(uint64_t step, int ranks = 4, double loss_offset = 0) {
  const auto x = static_cast<double>(step);
  StepRecord record;
  record.step = step;
  record.epoch = step / 100;
  record.samples_seen = step * 256;
  record.wall_time = 1.76e9 + 0.5 * x + 1e-6;
  record.loss = 5.0 / std::sqrt(x + 1) + 0.1 + loss_offset;
  record.lr = 5e-4 * std::min(1.0, x / 50);
  record.logit_scale = 14.285714285714286 + x / 97;
  record.grad_norm = 1.0 / (1 + x / 7);
  record.accuracy_image_to_text = 1 - std::exp(-x / 300);
  record.samples_per_second = 512.25;
  record.world_size = ranks;
  for (int r = 0; r < ranks; ++r) {
    StepTimes times;
    const auto late = static_cast<float>(r == 2 ? 0.040 : 0.001 * r);
    times.data_wait = 0.002f;
    times.forward = 0.150f + late;
    times.feature_gather = 0.045f - late;
    times.loss = 0.004f;
    times.backward = 0.280f;
    times.grad_reduce = 0.010f;
    times.optimizer = 0.006f;
    times.weight_gather = 0.003f;
    times.total = 0.500f;
    record.ranks.push_back(times);
  }
  return record;
}

inline std::string ReadFile(const std::string& path) { return PosixFileSystem().ReadAll(path); }

inline void WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

// Runs a shell command; its standard output, and its exit status through `status`.
inline std::string Capture(const std::string& command, int* status = nullptr) {
  FILE* pipe = popen(command.c_str(), "r");
  std::string out;
  char buffer[4096];
  size_t n;
  while ((n = fread(buffer, 1, sizeof buffer, pipe)) > 0) out.append(buffer, n);
  const int result = pclose(pipe);
  if (status != nullptr) *status = result;
  return out;
}

}  // namespace contrail::monitor
