#pragma once
// Steps that cannot be used: their loss or gradient norm is NaN or infinite. All ranks skip such a
// step together, so that no weight, moment or running statistic changes; it is recorded with the
// samples and the rank it came from. Several in a row end the attempt: under `contrail train` the
// run then goes on from the last committed step, and the second time at the same samples it stops.

#include <cstdint>
#include <functional>
#include <memory>

#include "data/dataset.h"
#include "data/order.h"
#include "monitoring/run_dir.h"
#include "worker/comm/comm.h"
#include "worker/step.h"

namespace contrail::worker {

class BadSteps {
 public:
  struct Options {
    monitor::RunDir run;
    int attempt = 1;
    int limit = 3;  // in a row
    uint64_t seed = 0;
    uint64_t shuffle_window = 1;
    data::OrderKind order = data::OrderKind::kInterleaved;
    uint64_t global_batch_size = 1;
    // The key of what took a place in this step, "" where its own sample is there.
    std::function<std::string(data::Place)> replaced = {};
    uint64_t skipped = 0;  // by earlier attempts, as the checkpoint says
  };
  BadSteps(Comm& comm, std::shared_ptr<const data::Dataset> dataset, Options options);

  void Good() { in_a_row_ = 0; }
  // Collective, with equal arguments on every rank. `done` steps were done before this one; `what`
  // is "loss" or "gradient norm". Throws AgreedError E-NONFINITE at the limit.
  void Bad(uint64_t done, const char* what, double value, const TrainStep& step);

  // A step skipped because fp16's loss scale was too large: counted, but nobody's fault.
  void Overflowed() { ++skipped_; }

  int in_a_row() const { return in_a_row_; }
  uint64_t skipped() const { return skipped_; }  // in the whole run

 private:
  std::string Key(const data::BatchPosition& position, int64_t row) const;

  Comm& comm_;
  std::shared_ptr<const data::Dataset> dataset_;
  Options options_;
  data::SampleOrder order_;
  int in_a_row_ = 0;
  uint64_t skipped_;
};

}  // namespace contrail::worker
