// Every state that a crash at any moment of save, commit and prune could leave on a disk.
//
// The operations of a save are recorded; for every prefix of them, subsets of the changes that no
// sync had covered yet are undone, and one write may be torn at 512 bytes. In every such state a
// reader must find the old or the new step, whole.
#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <random>
#include <set>

#include "checkpoint/format.h"
#include "checkpoint/newest.h"
#include "checkpoint/prune.h"
#include "common/error.h"
#include "common/recording_file_system.h"
#include "tests/checkpoint/fixture.h"

namespace contrail::ckpt {
namespace {

constexpr const char* kDir = "/run/checkpoints";
constexpr size_t kExhaustive = 12;  // all subsets of up to so many pending changes
constexpr int kSamples = 300;       // seeded subsets where there are more

// For every step that may be there: the values it may hold.
using Allowed = std::map<uint64_t, std::set<uint64_t>>;

class Explorer {
 public:
  // `required`: a step is listed in every state. `newest_when_done`: what must be found after the
  // whole log (the caller had been told it is committed) for prefixes of at least `done`
  // operations.
  Explorer(std::string name, DiskState base, std::vector<DiskOperation> log, Allowed allowed,
           bool required)
      : name_(std::move(name)),
        base_(std::move(base)),
        log_(std::move(log)),
        allowed_(std::move(allowed)),
        required_(required) {}

  // After so many operations the caller had been told that the step is committed.
  void DoneAt(size_t operations, uint64_t step, uint64_t key) {
    done_ = operations;
    done_step_ = step;
    done_key_ = key;
  }

  void Run() {
    std::mt19937_64 random(20240817);
    for (size_t prefix = 0; prefix <= log_.size(); ++prefix) {
      const std::vector<size_t> pending = PendingOperations(log_, prefix);
      max_pending_ = std::max(max_pending_, pending.size());
      const bool all = pending.size() <= kExhaustive;
      const uint64_t subsets = all ? uint64_t{1} << pending.size() : kSamples;
      for (uint64_t i = 0; i < subsets; ++i) {
        const uint64_t bits = all ? i : random();
        std::set<size_t> dropped;
        for (size_t p = 0; p < pending.size(); ++p)
          if ((bits >> (p % 64)) & 1) dropped.insert(pending[p]);
        Try(prefix, dropped, {});
        if (testing::Test::HasFailure()) return;
      }
      for (const size_t write : pending) {
        if (log_[write].kind != DiskOperation::Kind::kWrite) continue;
        const uint64_t sectors = log_[write].data.size() / 512;
        for (int i = 0; i < 4 && sectors > 0; ++i) {
          // With everything else there, and with something else missing.
          std::set<size_t> dropped;
          if (i >= 2)
            for (const size_t other : pending)
              if (other != write && random() % 2 == 0) dropped.insert(other);
          Try(prefix, dropped, {write, 512 * (random() % sectors), i % 2 == 1});
          if (testing::Test::HasFailure()) return;
        }
      }
    }
    std::printf(
        "[ states   ] %s: %zu operations, at most %zu pending; %zu crash states, %zu of them "
        "different on disk, %zu crashes during recovery, %zu saves over a recovered state\n",
        name_.c_str(), log_.size(), max_pending_, states_, seen_.size(), nested_, redone_);
  }

  // Further work on a recovered state, for a share of the states.
  void Redo(const World& world, uint64_t step) {
    redo_world_ = &world;
    redo_step_ = step;
  }

