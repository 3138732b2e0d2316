#include "worker/comm/device_comm.h"

#include <ATen/ops/empty_like.h>

#include "worker/comm/device_watch.h"

namespace contrail::worker {
namespace {

using Operation = Ledger::Operation;
using WorkPtr = c10::intrusive_ptr<c10d::Work>;

std::string Line(const std::exception& error) {  // without c10's stack trace
  const std::string text = error.what();
  return text.substr(0, text.find('\n'));
}

class DeviceWork final : public Pending::Work {
 public:
  DeviceWork(WorkPtr work, std::string where, std::function<void()> finish)
      : work_(std::move(work)), where_(std::move(where)), finish_(std::move(finish)) {}

  void Wait() override {
    try {
      work_->wait();
      if (finish_) finish_();
    } catch (const std::exception& error) {
      throw EnvironmentError("E-DEVICE-COLLECTIVE", where_, Line(error),
                             "another rank has died or its network is gone: its own message, "
                             "earlier in the log, says more");
    }
  }
  bool done() override { return work_->isCompleted(); }

 private:
  WorkPtr work_;
  std::string where_;
  std::function<void()> finish_;  // on the device, after the work
};

class DeviceComm final : public Comm {
 public:
  DeviceComm(std::unique_ptr<Comm> control, c10::intrusive_ptr<c10d::Backend> backend,
             at::DeviceType device)
      : control_(std::move(control)),
        backend_(std::move(backend)),
        device_(device),
        watch_(control_->ledger()) {
    CONTRAIL_ASSERT(backend_->getRank() == control_->rank() &&
                    backend_->getSize() == control_->size());
  }

  int rank() const override { return control_->rank(); }
  int size() const override { return control_->size(); }
  int local_rank() const override { return control_->local_rank(); }
  const std::vector<int>& node_of_rank() const override { return control_->node_of_rank(); }
  void SetTimeout(double seconds) override { control_->SetTimeout(seconds); }
  Ledger& ledger() override { return control_->ledger(); }

  void AllReduceSum(at::Tensor tensor) override {
    if (!OnDevice(tensor)) return control_->AllReduceSum(std::move(tensor));
    StartAllReduceSum(std::move(tensor)).Wait();
  }
  void ReduceScatterSum(at::Tensor out, const at::Tensor& in) override {
    if (!OnDevice(in)) return control_->ReduceScatterSum(std::move(out), in);
    StartReduceScatterSum(std::move(out), in, Wire::kAsStored).Wait();
  }
  void AllGather(at::Tensor out, const at::Tensor& in) override {
    if (!OnDevice(in)) return control_->AllGather(std::move(out), in);
    StartAllGather(std::move(out), in).Wait();
  }
  void Broadcast(at::Tensor tensor, int root) override {
    if (!OnDevice(tensor)) return control_->Broadcast(std::move(tensor), root);
    std::vector<at::Tensor> tensors = {tensor};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    Start(Operation::kBroadcast, tensor, [&] {
      return backend_->broadcast(tensors, options);
    }).Wait();
  }
  void Barrier() override { control_->Barrier(); }

  Pending StartAllReduceSum(at::Tensor tensor) override {
    if (!OnDevice(tensor)) return control_->StartAllReduceSum(std::move(tensor));
    std::vector<at::Tensor> tensors = {tensor};
    return Start(Operation::kAllReduce, tensor, [&] { return backend_->allreduce(tensors); });
  }
  Pending StartReduceScatterSum(at::Tensor out, const at::Tensor& in, Wire wire) override {
    if (!OnDevice(in)) return control_->StartReduceScatterSum(std::move(out), in, wire);
    if (wire == Wire::kBFloat16) return StartRoundedSum(std::move(out), in);
    at::Tensor from = in;
    return Start(Operation::kReduceScatter, in,
                 [&] { return backend_->_reduce_scatter_base(out, from); });
  }
  Pending StartAllGather(at::Tensor out, const at::Tensor& in) override {
    if (!OnDevice(in)) return control_->StartAllGather(std::move(out), in);
    at::Tensor from = in;
    return Start(Operation::kAllGather, out, [&] { return backend_->_allgather_base(out, from); });
  }

 private:
  bool OnDevice(const at::Tensor& tensor) const { return tensor.device().type() == device_; }

  Pending Start(Operation operation, const at::Tensor& whole, const std::function<WorkPtr()>& issue,
                std::function<void()> finish = {}) {
    const uint64_t sequence = ledger().Enter(operation, static_cast<int64_t>(whole.nbytes()));
    const std::string where = "rank " + std::to_string(rank()) + ", " +
                              monitor::OperationName(operation) + " " + std::to_string(sequence);
    WorkPtr work;
    try {
      work = issue();
    } catch (const std::exception& error) {
      throw EnvironmentError("E-DEVICE-COLLECTIVE", where, Line(error),
                             "the log of the device's library says more");
    }
    watch_.Add(sequence, work);
    return Pending(std::make_shared<DeviceWork>(std::move(work), where, std::move(finish)));
  }

  // Bytes travel, so that no backend needs to know the type; the sum is formed here.
  Pending StartRoundedSum(at::Tensor out, const at::Tensor& in) {
    CONTRAIL_ASSERT(in.scalar_type() == at::kFloat && out.numel() * size() == in.numel());
    at::Tensor sent = in.reshape(-1).to(at::kBFloat16);
    at::Tensor received = at::empty_like(sent);
    at::Tensor from = sent.view(at::kByte), to = received.view(at::kByte);
    std::vector<int64_t> equal;
    const auto sum = [received, sent, out, ranks = size()] {
      const at::Tensor rows = received.view({ranks, -1});
      at::Tensor total = out.view(-1);
      total.copy_(rows[0]);
      for (int q = 1; q < ranks; ++q) total.add_(rows[q]);
    };
    return Start(
        Operation::kReduceScatter, in,
        [&] { return backend_->alltoall_base(to, from, equal, equal); }, sum);
  }

  std::unique_ptr<Comm> control_;
  c10::intrusive_ptr<c10d::Backend> backend_;
  at::DeviceType device_;
  DeviceWatch watch_;  // last: its thread looks at the ledger
};

}  // namespace

std::unique_ptr<Comm> MakeDeviceComm(std::unique_ptr<Comm> control,
                                     c10::intrusive_ptr<c10d::Backend> backend,
                                     at::DeviceType device) {
  return std::make_unique<DeviceComm>(std::move(control), std::move(backend), device);
}

}  // namespace contrail::worker
