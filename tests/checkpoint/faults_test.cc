// A disk that fails at any one operation, or from there on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <future>
#include <memory>

#include "checkpoint/format.h"
#include "checkpoint/prune.h"
#include "common/error.h"
#include "common/recording_file_system.h"
#include "tests/checkpoint/fixture.h"

namespace contrail::ckpt {
namespace {

constexpr const char* kDir = "/run/checkpoints";

// Saves in rank order; where a writer fails, gives the step up as the worker does. A failed commit
// cleans up by itself.
void SaveOrAbandon(FileSystem& fs, const World& world, const std::string& dir, uint64_t step,
                   uint64_t retry) {
  std::vector<std::string> reports;
  SavePlan plan;
  try {
    for (int rank = 0; rank < world.ranks(); ++rank) {
      plan = PlanOf(world, dir, step, rank);
      plan.retry = retry;
      SaveJob job(fs, plan, SnapshotOf(world, step, rank));
      reports.push_back(job.Report());
    }
  } catch (const Error&) {
    AbandonStep(fs, plan);
    throw;
  }
  plan.buffers = BuffersOf(world, step);  // the root's
  CommitStep(fs, plan, reports);
}

DiskState DiskWithStep100(const World& world) {
  RecordingFileSystem fs;
  fs.MakeDirs("/run");
  SaveStep(fs, world, kDir, 100);
  return fs.state();
}

TEST(Faults, EachOperationOfASaveFailingOnce) {
  const World world = MakeWorld(3, 200, 3, 2);
  const DiskState base = DiskWithStep100(world);
  uint64_t n = 1;
  for (;; ++n) {
    SCOPED_TRACE("operation " + std::to_string(n));
    RecordingFileSystem disk(base);
    FaultyFileSystem fs(disk, n, false);
    try {
      SaveOrAbandon(fs, world, kDir, 200, 0);
      ASSERT_FALSE(fs.failed()) << "a failed operation went unnoticed";
      break;
    } catch (const Error& error) {
      EXPECT_EQ(error.id(), "E-IO");
      EXPECT_EQ(error.kind(), ErrorKind::kUser);  // free some space
      EXPECT_THAT(error.what(), testing::HasSubstr("No space left on device"));
    }
    // The earlier step is whole, and nothing of the failed one is left.
    EXPECT_EQ(disk.List(kDir), std::vector<std::string>{"step_00000100"});
    EXPECT_TRUE(ReadsBackAs(*StepReader::Open(disk, "/run"), world.KeyOf(100), 1));
    VerifyStep(disk, "/run");
    // A new try under a new name works.
    SaveOrAbandon(disk, world, kDir, 200, 1);
    EXPECT_TRUE(ReadsBackAs(*StepReader::Open(disk, "/run"), world.KeyOf(200), 1));
    if (HasFailure()) return;
  }
  EXPECT_GT(n, 30u);
  std::printf("[ faults   ] %llu operations failed once each\n",
              static_cast<unsigned long long>(n - 1));
}

TEST(Faults, DiskGoneFromEachOperationOn) {
  const World world = MakeWorld(3, 200, 3, 2);
  const DiskState base = DiskWithStep100(world);
  for (uint64_t n = 1;; ++n) {
    SCOPED_TRACE("operation " + std::to_string(n));
    RecordingFileSystem disk(base);
    FaultyFileSystem fs(disk, n, true);
    bool committed = false;
    try {
      SaveOrAbandon(fs, world, kDir, 200, 0);
      committed = true;
    } catch (const Error& error) {
      EXPECT_EQ(error.id(), "E-IO");
    }
    // Not even cleaning up works now, so the new step may be there: but then it is whole.
    const auto steps = ListSteps(disk, kDir);
    ASSERT_FALSE(steps.empty());
    const auto reader = StepReader::Open(disk, steps.front().dir);
    EXPECT_TRUE(ReadsBackAs(*reader, world.KeyOf(steps.front().step), 1));
    VerifyStep(disk, steps.front().dir);
    EXPECT_TRUE(ReadsBackAs(*StepReader::Open(disk, "/run/checkpoints/step_00000100"),
                            world.KeyOf(100), 1));
    Prune(disk, kDir, {.keep_last = 2, .attempt = 1});
    if (steps.front().step == 100) {
      EXPECT_EQ(disk.List(kDir), std::vector<std::string>{"step_00000100"});
    }
    if (committed || HasFailure()) return;
  }
}

TEST(Faults, SupersedingFailsAtEachOperation) {
  const World old_world = MakeWorld(3, 200, 3, 2);
  World new_world = old_world;
  new_world.salt = 1;
  const DiskState base = DiskWithStep100(old_world);
  for (uint64_t n = 1;; ++n) {
    SCOPED_TRACE("operation " + std::to_string(n));
    RecordingFileSystem disk(base);
    FaultyFileSystem fs(disk, n, false);
    try {
      SaveOrAbandon(fs, new_world, kDir, 100, 0);
      break;
    } catch (const Error& error) {
      EXPECT_EQ(error.id(), "E-IO");
    }
    EXPECT_EQ(disk.List(kDir), std::vector<std::string>{"step_00000100"});
    EXPECT_TRUE(ReadsBackAs(*StepReader::Open(disk, "/run"), old_world.KeyOf(100), 1));
    if (HasFailure()) return;
  }
}

TEST(Faults, PruneFailsAtEachOperation) {
  const World world = MakeWorld(3, 200, 3, 2);
  RecordingFileSystem start(DiskWithStep100(world));
  for (const uint64_t step : {200u, 300u, 400u}) SaveStep(start, world, kDir, step);
  const DiskState base = start.state();
  for (uint64_t n = 1;; ++n) {
    SCOPED_TRACE("operation " + std::to_string(n));
    RecordingFileSystem disk(base);
    FaultyFileSystem fs(disk, n, false);
    bool done = false;
    try {
      done = Prune(fs, kDir, {.keep_last = 2}).problems.empty();
    } catch (const Error& error) {
      EXPECT_EQ(error.id(), "E-IO");
    }
    for (const StepEntry& entry : ListSteps(disk, kDir)) VerifyStep(disk, entry.dir);
    EXPECT_EQ(ListSteps(disk, kDir).front().step, 400u);
    Prune(disk, kDir, {.keep_last = 2});
    EXPECT_THAT(disk.List(kDir), testing::ElementsAre("step_00000300", "step_00000400"));
    if (done || HasFailure()) return;
  }
}

TEST(Faults, WriterErrorIsSticky) {
  const World world = MakeWorld(3, 200, 1, 1);
  RecordingFileSystem disk;
  FaultyFileSystem fs(disk, 3, false);
  SaveJob job(fs, PlanOf(world, "/run", 1, 0), SnapshotOf(world, 1, 0));
  EXPECT_THROW(job.Report(), Error);
  EXPECT_TRUE(job.finished());
  EXPECT_TRUE(job.failed());
  EXPECT_THROW(job.Report(), Error);
}

// A file system whose first write of payload waits until it is let go.
class StuckFileSystem : public RecordingFileSystem {
 public:
  std::unique_ptr<WritableFile> Open(const std::string& path, Mode mode) override {
    return std::make_unique<File>(*this, RecordingFileSystem::Open(path, mode));
  }
  void WaitUntilStuck() { stuck_.get_future().wait(); }
  void LetGo() { let_go_.set_value(); }

