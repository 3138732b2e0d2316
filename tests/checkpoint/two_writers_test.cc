// Two that take themselves for the same attempt save the same step at the same time: each of the
// two checkpoints holds the bytes of one of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <set>
#include <thread>

#include "checkpoint/format.h"
#include "common/pass_through_file_system.h"
#include "common/recording_file_system.h"
#include "tests/checkpoint/fixture.h"

namespace contrail::ckpt {
namespace {

constexpr const char* kDir = "/run/checkpoints";
constexpr uint64_t kStep = 40;

// Holds every write of a shard until so many writers are at it.
class AllAtOnce : public PassThroughFileSystem {
 public:
  AllAtOnce(FileSystem& inner, int writers) : PassThroughFileSystem(inner), missing_(writers) {}

 private:
  void PassWrite(WritableFile& file, const std::string& path, Write write, const void* data,
                 size_t size, uint64_t offset) const override {
    if (path.find("shard_") != std::string::npos) {
      std::unique_lock<std::mutex> lock(mutex_);
      if (threads_.insert(std::this_thread::get_id()).second) --missing_;
      arrived_.notify_all();
      arrived_.wait(lock, [this] { return missing_ <= 0; });
    }
    PassThroughFileSystem::PassWrite(file, path, write, data, size, offset);
  }

  mutable std::mutex mutex_;
  mutable std::condition_variable arrived_;
  mutable std::set<std::thread::id> threads_;  // guarded by mutex_
  mutable int missing_;                        // guarded by mutex_
};

// One of them: a job of several ranks.
class Side {
 public:
  Side(FileSystem& fs, const World& world, const std::string& owner) : fs_(fs), world_(world) {
    for (int rank = 0; rank < world.ranks(); ++rank) {
      SavePlan plan = PlanOf(world, kDir, kStep, rank);
      plan.state.attempt = 2;
      plan.owner = owner;
      if (rank == 0) root_ = plan;
      jobs_.push_back(
          std::make_unique<SaveJob>(fs, std::move(plan), SnapshotOf(world, kStep, rank)));
    }
  }
  std::string Commit() {
    std::vector<std::string> reports;
    for (const auto& job : jobs_) reports.push_back(job->Report());
    root_.buffers = BuffersOf(world_, kStep);
    return CommitStep(fs_, root_, reports);
  }

 private:
  FileSystem& fs_;
  const World& world_;
  SavePlan root_;
  std::vector<std::unique_ptr<SaveJob>> jobs_;
};

TEST(TwoWriters, TheirBytesNeverMix) {
  const World ours = MakeWorld(3, 20000, 3, 1);
  World theirs = ours;
  theirs.salt = 1;
  RecordingFileSystem disk;
  disk.MakeDirs(kDir);
  AllAtOnce fs(disk, 2 * ours.ranks());
  Side a(fs, ours, "aaaaaaaaaaaaaaaa");
  Side b(fs, theirs, "bbbbbbbbbbbbbbbb");
  a.Commit();
  b.Commit();
  const std::string last = kDir + ("/" + StepName(kStep));
  const std::string first = kDir + ("/" + SupersededName(kStep, 1));
  VerifyStep(disk, last);
  EXPECT_TRUE(ReadsBackAs(*StepReader::Open(disk, last), theirs.KeyOf(kStep), 2));
  VerifyStep(disk, first);
  EXPECT_TRUE(ReadsBackAs(*StepReader::Open(disk, first), ours.KeyOf(kStep), 2));
}

}  // namespace
}  // namespace contrail::ckpt
