#include "data/dataset.h"

#include <gmock/gmock.h>
#include <sys/resource.h>

#include <chrono>
#include <filesystem>
#include <set>
#include <thread>

#include "common/strings.h"
#include "data/shard_cache.h"
#include "data/shard_list.h"
#include "data/tokenizer.h"
#include "data/transform.h"
#include "tests/data/helpers.h"
#include "tests/data/open_counter.h"

namespace contrail::data {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class DatasetTest : public ScratchTest {
 protected:
  // pairs-000.tar .. of the given sizes; samples are numbered through.
  std::shared_ptr<const Dataset> Shards(const std::vector<int>& sizes) const {
    int first = 0;
    for (size_t i = 0; i < sizes.size(); ++i) {
      Write("pairs-00" + std::to_string(i) + ".tar", ShardOf(sizes[i], first));
      first += sizes[i];
    }
    return Dataset::Open({Path("pairs-{000..00" + std::to_string(sizes.size() - 1) + "}.tar")});
  }
};

TEST_F(DatasetTest, ReadsEverySample) {
  const auto dataset = Shards({10, 1, 7});
  ASSERT_EQ(dataset->size(), 18u);
  EXPECT_EQ(dataset->shard_sizes(), (std::vector<uint64_t>{10, 1, 7}));
  EXPECT_EQ(dataset->Key(0), "pairs-000.tar/000000");
  EXPECT_EQ(dataset->Key(10), "pairs-001.tar/000010");
  EXPECT_EQ(dataset->Key(17), "pairs-002.tar/000017");
  for (uint64_t i = 0; i < 18; ++i) {
    const Dataset::Sample sample = dataset->Read(i);
    EXPECT_EQ(sample.caption, "sample number " + std::to_string(i));
    EXPECT_EQ(sample.label, static_cast<int64_t>(i % 10));
    EXPECT_EQ(sample.image, NoisePng(6, 5, i));
  }
}

TEST_F(DatasetTest, ADirectoryStandsForItsShards) {
  Shards({3, 4});
  EXPECT_EQ(Dataset::Open({Path("")})->size(), 7u);
}

TEST_F(DatasetTest, PatternsAndSpacesNameShards) {
  Write("with space/b 1.tar", ShardOf(2));
  Write("with space/b 0.tar", ShardOf(1));
  Write("with space/._b 0.tar", "a resource fork");
  Write("with space/od[d].tar", ShardOf(4));
  const std::vector<std::string> both = {Path("with space/b 0.tar"), Path("with space/b 1.tar")};
  EXPECT_EQ(ShardPaths({Path("with*/b ?.tar")}), both);
  EXPECT_EQ(ShardPaths({Path("with space")}).size(), 3u);
  EXPECT_EQ(ShardPaths({Path("with space/od[d].tar")}).size(), 1u);  // a file's own name
  EXPECT_EQ(ShardPatterns(Path("with space/b 1.tar")).size(), 1u);
  EXPECT_EQ(ShardPatterns(Path("with space/*.tar")).size(), 1u);
  EXPECT_EQ(ShardPatterns("a.tar  b.tar"), (std::vector<std::string>{"a.tar", "b.tar"}));
  EXPECT_THAT(
      MessageOf([&] { ShardPaths({Path("none*.tar")}); }),
      AllOf(HasSubstr("E-DATA-MISSING: " + Path("none*.tar")), HasSubstr("no file matches")));
}

TEST_F(DatasetTest, CaptionsFromJson) {
  Write("j.tar", MakeTar({{"1.png", NoisePng(3, 3, 1)},
                          {"1.json", R"({"text": "a caf\u00e9", "n": 3})"},
                          {"2.png", NoisePng(3, 3, 2)},
                          {"2.json", R"({"other": 1})"},
                          {"3.png", NoisePng(3, 3, 3)},
                          {"3.json", "not json"},
                          {"4.png", NoisePng(3, 3, 3)},
                          {"4.json", std::string(100'000, '[')}}));
  const auto dataset = Dataset::Open({Path("j.tar")}, {}, ParseCaptionKey("json:text"));
  EXPECT_EQ(dataset->Read(0).caption, "a café");
  EXPECT_EQ(dataset->Read(1).caption, "");
  for (const uint64_t sample : {2, 3}) {
    EXPECT_THAT(MessageOf([&] { dataset->Read(sample); }),
                AllOf(HasSubstr("E-DATA-JSON: j.tar/"), HasSubstr("holds no JSON object")));
  }
  EXPECT_EQ(dataset->CountMissingCaptions().count, 3u);  // as far as they can be told
  EXPECT_EQ(dataset->CountMissingCaptions().first, "j.tar/2");
  EXPECT_THAT(MessageOf([] { ParseCaptionKey("json"); }), HasSubstr("E-DATA-CAPTION-KEY"));
}

TEST_F(DatasetTest, MissingCaptionsAreCountedAndLimited) {
  Write("a.tar", ShardOf(3));
  Write("b.tar", MakeTar({{"1.png", NoisePng(3, 3, 1)}, {"2.png", "x"}, {"2.txt", "two"}}));
  WriteIndex(PosixFileSystem(), PositionedFile(Path("a.tar")),
             ScanShard(PositionedFile(Path("a.tar"))));
  const auto dataset = Dataset::Open({Path("a.tar"), Path("b.tar")});
  const MissingCaptions missing = dataset->CountMissingCaptions();
  EXPECT_EQ(missing.count, 1u);
  EXPECT_EQ(missing.of, 5u);
  EXPECT_EQ(missing.first, "b.tar/1");
  EXPECT_NO_THROW(CheckMissingCaptions(missing, 0.2, "data.train"));
  EXPECT_THAT(MessageOf([&] { CheckMissingCaptions(missing, 0.1, "data.train"); }),
              AllOf(HasSubstr("E-DATA-NO-CAPTIONS: data.train: 1 of 5 samples have no caption"),
                    HasSubstr("20 %, more than 10 %"), HasSubstr("first b.tar/1")));
}

TEST_F(DatasetTest, IndexesChangeNothing) {
  const auto scanned = Shards({6, 5});
  for (const char* name : {"pairs-000.tar", "pairs-001.tar"}) {
    const PositionedFile tar(Path(name));
    WriteIndex(PosixFileSystem(), tar, ScanShard(tar));
  }
  const auto indexed = Dataset::Open({Path("pairs-{000..001}.tar")});
  EXPECT_EQ(indexed->Fingerprint(), scanned->Fingerprint());
  for (uint64_t i = 0; i < 11; ++i) EXPECT_EQ(indexed->Read(i).image, scanned->Read(i).image);
}

TEST_F(DatasetTest, FingerprintTellsDataApart) {
  const std::string one = Shards({6, 5})->Fingerprint();
  EXPECT_EQ(Shards({6, 5})->Fingerprint(), one);
  EXPECT_NE(Shards({5, 6})->Fingerprint(), one);
  EXPECT_NE(Dataset::Open({Path("pairs-{000..000}.tar")})->Fingerprint(), one);
}

TEST_F(DatasetTest, ManyShardsWithFewDescriptors) {
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &old), 0);
  std::vector<std::string> paths;
  for (int i = 0; i < 600; ++i) {
    const std::string name = "s" + std::to_string(i) + ".tar";
    Write(name, MakeTar({{"a.png", "p" + std::to_string(i)}}));
    paths.push_back(Path(name));
  }
  const rlimit few{400, old.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  const auto dataset = Dataset::Open(paths);
  for (int round = 0; round < 2; ++round) {
    for (uint64_t i = 0; i < 600; ++i) {
      ASSERT_EQ(dataset->Read(i * 7 % 600).image, "p" + std::to_string(i * 7 % 600));
    }
  }
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &old), 0);
}

TEST_F(DatasetTest, OpensEveryShardOnceForItsHeadAndOnceToRead) {
  Shards({3, 4});
  Write("pairs-002.tar", ShardOf(2, 7));  // without a sidecar: scanned, and kept open
  for (const char* name : {"pairs-000.tar", "pairs-001.tar"}) {
    const PositionedFile tar(Path(name));
    WriteIndex(PosixFileSystem(), tar, ScanShard(tar));
  }
  OpenCounter counter(Path(""));
  std::vector<std::string> seen;
  const auto dataset = Dataset::Open({Path("pairs-{000..002}.tar")},
                                     [&](const ShardHead& head) { seen.push_back(head.path); });
  EXPECT_EQ(seen, (std::vector<std::string>{Path("pairs-000.tar"), Path("pairs-001.tar"),
                                            Path("pairs-002.tar")}));
  using Opens = std::map<std::string, int>;
  EXPECT_EQ(counter.Take(), (Opens{{"pairs-000.tar", 1},
                                   {"pairs-000.tar.index", 1},
                                   {"pairs-001.tar", 1},
                                   {"pairs-001.tar.index", 1},
                                   {"pairs-002.tar", 1}}));
  for (int round = 0; round < 3; ++round) {
    for (uint64_t i = 3; i < dataset->size(); ++i) dataset->Read(i);
  }
  EXPECT_EQ(counter.Take(), (Opens{{"pairs-001.tar", 1}, {"pairs-001.tar.index", 1}}));
}

// Puts what the shards are now into the folder's list.
void List(const std::vector<std::string>& paths) {
  std::map<std::string, ShardList> lists;
  for (const std::string& path : paths) {
    const PositionedFile tar(path);
    AddToLists(lists, path, IndexText(tar, ScanShard(tar)));
  }
  for (const auto& [folder, list] : lists) UpdateShardList(PosixFileSystem(), folder, "", list);
}

TEST_F(DatasetTest, ShardsOfAListAreNotOpened) {
  const auto scanned = Shards({3, 4});
  List({Path("pairs-000.tar"), Path("pairs-001.tar")});
  using Opens = std::map<std::string, int>;
  OpenCounter counter(Path(""));
  for (const std::string& pattern : {Path(""), Path("pairs-{000..001}.tar")}) {
    const auto listed = Dataset::Open({pattern});
    EXPECT_EQ(counter.Take(), (Opens{{"contrail.index", 1}})) << pattern;
    EXPECT_EQ(listed->Fingerprint(), scanned->Fingerprint());
    EXPECT_EQ(listed->Read(6).image, scanned->Read(6).image);
    counter.Take();
  }
}

TEST_F(DatasetTest, AShardThatChangedSinceItWasListedIsOpened) {
  Shards({3, 4});
  List({Path("pairs-000.tar"), Path("pairs-001.tar")});
  Write("pairs-001.tar", ShardOf(6, 3));  // another size
  Write("pairs-002.tar", ShardOf(2, 9));  // a new one
  EXPECT_EQ(Dataset::Open({Path("")})->shard_sizes(), (std::vector<uint64_t>{3, 6, 2}));
  Write("pairs-000.tar", ShardOf(3, 50));  // another time
  std::filesystem::last_write_time(
      Path("pairs-000.tar"), std::filesystem::file_time_type::clock::now() + std::chrono::hours(1));
  OpenCounter counter(Path(""));
  Dataset::Open({Path("pairs-000.tar")});
  EXPECT_EQ(counter.Take().at("pairs-000.tar"), 1);
  std::filesystem::remove(Path("pairs-000.tar"));
  EXPECT_THAT(MessageOf([&] { Dataset::Open({Path("pairs-{000..001}.tar")}); }),
              HasSubstr("E-DATA-MISSING: " + Path("pairs-000.tar")));
}

TEST_F(DatasetTest, AListThatWasAlteredIsIgnored) {
  Shards({3});
  List({Path("pairs-000.tar")});
  const std::string whole = Contents("contrail.index");
  std::string altered = whole;
  altered[altered.find("samples=3") + 8] = '4';
  for (const std::string& text : {altered, whole.substr(0, whole.size() - 1), std::string(),
                                  std::string("contrail-shards 9\n")}) {
    Write("contrail.index", text);
    EXPECT_TRUE(ReadShardList(Path("")).empty());
    EXPECT_EQ(Dataset::Open({Path("")})->size(), 3u);
  }
  Write("contrail.index", whole);
  EXPECT_EQ(ReadShardList(Path("")).size(), 1u);
}

TEST_F(DatasetTest, KnownHeadsOpenNothingAndGiveTheSameData) {
  const auto opened = Shards({3, 4});
  std::vector<ShardHead> heads;
  for (const std::string& path : ShardPaths({Path("pairs-{000..001}.tar")})) {
    heads.push_back(ReadShardHead(path));
  }
  OpenCounter counter(Path(""));
  const auto known = Dataset::OpenKnown(heads);
  EXPECT_TRUE(counter.Take().empty());
  EXPECT_EQ(known->Fingerprint(), opened->Fingerprint());
  EXPECT_EQ(known->shard_sizes(), opened->shard_sizes());
  for (uint64_t i = 0; i < 7; ++i) EXPECT_EQ(known->Read(i).image, opened->Read(i).image);

  heads[1].bytes += 512;
  EXPECT_THAT(MessageOf([&] { Dataset::OpenKnown(heads)->Read(3); }),
              AllOf(HasSubstr("E-DATA-INDEX: " + Path("pairs-001.tar")),
                    HasSubstr("when the run started")));
  EXPECT_EQ(Dataset::OpenKnown({})->size(), 0u);
}

// The limit may be lowered, or used up by others, after the cache was sized.
TEST_F(DatasetTest, ShardsAreClosedWhereNoDescriptorIsLeft) {
  std::vector<std::string> paths;
  for (int i = 0; i < 60; ++i) {
    const std::string name = "s" + std::to_string(i) + ".tar";
    Write(name, MakeTar({{"a.png", "p" + std::to_string(i)}}));
    paths.push_back(Path(name));
    if (i % 2 == 0) {
      const PositionedFile tar(paths.back());
      WriteIndex(PosixFileSystem(), tar, ScanShard(tar));
    }
  }
  const int used = ::dup(0);  // the lowest free number
  ASSERT_GE(used, 0);
  ::close(used);
  auto dataset = Dataset::Open(paths);
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &old), 0);
  const auto limited = [&](const rlimit& limit) {
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  };
  limited({static_cast<rlim_t>(used) + 3, old.rlim_max});
  for (int round = 0; round < 2; ++round) {
    for (uint64_t i = 0; i < 60; ++i) {
      EXPECT_EQ(dataset->Read(i).image, "p" + std::to_string(i));
    }
  }
  dataset.reset();
  EXPECT_EQ(MessageOf([&] { EXPECT_EQ(Dataset::Open(paths)->size(), 60u); }), "");
  limited({static_cast<rlim_t>(used), old.rlim_max});  // not one is left, and none can be closed
  const std::string message = MessageOf([&] { Dataset::Open(paths); });
  limited(old);
  EXPECT_THAT(message, AllOf(HasSubstr("E-IO: " + paths[0]), HasSubstr("Too many open files")));
}

TEST_F(DatasetTest, TheCacheTakesHalfOfTheDescriptors) {
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &old), 0);
  const auto share_of = [&](rlim_t limit) {
    const rlimit lowered{limit, old.rlim_max};
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &lowered), 0);
    return ShardCache::DescriptorShare();
  };
  EXPECT_EQ(share_of(1024), 512u);
  EXPECT_EQ(share_of(400), 200u);
  EXPECT_EQ(share_of(8), 4u);
  EXPECT_EQ(share_of(old.rlim_cur), 512u);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &old), 0);
}