 private:
  class File : public WritableFile {
   public:
    File(StuckFileSystem& owner, std::unique_ptr<WritableFile> inner)
        : owner_(owner), inner_(std::move(inner)) {}
    void PWrite(const void* data, size_t size, uint64_t offset) override {
      if (offset > 0 && !owner_.passed_.exchange(true)) {
        owner_.stuck_.set_value();
        owner_.let_go_.get_future().wait();
      }
      inner_->PWrite(data, size, offset);
    }
    void Sync() override { inner_->Sync(); }
    void Close() override { inner_->Close(); }

   private:
    StuckFileSystem& owner_;
    const std::unique_ptr<WritableFile> inner_;
  };

  std::promise<void> stuck_, let_go_;
  std::atomic<bool> passed_{false};
};

TEST(Faults, AnAbandonedSaveIsWaitedForByNobody) {
  const World world = MakeWorld(3, 200, 1, 1);
  StuckFileSystem fs;
  fs.MakeDirs("/run");
  const auto released = std::make_shared<std::promise<void>>();
  std::shared_ptr<const Snapshot> snapshot(new Snapshot(SnapshotOf(world, 1, 0)),
                                           [released](const Snapshot* ended) {
                                             delete ended;
                                             released->set_value();
                                           });
  const std::weak_ptr<const Snapshot> alive = snapshot;
  {
    SaveJob job(fs, PlanOf(world, kDir, 1, 0), std::move(snapshot));
    fs.WaitUntilStuck();
    EXPECT_EQ(job.bytes_written(), 0u);
    EXPECT_FALSE(job.finished());
    job.Abandon();
  }                               // does not wait
  EXPECT_FALSE(alive.expired());  // the writer still reads it
  // A new try elsewhere is not disturbed, whatever the old one does when it wakes.
  SaveOrAbandon(fs, world, kDir, 1, 1);
  fs.LetGo();
  released->get_future().wait();
  EXPECT_TRUE(ReadsBackAs(*StepReader::Open(fs, "/run"), world.KeyOf(1), 1));
  VerifyStep(fs, "/run");
}

TEST(Faults, BytesWrittenReachTheWhole) {
  const World world = MakeWorld(3, 200, 1, 1);
  RecordingFileSystem fs;
  SaveJob job(fs, PlanOf(world, "/run", 1, 0), SnapshotOf(world, 1, 0));
  job.Report();
  EXPECT_EQ(job.bytes_written(), job.bytes());
}

// A real kernel refusing real writes: a file size limit is a full disk without mounts.
TEST(Faults, FileSizeLimitIsACleanError) {
  ScratchDir scratch;
  const World small = MakeWorld(3, 1000, 1, 1);
  const World big = MakeWorld(4, 300000, 1, 1);
  SaveStep(PosixFileSystem(), small, scratch.path(), 100);
  for (const rlim_t limit : {rlim_t{0}, rlim_t{4096}, rlim_t{100000}, rlim_t{3000000}}) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ::signal(SIGXFSZ, SIG_IGN);
      const rlimit size{limit, limit};
      ::setrlimit(RLIMIT_FSIZE, &size);
      int code = 1;
      try {
        SaveOrAbandon(PosixFileSystem(), big, scratch.path(), 200, 0);
      } catch (const Error& error) {
        const std::string what = error.what();
        if (error.id() == "E-IO" && what.find("File too large") != std::string::npos) code = 0;
      }
      ::_exit(code);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
    EXPECT_EQ(WEXITSTATUS(status), 0);
    EXPECT_EQ(PosixFileSystem().List(scratch.path()), std::vector<std::string>{"step_00000100"});
    EXPECT_TRUE(ReadsBackAs(*StepReader::Open(PosixFileSystem(), scratch.path()), 100, 1));
  }
}

}  // namespace
}  // namespace contrail::ckpt
