// One process: every collective is the identity, but numbered and observed like the others.

#include "common/error.h"
#include "worker/comm/comm.h"

namespace contrail::worker {
namespace {

class SingleComm final : public Comm {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  int local_rank() const override { return 0; }
  const std::vector<int>& node_of_rank() const override { return node_of_rank_; }
  Ledger& ledger() override { return ledger_; }

  void AllReduceSum(at::Tensor tensor) override { Note(Ledger::Operation::kAllReduce, tensor); }
  void ReduceScatterSum(at::Tensor out, const at::Tensor& in) override {
    Reduce(std::move(out), in, Wire::kAsStored);
  }
  void AllGather(at::Tensor out, const at::Tensor& in) override {
    CONTRAIL_ASSERT(out.numel() == in.numel() && out.scalar_type() == in.scalar_type());
    if (out.data_ptr() != in.data_ptr()) out.view(-1).copy_(in.reshape(-1));
    Note(Ledger::Operation::kAllGather, out);
  }
  void Broadcast(at::Tensor tensor, int root) override {
    CONTRAIL_ASSERT(root == 0);
    Note(Ledger::Operation::kBroadcast, tensor);
  }
  void Barrier() override { Note(Ledger::Operation::kBarrier, {}); }

  Pending StartAllReduceSum(at::Tensor tensor) override {
    AllReduceSum(std::move(tensor));
    return {};
  }
  Pending StartReduceScatterSum(at::Tensor out, const at::Tensor& in, Wire wire) override {
    Reduce(std::move(out), in, wire);
    return {};
  }
  Pending StartAllGather(at::Tensor out, const at::Tensor& in) override {
    AllGather(std::move(out), in);
    return {};
  }

 private:
  void Reduce(at::Tensor out, const at::Tensor& in, Wire wire) {
    CONTRAIL_ASSERT(out.numel() == in.numel() && out.scalar_type() == in.scalar_type());
    if (out.data_ptr() != in.data_ptr()) out.view(-1).copy_(in.reshape(-1));
    if (wire == Wire::kBFloat16) out.copy_(out.to(at::kBFloat16));
    Note(Ledger::Operation::kReduceScatter, in);
  }
  void Note(Ledger::Operation operation, const at::Tensor& tensor) {
    const auto bytes = tensor.defined() ? static_cast<int64_t>(tensor.nbytes()) : 0;
    ledger_.Leave(ledger_.Enter(operation, bytes), 0, 0);
  }

  std::vector<int> node_of_rank_ = {0};
  Ledger ledger_;
};

}  // namespace

std::unique_ptr<Comm> MakeSingleComm() { return std::make_unique<SingleComm>(); }

}  // namespace contrail::worker
