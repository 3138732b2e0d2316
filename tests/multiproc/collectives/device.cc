// The comm over a device's backend, with a backend of plain MPI calls on host tensors in the place
// of NCCL: what it gives is what the comm over MPI gives, and its collectives are numbered and
// noted the same.

#include "worker/comm/device_comm.h"

#include <gtest/gtest.h>
#include <mpi.h>

#include <thread>

#include "tests/multiproc/collectives/mpi_main.h"

namespace contrail::worker {
namespace {

class PlainWork final : public c10d::Work {
 public:
  explicit PlainWork(const std::string& problem, int delay_ms) : problem_(problem) {
    later_ = std::thread([this, delay_ms] {
      std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms));
      if (problem_.empty()) {
        finish();
      } else {
        finish(std::make_exception_ptr(std::runtime_error(problem_ + "\nwith a trace")));
      }
    });
  }
  ~PlainWork() override { later_.join(); }

 private:
  std::string problem_;
  std::thread later_;
};

class PlainMpi final : public c10d::Backend {
 public:
  PlainMpi() : c10d::Backend(World().rank(), World().size()) {
    MPI_Comm_dup(MPI_COMM_WORLD, &comm_);
  }
  ~PlainMpi() override { MPI_Comm_free(&comm_); }
  const std::string getBackendName() const override { return "plain"; }

  using WorkPtr = c10::intrusive_ptr<c10d::Work>;
  WorkPtr allreduce(std::vector<at::Tensor>& tensors, const c10d::AllreduceOptions&) override {
    MPI_Allreduce(MPI_IN_PLACE, tensors[0].data_ptr(), static_cast<int>(tensors[0].numel()),
                  MPI_FLOAT, MPI_SUM, comm_);
    return Done();
  }
  WorkPtr broadcast(std::vector<at::Tensor>& tensors,
                    const c10d::BroadcastOptions& options) override {
    MPI_Bcast(tensors[0].data_ptr(), static_cast<int>(tensors[0].nbytes()), MPI_BYTE,
              static_cast<int>(options.rootRank), comm_);
    return Done();
  }
  WorkPtr _allgather_base(at::Tensor& out, at::Tensor& in, const c10d::AllgatherOptions&) override {
    const auto bytes = static_cast<int>(in.nbytes());
    MPI_Allgather(in.data_ptr(), bytes, MPI_BYTE, out.data_ptr(), bytes, MPI_BYTE, comm_);
    return Done();
  }
  WorkPtr _reduce_scatter_base(at::Tensor& out, at::Tensor& in,
                               const c10d::ReduceScatterOptions&) override {
    MPI_Reduce_scatter_block(in.data_ptr(), out.data_ptr(), static_cast<int>(out.numel()),
                             MPI_FLOAT, MPI_SUM, comm_);
    return Done();
  }
  WorkPtr alltoall_base(at::Tensor& out, at::Tensor& in, std::vector<int64_t>&,
                        std::vector<int64_t>&, const c10d::AllToAllOptions&) override {
    const auto bytes = static_cast<int>(in.nbytes()) / getSize();
    MPI_Alltoall(in.data_ptr(), bytes, MPI_BYTE, out.data_ptr(), bytes, MPI_BYTE, comm_);
    return Done();
  }

  int delay_ms = 0;
  std::string problem;  // of the next collectives

 private:
  WorkPtr Done() { return c10::make_intrusive<PlainWork>(problem, delay_ms); }
  MPI_Comm comm_ = MPI_COMM_NULL;
};

at::Tensor Values(int rank, int64_t count) {
  return (at::arange(count, at::kFloat) * static_cast<float>(rank + 1)).remainder(37);
}

struct Both {
  c10::intrusive_ptr<PlainMpi> backend = c10::make_intrusive<PlainMpi>();
  std::unique_ptr<Comm> comm = MakeDeviceComm(MakeMpiComm(), backend, at::kCPU);
  int rank = World().rank(), size = World().size();
};