 private:
  void Try(size_t prefix, const std::set<size_t>& dropped, const TornWrite& torn) {
    ++states_;
    const DiskState state = CrashState(base_, log_, prefix, dropped, torn);
    // What was promised depends on the prefix, so it belongs to the state.
    const bool promised = prefix >= done_;
    if (!seen_.insert(state.Fingerprint() + (promised ? 1 : 0)).second) return;
    std::string dropped_text;
    for (const size_t i : dropped) dropped_text += " " + std::to_string(i) + ":" + log_[i].path;
    SCOPED_TRACE(name_ + ": crash after operation " + std::to_string(prefix) + " of " +
                 std::to_string(log_.size()) + ", without" + dropped_text +
                 (torn.operation == SIZE_MAX ? "" : ", torn " + log_[torn.operation].path));
    RecordingFileSystem fs(state);
    uint64_t step = 0, key = 0;
    if (!Check(fs, promised, &step, &key)) return;

    // Recovery: clean up as the next attempt does, then look again.
    EXPECT_TRUE(RemoveLeftovers(fs, kDir, 9, "").problems.empty());
    Prune(fs, kDir, {.keep_last = 1, .attempt = 9});
    uint64_t step_again = 0, key_again = 0;
    if (!Check(fs, promised, &step_again, &key_again)) return;
    EXPECT_EQ(step_again, step);
    EXPECT_EQ(key_again, key);
    EXPECT_TRUE(PlanPrune(fs, kDir, {.keep_last = 1, .attempt = 9}).removed.empty());

    if (seen_.size() % 7 == 0) CrashInRecovery(state, fs.log(), promised, step, key);
    if (redo_world_ != nullptr && seen_.size() % 23 == 0) {
      ++redone_;
      const std::string dir = SaveStep(fs, *redo_world_, kDir, redo_step_, 9);
      EXPECT_EQ(ListSteps(fs, kDir).front().dir, dir);
      EXPECT_TRUE(ReadsBackAs(*StepReader::Open(fs, kDir), redo_world_->KeyOf(redo_step_), 2));
      VerifyStep(fs, dir);
    }
  }

  void CrashInRecovery(const DiskState& crashed, const std::vector<DiskOperation>& log,
                       bool promised, uint64_t step, uint64_t key) {
    for (size_t prefix = 0; prefix <= log.size(); ++prefix) {
      std::vector<size_t> pending = PendingOperations(log, prefix);
      for (int none = 0; none < 2; ++none) {
        const std::set<size_t> dropped =
            none ? std::set<size_t>() : std::set<size_t>(pending.begin(), pending.end());
        const RecordingFileSystem fs(CrashState(crashed, log, prefix, dropped));
        uint64_t found_step = 0, found_key = 0;
        if (!Check(fs, promised, &found_step, &found_key)) return;
        EXPECT_EQ(found_step, step);
        EXPECT_EQ(found_key, key);
        ++nested_;
      }
    }
  }

  // Every listed step must be one of the allowed ones, whole; the newest is returned (0: none).
  bool Check(const FileSystem& fs, bool promised, uint64_t* step, uint64_t* key) const {
    std::vector<StepEntry> steps;
    try {
      steps = ListSteps(fs, kDir);
    } catch (const std::exception& error) {
      ADD_FAILURE() << "ListSteps threw: " << error.what();
      return false;
    }
    if (steps.empty() && required_) {
      ADD_FAILURE() << "no step is left";
      return false;
    }
    bool first = true;
    for (const StepEntry& entry : steps) {
      const uint64_t found = KeyFound(fs, entry);
      if (testing::Test::HasFailure()) return false;
      if (first) {
        *step = entry.step;
        *key = found;
      }
      first = false;
    }
    if (!steps.empty()) {
      std::vector<std::string> problems;
      const auto usable = OpenNewestUsable(fs, "/run", true, &problems);
      EXPECT_TRUE(usable != nullptr && usable->dir() == steps.front().dir);
      EXPECT_TRUE(problems.empty()) << problems.front();
      if (testing::Test::HasFailure()) return false;
    }
    if (promised && (*step != done_step_ || *key != done_key_)) {
      ADD_FAILURE() << "CommitStep had returned, but step " << *step << " is the newest";
      return false;
    }
    return true;
  }

  uint64_t KeyFound(const FileSystem& fs, const StepEntry& entry) const {
    try {
      const auto reader = StepReader::Open(fs, entry.dir);
      EXPECT_EQ(reader->state().step, entry.step);
      EXPECT_EQ(reader->buffers().size(), 3u);  // SmallWorld's
      const auto keys = allowed_.find(entry.step);
      if (keys != allowed_.end())
        for (const uint64_t key : keys->second)
          if (ReadsBackAs(*reader, key, 1)) return key;
      ADD_FAILURE() << entry.dir << " holds other values than any that were saved";
    } catch (const std::exception& error) {
      ADD_FAILURE() << "a listed step cannot be read: " << error.what();
    }
    return 0;
  }

