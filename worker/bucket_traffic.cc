#include "worker/bucket_traffic.h"

#include <algorithm>

#include "worker/stopwatch.h"

namespace contrail::worker {

BucketTraffic::BucketTraffic(Comm& comm, FlatParams& flat, Options options)
    : comm_(comm),
      flat_(flat),
      options_(options),
      reduces_(flat.num_buckets()),
      gathers_(flat.num_buckets()) {
  for (int group = 0; group < flat.num_groups(); ++group) {
    for (const int bucket : flat.buckets_of_group(group)) {
      if (std::find(order_of_use_.begin(), order_of_use_.end(), bucket) == order_of_use_.end()) {
        order_of_use_.push_back(bucket);
      }
    }
  }
}

BucketTraffic::~BucketTraffic() {
  for (std::vector<Pending>* pending : {&reduces_, &gathers_}) {
    for (Pending& one : *pending) {
      try {
        one.Wait();
      } catch (const std::exception&) {
        // Whoever needs the result has been told, or nobody does.
      }
    }
  }
}

void BucketTraffic::StartReduce(int bucket) {
  Stopwatch watch;
  reduces_[bucket] =
      comm_.StartReduceScatterSum(flat_.own_grads(bucket), flat_.grads(bucket), options_.gradients);
  if (!options_.overlap) reduces_[bucket].Wait();
  reduce_seconds_ += watch.Lap();
}

void BucketTraffic::FinishReduces() {
  Stopwatch watch;
  for (Pending& reduce : reduces_) reduce.Wait();
  reduce_seconds_ += watch.Lap();
}

void BucketTraffic::StartGather(int bucket) {
  Stopwatch watch;
  gathers_[bucket] = comm_.StartAllGather(flat_.weights(bucket), flat_.own_working(bucket));
  if (!options_.overlap) gathers_[bucket].Wait();
  gather_seconds_ += watch.Lap();
}

void BucketTraffic::Need(int group) {
  Stopwatch watch;
  for (const int bucket : flat_.buckets_of_group(group)) gathers_[bucket].Wait();
  gather_seconds_ += watch.Lap();
}

void BucketTraffic::NeedAll() {
  Stopwatch watch;
  for (Pending& gather : gathers_) gather.Wait();
  gather_seconds_ += watch.Lap();
}

}  // namespace contrail::worker