bool DoneTo(Comm& comm, uint64_t number) {
  for (int i = 0; i < 5000 && comm.ledger().standing().done < number; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return comm.ledger().standing().done == number;
}

TEST(DeviceComm, GivesWhatTheCommOverMpiGives) {
  Both both;
  constexpr int64_t kEach = 1003;
  const at::Tensor mine = Values(both.rank, kEach * both.size);
  at::Tensor ours = mine.clone(), theirs = mine.clone();
  both.comm->AllReduceSum(ours);
  World().AllReduceSum(theirs);
  EXPECT_TRUE(at::equal(ours, theirs));  // small integers: no rounding

  at::Tensor part = at::empty({kEach}), expected = at::empty({kEach});
  both.comm->ReduceScatterSum(part, mine);
  World().ReduceScatterSum(expected, mine);
  EXPECT_TRUE(at::equal(part, expected));

  at::Tensor all = at::empty({kEach * both.size}), all_expected = at::empty_like(all);
  Pending pending = both.comm->StartAllGather(all, part);
  World().AllGather(all_expected, part);
  pending.Wait();
  EXPECT_TRUE(at::equal(all, all_expected));

  const int root = both.size - 1;
  at::Tensor told = Values(both.rank, 10);
  both.comm->Broadcast(told, root);
  EXPECT_TRUE(at::equal(told, Values(root, 10)));
  both.comm->Barrier();
}

TEST(DeviceComm, ValuesRoundedForTheWireAreSummedInFp32) {
  Both both;
  constexpr int64_t kEach = 501;
  const at::Tensor mine =
      at::arange(kEach * both.size, at::kFloat) * 0.37F + static_cast<float>(both.rank) * 1.001F;
  at::Tensor out = at::empty({kEach}), expected = at::empty({kEach});
  both.comm->StartReduceScatterSum(out, mine, Wire::kBFloat16).Wait();
  World().StartReduceScatterSum(expected, mine, Wire::kBFloat16).Wait();
  EXPECT_TRUE(at::equal(out, expected));
}

TEST(DeviceComm, HasOneNumberingAndNotesWhatIsOver) {
  Both both;
  both.backend->delay_ms = 60;
  const uint64_t before = both.comm->ledger().standing().entered;
  at::Tensor values = Values(both.rank, 64);
  Pending pending = both.comm->StartAllReduceSum(values);
  EXPECT_FALSE(pending.done());
  EXPECT_EQ(both.comm->ledger().standing().entered, before + 1);
  EXPECT_EQ(both.comm->ledger().standing().done, before);
  EXPECT_EQ(both.comm->ledger().standing().oldest_unfinished, Ledger::Operation::kAllReduce);
  both.comm->Barrier();  // the control comm's, numbered behind it
  EXPECT_EQ(both.comm->ledger().standing().entered, before + 2);
  pending.Wait();
  EXPECT_TRUE(DoneTo(*both.comm, before + 2));  // though nobody asked any more
  double moved = 0;
  for (const Ledger::Entry& entry : both.comm->ledger().TakeFinished()) moved += entry.moved;
  EXPECT_GE(moved, 0.05);
}

TEST(DeviceComm, AFailureNamesRankOperationAndNumber) {
  Both both;
  at::Tensor values = Values(both.rank, 8);
  both.comm->AllReduceSum(values);
  both.backend->problem = "ncclRemoteError: a peer is gone";
  const uint64_t number = both.comm->ledger().standing().entered + 1;
  try {
    both.comm->AllReduceSum(values);
    FAIL() << "nothing thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.id(), "E-DEVICE-COLLECTIVE");
    const std::string text = error.what();
    EXPECT_NE(
        text.find("rank " + std::to_string(both.rank) + ", allreduce " + std::to_string(number)),
        std::string::npos)
        << text;
    EXPECT_NE(text.find("a peer is gone"), std::string::npos) << text;
    EXPECT_EQ(text.find("with a trace"), std::string::npos) << text;
  }
  EXPECT_TRUE(DoneTo(*both.comm, number - 1));
}

}  // namespace
}  // namespace contrail::worker