TEST_F(DatasetTest, CacheKeepsWithinItsBounds) {
  std::vector<std::string> paths;
  for (int i = 0; i < 20; ++i) {
    Write("s" + std::to_string(i) + ".tar", ShardOf(4, i * 4));
    paths.push_back(Path("s" + std::to_string(i) + ".tar"));
  }
  ShardCache cache(paths, 3, 1000);
  std::weak_ptr<const OpenShard> first = cache.Get(0);
  EXPECT_FALSE(first.expired());
  cache.Get(1);
  cache.Get(2);
  EXPECT_FALSE(first.expired());
  cache.Get(3);
  EXPECT_TRUE(first.expired());  // the least recently used went
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = 0; i < 500; ++i) {
        ASSERT_EQ(cache.Get((i * (2 * t + 3)) % 20)->index.samples.size(), 4u);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(DatasetTest, BadInputsAreNamed) {
  Shards({3});
  const auto open = [&](const std::string& pattern) {
    return MessageOf([&] { Dataset::Open({Path(pattern)}); });
  };
  EXPECT_THAT(
      open("pairs-{000..002}.tar"),
      AllOf(HasSubstr("E-DATA-MISSING: " + Path("pairs-001.tar")), HasSubstr("no such file")));
  EXPECT_THAT(open("pairs-{000.tar"), HasSubstr("E-DATA-BRACES"));
  Write("empty.tar", std::string(1024, '\0'));
  EXPECT_THAT(open("empty.tar"), AllOf(HasSubstr("E-DATA-EMPTY: " + Path("empty.tar"))));
  Write("texts.tar", MakeTar({{"1.txt", "a"}, {"2.txt", "b"}}));
  EXPECT_THAT(open("texts.tar"), HasSubstr("E-DATA-EMPTY"));
  std::filesystem::create_directory(Path("nothing"));
  EXPECT_THAT(open("nothing"), HasSubstr("E-DATA-EMPTY"));
  EXPECT_THAT(MessageOf([] { Dataset::Open({}); }), HasSubstr("E-DATA-EMPTY"));
  std::string garbled = ShardOf(3);
  garbled[1024 + 3] = 'X';
  Write("garbled.tar", garbled);
  EXPECT_THAT(open("garbled.tar"),
              AllOf(HasSubstr("E-DATA-TAR"), HasSubstr("garbled.tar at byte ")));
  Write("stump.tar", ShardOf(3).substr(0, 300));
  EXPECT_THAT(open("stump.tar"), AllOf(HasSubstr("E-DATA-TAR"), HasSubstr("inside a header")));
  Write("label.tar", MakeTar({{"1.png", "x"}, {"1.cls", "cat"}}));
  EXPECT_THAT(MessageOf([&] { Dataset::Open({Path("label.tar")})->Read(0); }),
              HasSubstr("E-DATA-LABEL: label.tar/1: its .cls is not a class number"));
  // Relative names are reported in full.
  EXPECT_THAT(
      MessageOf([] { Dataset::Open({"no/such.tar"}); }),
      HasSubstr("E-DATA-MISSING: " + std::filesystem::current_path().string() + "/no/such.tar"));
}

TEST_F(DatasetTest, AShardThatShrankIsNoticedWhenRead) {
  const auto dataset = Shards({5});
  std::filesystem::resize_file(Path("pairs-000.tar"), 2000);
  EXPECT_THAT(MessageOf([&] { dataset->Read(4); }), HasSubstr("E-DATA-TAR"));
}

}  // namespace
}  // namespace contrail::data
