#pragma once
// Flat buckets on their way between ranks while the towers compute:
//
//   backward of a bucket's last block returns   its reduce-scatter starts
//   its own slice is updated                    its all-gather starts
//   a forward asks for a group                  waits for the bucket that brings it, if it must
//
// Without overlap every collective blocks where it would be started. The bits are the same.

#include <vector>

#include "worker/comm/comm.h"
#include "worker/flat.h"

namespace contrail::worker {

class BucketTraffic {
 public:
  struct Options {
    bool overlap = true;
    Wire gradients = Wire::kAsStored;
  };
  BucketTraffic(Comm& comm, FlatParams& flat, Options options);
  ~BucketTraffic();  // waits

  void StartReduce(int bucket);  // grads -> own_grads
  void FinishReduces();
  void StartGather(int bucket);  // own_working -> weights
  void Need(int group);          // before the group's weights are read
  void NeedAll();

  // Buckets in the order in which a forward needs them.
  const std::vector<int>& order_of_use() const { return order_of_use_; }

  // Seconds since the last call that the caller was kept by reduces, by gathers.
  double TakeReduceSeconds() { return std::exchange(reduce_seconds_, 0); }
  double TakeGatherSeconds() { return std::exchange(gather_seconds_, 0); }

 private:
  Comm& comm_;
  FlatParams& flat_;
  const Options options_;
  std::vector<int> order_of_use_;
  std::vector<Pending> reduces_, gathers_;  // of every bucket
  double reduce_seconds_ = 0;
  double gather_seconds_ = 0;
};

}  // namespace contrail::worker