  const std::string name_;
  const DiskState base_;
  const std::vector<DiskOperation> log_;
  const Allowed allowed_;
  const bool required_;
  size_t done_ = SIZE_MAX;
  uint64_t done_step_ = 0, done_key_ = 0;
  const World* redo_world_ = nullptr;
  uint64_t redo_step_ = 0;
  std::set<uint64_t> seen_;
  size_t states_ = 0, nested_ = 0, redone_ = 0, max_pending_ = 0;
};

// Three ranks on two nodes, one after the other so that the log is the same every time. Returns the
// step's lineage.
std::string SaveInOrder(FileSystem& fs, const World& world, uint64_t step, uint64_t attempt,
                        const std::string& parent = "") {
  std::vector<std::string> reports;
  std::vector<SavePlan> plans;
  for (int rank = 0; rank < world.ranks(); ++rank) {
    plans.push_back(PlanOf(world, kDir, step, rank));
    plans.back().state.attempt = attempt;
    plans.back().state.parent = parent;
    SaveJob job(fs, plans.back(), SnapshotOf(world, step, rank));
    reports.push_back(job.Report());
  }
  std::string lineage;
  CommitStep(fs, plans[0], reports, &lineage);
  return lineage;
}

World SmallWorld(uint64_t salt) {
  World world = MakeWorld(3, 200, 3, 2);
  world.salt = salt;
  return world;
}

// A disk with a run directory and the given steps, everything durable.
DiskState DiskWith(const World& world, const std::vector<uint64_t>& steps) {
  RecordingFileSystem fs;
  fs.MakeDirs("/run");
  for (const uint64_t step : steps) SaveInOrder(fs, world, step, 0);
  return fs.state();
}

TEST(CrashStates, FirstStepOfARun) {
  const World world = SmallWorld(0);
  const DiskState base = DiskWith(world, {});
  RecordingFileSystem fs(base);
  SaveInOrder(fs, world, 100, 0);
  Explorer explorer("first step", base, fs.log(), {{100, {world.KeyOf(100)}}}, false);
  explorer.DoneAt(fs.log().size(), 100, world.KeyOf(100));
  explorer.Redo(world, 100);
  explorer.Run();
}

TEST(CrashStates, NextStepThenPrune) {
  const World world = SmallWorld(0);
  const DiskState base = DiskWith(world, {100});
  RecordingFileSystem fs(base);
  SaveInOrder(fs, world, 200, 0);
  const size_t done = fs.log().size();
  EXPECT_EQ(Prune(fs, kDir, {.keep_last = 1}).removed,
            std::vector<std::string>{"/run/checkpoints/step_00000100"});
  Explorer explorer("next step, then prune", base, fs.log(),
                    {{100, {world.KeyOf(100)}}, {200, {world.KeyOf(200)}}}, true);
  explorer.DoneAt(done, 200, world.KeyOf(200));
  explorer.Redo(world, 300);
  explorer.Run();
}

// As the saver does it: the step, newest.json, then what is too old goes. In no state does a run
// take its newest step for lost, or go back to the one before.
TEST(CrashStates, NextStepThenNewestThenPrune) {
  const World world = SmallWorld(0);
  RecordingFileSystem before;
  before.MakeDirs("/run");
  const std::string parent = SaveInOrder(before, world, 100, 1);
  WriteNewest(before, kDir, {100, "step_00000100", parent, 1});
  const DiskState base = before.state();
  RecordingFileSystem fs(base);
  const std::string lineage = SaveInOrder(fs, world, 200, 2, parent);
  const size_t done = fs.log().size();
  WriteNewest(fs, kDir, {200, "step_00000200", lineage, 2});
  Prune(fs, kDir, {.keep_last = 1, .attempt = 2, .head = std::string(kDir) + "/step_00000200"});
  EXPECT_EQ(fs.List(kDir), (std::vector<std::string>{"newest.json", "step_00000200"}));
  Explorer explorer("next step, newest.json, prune", base, fs.log(),
                    {{100, {world.KeyOf(100)}}, {200, {world.KeyOf(200)}}}, true);
  explorer.DoneAt(done, 200, world.KeyOf(200));
  explorer.Run();
}

// Another copy of the step that newest.json names takes its place.
TEST(CrashStates, SupersedingTheStepThatNewestNames) {
  const World old_world = SmallWorld(0);
  const World new_world = SmallWorld(1);
  RecordingFileSystem before;
  before.MakeDirs("/run");
  const std::string parent = SaveInOrder(before, old_world, 100, 1);
  const std::string old = SaveInOrder(before, old_world, 200, 1, parent);
  WriteNewest(before, kDir, {200, "step_00000200", old, 1});
  const DiskState base = before.state();
  RecordingFileSystem fs(base);
  const std::string lineage = SaveInOrder(fs, new_world, 200, 2, parent);
  const size_t done = fs.log().size();
  WriteNewest(fs, kDir, {200, "step_00000200", lineage, 2});
  Explorer explorer(
      "supersede, newest.json", base, fs.log(),
      {{100, {old_world.KeyOf(100)}}, {200, {old_world.KeyOf(200), new_world.KeyOf(200)}}}, true);
  explorer.DoneAt(done, 200, new_world.KeyOf(200));
  explorer.Run();
}

// The operations of several ranks in a random order that keeps each rank's own. What the first rank
// makes (the directory, the shard it shares) comes first, as whoever is first makes it.
std::vector<DiskOperation> Interleave(std::vector<std::vector<DiskOperation>> ranks,
                                      std::mt19937_64* random) {
  std::vector<DiskOperation> merged;
  std::vector<size_t> next(ranks.size(), 0);
  while (ranks[0][next[0]].kind == DiskOperation::Kind::kMakeDir ||
         ranks[0][next[0]].kind == DiskOperation::Kind::kCreate)
    merged.push_back(ranks[0][next[0]++]);
  for (;;) {
    std::vector<size_t> unfinished;
    for (size_t rank = 0; rank < ranks.size(); ++rank)
      if (next[rank] < ranks[rank].size()) unfinished.push_back(rank);
    if (unfinished.empty()) return merged;
    const size_t rank = unfinished[(*random)() % unfinished.size()];
    merged.push_back(ranks[rank][next[rank]++]);
  }
}

TEST(CrashStates, RanksInAnyOrder) {
  const World world = SmallWorld(0);
  const DiskState base = DiskWith(world, {100});
  RecordingFileSystem fs(base);
  std::vector<std::vector<DiskOperation>> ranks;
  std::vector<std::string> reports;
  for (int rank = 0; rank < world.ranks(); ++rank) {
    SaveJob job(fs, PlanOf(world, kDir, 200, rank), SnapshotOf(world, 200, rank));
    reports.push_back(job.Report());
    ranks.push_back(fs.log());
    fs.ClearLog();
  }
  CommitStep(fs, PlanOf(world, kDir, 200, 0), reports);
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    std::mt19937_64 random(seed);
    std::vector<DiskOperation> log = Interleave(ranks, &random);
    for (const DiskOperation& operation : fs.log()) log.push_back(operation);
    Explorer explorer("ranks in order " + std::to_string(seed), base, log,
                      {{100, {world.KeyOf(100)}}, {200, {world.KeyOf(200)}}}, true);
    explorer.DoneAt(log.size(), 200, world.KeyOf(200));
    explorer.Run();
  }
}

TEST(CrashStates, SupersedingAStepOfAnotherLineage) {
  const World old_world = SmallWorld(0);
  const World new_world = SmallWorld(1);
  const DiskState base = DiskWith(old_world, {100, 200});
  RecordingFileSystem fs(base);
  SaveInOrder(fs, new_world, 200, 1);
  Explorer explorer(
      "supersede", base, fs.log(),
      {{100, {old_world.KeyOf(100)}}, {200, {old_world.KeyOf(200), new_world.KeyOf(200)}}}, true);
  explorer.DoneAt(fs.log().size(), 200, new_world.KeyOf(200));
  explorer.Redo(new_world, 200);
  explorer.Run();
}

TEST(CrashStates, LeftoversOfAnEarlierCrash) {
  // Attempt 1 died in its save; attempt 2 saves the same step, and prunes the remains.
  const World world = SmallWorld(0);
  RecordingFileSystem before(DiskWith(world, {100}));
  SaveJob(before, PlanOf(world, kDir, 200, 1), SnapshotOf(world, 200, 1)).Report();
  const DiskState base = before.state();
  RecordingFileSystem fs(base);
  SaveInOrder(fs, world, 200, 2);
  const size_t done = fs.log().size();
  Prune(fs, kDir, {.keep_last = 2, .attempt = 2});
  Explorer explorer("leftovers", base, fs.log(),
                    {{100, {world.KeyOf(100)}}, {200, {world.KeyOf(200)}}}, true);
  explorer.DoneAt(done, 200, world.KeyOf(200));
  explorer.Redo(world, 200);
  explorer.Run();
}

TEST(CrashStates, PruneAfterAPruneThatWasKilled) {
  // The first one dies after its rename, before that name is durable; the machine stays up, and the
  // next attempt's prune finds the renamed directory.
  const World world = SmallWorld(0);
  const DiskState base = DiskWith(world, {100, 200});
  RecordingFileSystem fs(base);
  FaultyFileSystem killed(fs, 2, true);
  EXPECT_THROW(Prune(killed, kDir, {.keep_last = 1}), Error);
  EXPECT_EQ(fs.log().size(), 1u);
  Prune(fs, kDir, {.keep_last = 1, .attempt = 1});
  EXPECT_EQ(fs.List(kDir), std::vector<std::string>{"step_00000200"});
  Explorer explorer("prune twice", base, fs.log(),
                    {{100, {world.KeyOf(100)}}, {200, {world.KeyOf(200)}}}, true);
  explorer.DoneAt(0, 200, world.KeyOf(200));
  explorer.Run();
}

// Nodes do not share a page cache: what a rank reports must be durable by its own operations, not
// by a later one of the root.
TEST(CrashStates, WhatARankReportsIsDurable) {
  const World world = SmallWorld(0);
  for (int rank = 0; rank < world.ranks(); ++rank) {
    RecordingFileSystem fs(DiskWith(world, {}));
    SaveJob(fs, PlanOf(world, kDir, 200, rank), SnapshotOf(world, 200, rank)).Report();
    for (const size_t i : PendingOperations(fs.log(), fs.log().size()))
      EXPECT_EQ(fs.log()[i].kind, DiskOperation::Kind::kMakeDir) << fs.log()[i].path;
  }
}

// The explorer itself must see a broken order of operations.
TEST(CrashStates, ExplorerFindsAMissingSync) {
  const World world = SmallWorld(0);
  const DiskState base = DiskWith(world, {100});
  RecordingFileSystem fs(base);
  SaveInOrder(fs, world, 200, 0);
  size_t tried = 0, found = 0;
  const std::vector<DiskOperation> log = fs.log();
  for (size_t leave_out = 0; leave_out < log.size(); ++leave_out) {
    if (log[leave_out].kind != DiskOperation::Kind::kSync) continue;
    ++tried;
    std::vector<DiskOperation> broken = log;
    broken.erase(broken.begin() + static_cast<std::ptrdiff_t>(leave_out));
    const std::vector<size_t> pending = PendingOperations(broken, broken.size());
    for (const size_t drop : pending) {
      const RecordingFileSystem after(CrashState(base, broken, broken.size(), {drop}));
      try {
        const auto steps = ListSteps(after, kDir);
        if (steps.front().step == 200) VerifyStep(after, steps.front().dir);
        if (steps.front().step != 200) throw EnvironmentError("E-TEST", "", "promise broken");
      } catch (const Error&) {
        ++found;
        break;
      }
    }
  }
  // Two ranks share a shard: the later one's fsync covers the earlier one's bytes, too.
  EXPECT_EQ(tried, 6u);  // three ranks, buffers.h5, index.h5, COMMIT
  EXPECT_EQ(found, 5u);
}

}  // namespace
}  // namespace contrail::ckpt
