// What a job checks about itself, over real ranks: its loss before the first step, and that all
// replicas of the weights are the same. Both with a rank that computes or holds something else.

#include <gmock/gmock.h>

#include <chrono>

#include "common/error.h"
#include "tests/multiproc/collectives/mpi_main.h"
#include "worker/agree.h"
#include "worker/loss_check.h"
#include "worker/pulse.h"
#include "worker/replica_check.h"
#include "worker/start_checks.h"

namespace contrail::worker {
namespace {

using testing::HasSubstr;

// The job's own communicator, but on one rank every sum comes out with one bit wrong.
class FlawedComm final : public Comm {
 public:
  FlawedComm(Comm& real, int flawed_rank) : real_(real), flawed_rank_(flawed_rank) {}
  int rank() const override { return real_.rank(); }
  int size() const override { return real_.size(); }
  int local_rank() const override { return real_.local_rank(); }
  const std::vector<int>& node_of_rank() const override { return real_.node_of_rank(); }
  void AllReduceSum(at::Tensor tensor) override {
    real_.AllReduceSum(tensor);
    if (rank() != flawed_rank_ || tensor.scalar_type() != at::kDouble) return;
    // Bit 50: the value is off by a quarter to a half.
    reinterpret_cast<uint64_t*>(tensor.mutable_data_ptr<double>())[0] ^= uint64_t{1} << 50;
  }
  void ReduceScatterSum(at::Tensor out, const at::Tensor& in) override {
    real_.ReduceScatterSum(std::move(out), in);
  }
  void AllGather(at::Tensor out, const at::Tensor& in) override {
    real_.AllGather(std::move(out), in);
  }
  void Broadcast(at::Tensor tensor, int root) override { real_.Broadcast(std::move(tensor), root); }
  void Barrier() override { real_.Barrier(); }
  Pending StartAllReduceSum(at::Tensor tensor) override { return real_.StartAllReduceSum(tensor); }
  Pending StartReduceScatterSum(at::Tensor out, const at::Tensor& in, Wire wire) override {
    return real_.StartReduceScatterSum(std::move(out), in, wire);
  }
  Pending StartAllGather(at::Tensor out, const at::Tensor& in) override {
    return real_.StartAllGather(std::move(out), in);
  }
  Ledger& ledger() override { return real_.ledger(); }

 private:
  Comm& real_;
  int flawed_rank_;
};

TEST(SameEverywhere, AnotherSetOfShardsShowsBothSides) {
  const Config config;
  CheckSameEverywhere(World(), config, "2000 samples, 1111");
  const int last = World().size() - 1;
  if (last == 0) return;
  try {
    CheckSameEverywhere(World(), config,
                        World().rank() == last ? "1999 samples, 2222" : "2000 samples, 1111");
    ADD_FAILURE() << "not refused";
  } catch (const AgreedError& error) {
    EXPECT_EQ(error.id(), "E-RANKS-DISAGREE");
    EXPECT_EQ(error.exit_code(), kExitUser);
    EXPECT_THAT(error.what(), HasSubstr("rank " + std::to_string(last) + " on "));
    EXPECT_THAT(error.what(), HasSubstr("another data (1999 samples, 2222) than rank 0 on "));
    EXPECT_THAT(error.what(), HasSubstr("(2000 samples, 1111)"));
  }
}

TEST(LossCheck, PassesAndCostsMilliseconds) {
  for (const char* loss : {"clip", "siglip"}) {
    CheckLoss(World(), loss);
    const auto start = std::chrono::steady_clock::now();
    CheckLoss(World(), loss);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    RecordProperty(loss, std::to_string(seconds.count()));
    EXPECT_LT(seconds.count(), 2) << "even on a crowded machine";
  }
}

TEST(LossCheck, ARankWhoseSumsAreWrongIsNamedByAll) {
  const int flawed = World().size() - 1;
  FlawedComm comm(World(), flawed);
  for (const char* loss : {"clip", "siglip"}) {
    try {
      CheckLoss(comm, loss);
      ADD_FAILURE() << "not refused";
    } catch (const AgreedError& error) {
      EXPECT_EQ(error.id(), "E-LOSS-SELF-CHECK");
      EXPECT_EQ(error.exit_code(), kExitEnvironment);
      EXPECT_THAT(error.what(), HasSubstr("rank " + std::to_string(flawed) + " on "));
      EXPECT_THAT(error.what(), HasSubstr("scale 1"));
      EXPECT_EQ(error.speaks(), comm.rank() == flawed);
    }
  }
}

FlatParams Replica() {
  std::vector<model::ParamSpec> params(2);
  params[0] = {.name = "a", .shape = {300, 1000}, .decay = true, .group = 0};
  params[1] = {.name = "logit_scale", .shape = {}, .group = 1};
  FlatParams flat(params, World().rank(), World().size());
  flat.SetWeight(0, at::arange(300000, at::kFloat).view({300, 1000}) * 1e-3);
  flat.SetWeight(1, at::full({}, 2.5f, at::kFloat));
  return flat;
}

std::vector<uint32_t> Hashes(const FlatParams& flat) {
  return Exchange(World(), {.weights_hash = HashOfWeights(flat)}).weights_hashes;
}

TEST(ReplicaCheck, OneFlippedBitNamesItsRank) {
  const FlatParams flat = Replica();
  CheckReplicas(World(), Hashes(flat), 100);
  if (World().size() == 1) return;  // nothing to compare with
  const int flawed = World().size() / 2;
  if (World().rank() == flawed) {
    static_cast<uint32_t*>(flat.views().weights[0].data_ptr())[123456] ^= 1u << 3;
  }
  try {
    CheckReplicas(World(), Hashes(flat), 200);
    ADD_FAILURE() << "not found";
  } catch (const AgreedError& error) {
    EXPECT_EQ(error.id(), "E-REPLICA");
    EXPECT_EQ(error.exit_code(), kExitEnvironment);
    EXPECT_THAT(error.what(), HasSubstr("step 200"));
    EXPECT_THAT(error.what(), HasSubstr("rank " + std::to_string(flawed) + " on "));
    const bool majority = World().size() > 2;
    EXPECT_EQ(error.culprit(), majority ? flawed : -1);
    EXPECT_THAT(error.what(),
                majority ? HasSubstr("the other " + std::to_string(World().size() - 1) + " agree")
                         : HasSubstr("no majority"));
  }
}

}  // namespace
}  // namespace contrail::worker
