// The training data opened by a whole job: every shard once, the same data set on every rank.

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "common/error.h"
#include "data/shard_index.h"
#include "data/shard_list.h"
#include "data/tar.h"
#include "tests/data/open_counter.h"
#include "tests/multiproc/collectives/mpi_main.h"
#include "worker/agree.h"
#include "worker/open_data.h"

namespace contrail::worker {
namespace {

using testing::HasSubstr;

constexpr int kShards = 11;

// One folder for all ranks, made and removed by the first.
class OpenDataTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "contrail_open_XXXXXX";
    if (Root()) {
      ASSERT_NE(::mkdtemp(name.data()), nullptr);
      for (int i = 0; i < kShards; ++i) WriteShard(name, i);
    }
    folder_ = World().BroadcastText(name, 0);
  }
  void TearDown() override {
    World().Barrier();
    if (Root()) std::filesystem::remove_all(folder_);
  }

  static bool Root() { return World().rank() == 0; }
  static std::string Name(int shard) { return "s-" + std::to_string(100 + shard) + ".tar"; }
  std::string Path(int shard) const { return folder_ + "/" + Name(shard); }
  std::vector<std::string> Patterns() const { return {folder_ + "/s-{100..110}.tar"}; }

  // i + 1 samples; every third shard has no sidecar.
  static void WriteShard(const std::string& folder, int i) {
    std::string tar;
    for (int sample = 0; sample <= i; ++sample) {
      const std::string bytes = "picture " + std::to_string(sample);
      tar += data::TarHeader(std::to_string(sample) + ".png", bytes.size()) + bytes;
      tar.append(data::TarPadding(bytes.size()), '\0');
    }
    const std::string path = folder + "/" + Name(i);
    std::ofstream(path, std::ios::binary) << tar.append(2 * data::kTarBlock, '\0');
    if (i % 3 == 0) return;
    const data::PositionedFile file(path);
    data::WriteIndex(PosixFileSystem(), file, data::ScanShard(file));
  }

  // The line all ranks leave with; "" where none throws.
  std::string AgreedLine() {
    std::string line;
    try {
      OpenData(World(), Patterns());
    } catch (const AgreedError& error) {
      line = error.what();
    }
    for (const std::string& other : World().AllGatherText(line)) EXPECT_EQ(other, line);
    return line;
  }

  std::string folder_;
};

TEST_F(OpenDataTest, TheJobOpensEveryShardOnceAndAllRanksKnowThemAll) {
  const std::string alone = data::Dataset::Open(Patterns())->Fingerprint();
  World().Barrier();
  data::OpenCounter counter(folder_);
  World().Barrier();
  uint64_t mine = 0;
  const auto dataset = OpenData(World(), Patterns(), {}, [&](uint64_t amount) { mine += amount; });
  World().Barrier();
  std::map<std::string, int> expected;
  for (int i = 0; i < kShards; ++i) {
    expected[Name(i)] = 1;
    if (i % 3 != 0) expected[Name(i) + ".index"] = 1;
  }
  EXPECT_EQ(counter.Take(), expected);
  // Every shard is told of by the rank that looked into it, and of one without an index every byte.
  EXPECT_GE(mine, static_cast<uint64_t>(kShards / World().size()));
  uint64_t all = 0;
  for (const std::string& one : World().AllGatherText(std::to_string(mine)))
    all += std::stoull(one);
  EXPECT_GE(all, uint64_t{kShards} + 512 * (kShards + 2) / 3);
  EXPECT_EQ(dataset->Fingerprint(), alone);
  EXPECT_EQ(dataset->size(), 66u);
  // The ranks read in turn: the kernel reports two opens of one file that nothing separates as one.
  for (int reader = 0; reader < World().size(); ++reader) {
    World().Barrier();
    if (World().rank() == reader) {
      EXPECT_EQ(dataset->Read(65).image, "picture 10");
    }
  }
  World().Barrier();
  EXPECT_EQ(counter.Take(), (std::map<std::string, int>{{Name(10), World().size()},
                                                        {Name(10) + ".index", World().size()}}));
}

TEST_F(OpenDataTest, OneRankReadsTheListAndNobodyOpensAShard) {
  const std::string scanned = OpenData(World(), Patterns())->Fingerprint();
  if (Root()) {
    std::map<std::string, data::ShardList> lists;
    for (int i = 0; i < kShards; ++i) {
      const data::PositionedFile tar(Path(i));
      data::AddToLists(lists, Path(i), data::IndexText(tar, data::ScanShard(tar)));
    }
    for (const auto& [folder, list] : lists) {
      data::UpdateShardList(PosixFileSystem(), folder, "", list);
    }
  }
  World().Barrier();
  data::OpenCounter counter(folder_);
  World().Barrier();
  EXPECT_EQ(OpenData(World(), Patterns())->Fingerprint(), scanned);
  EXPECT_EQ(OpenData(World(), {folder_})->Fingerprint(), scanned);
  World().Barrier();
  std::map<std::string, int> opens = counter.Take();
  EXPECT_LE(opens["contrail.index"], 2);  // two opens that follow one another may be one event
  opens.erase("contrail.index");
  EXPECT_TRUE(opens.empty());
  // What the list does not know is opened, by the rank whose part it is in.
  World().Barrier();  // all have counted
  if (Root()) std::filesystem::copy(Path(4), folder_ + "/s-999.tar");
  World().Barrier();
  counter.Take();
  World().Barrier();
  EXPECT_EQ(OpenData(World(), {folder_})->size(), 66u + 5u);
  World().Barrier();
  opens = counter.Take();
  EXPECT_EQ(opens["s-999.tar"], 1);
  EXPECT_EQ(opens.size(), 2u);
}

TEST_F(OpenDataTest, ADamagedShardOfOnesPartIsEveryonesError) {
  if (Root())
    std::fstream(Path(9), std::ios::in | std::ios::out | std::ios::binary).seekp(3) << 'X';
  World().Barrier();
  const std::string line = AgreedLine();
  EXPECT_THAT(line, HasSubstr("E-DATA-TAR: " + Path(9)));
  if (World().size() > 1) {
    EXPECT_THAT(line, HasSubstr("(rank " + std::to_string(World().size() - 1) + " on "));
  }
}

TEST_F(OpenDataTest, MissingAndEmptyDataAreNamed) {
  if (Root()) std::filesystem::remove(Path(2));
  World().Barrier();
  EXPECT_THAT(AgreedLine(), HasSubstr("E-DATA-MISSING: " + Path(2)));
  if (Root()) std::filesystem::remove_all(folder_);
  World().Barrier();
  EXPECT_THAT(AgreedLine(), HasSubstr("E-DATA-MISSING: " + Path(0)));
  try {
    OpenData(World(), {});
    ADD_FAILURE() << "not refused";
  } catch (const AgreedError& error) {
    EXPECT_EQ(error.id(), "E-DATA-EMPTY");
  }
}

}  // namespace
}  // namespace contrail::worker
