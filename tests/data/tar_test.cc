// Tar reading: archives of other writers, torn archives, the sidecar index.

#include "data/tar.h"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <utime.h>

#include <filesystem>

#include "common/rng.h"
#include "data/shard_index.h"
#include "tests/data/helpers.h"

namespace contrail::data {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

class TarTest : public ScratchTest {
 protected:
  std::vector<std::string> Names(const std::string& file) const {
    std::vector<std::string> names;
    const PositionedFile tar(Path(file));
    ScanTar(tar, [&](const TarMember& member) {
      names.push_back(member.name + "=" + tar.Read(member.offset, member.size));
    });
    return names;
  }
  std::string ScanError(const std::string& file) const {
    return MessageOf([&] { ScanShard(PositionedFile(Path(file))); });
  }
};

// GNU, pax and ustar as Python writes them: long names, non-ASCII names, directories, links.
TEST_F(TarTest, ReadsWhatPythonWrites) {
  Python(R"(
import io, sys, tarfile
long_name = "d/" * 70 + "n" * 90 + ".txt"
for name, kind in (("gnu", tarfile.GNU_FORMAT), ("pax", tarfile.PAX_FORMAT)):
    with tarfile.open(sys.argv[1] + name + ".tar", "w", format=kind) as tar:
        def add(member, text, **fields):
            info = tarfile.TarInfo(member)
            info.size = len(text)
            for key, value in fields.items(): setattr(info, key, value)
            tar.addfile(info, io.BytesIO(text))
        add("folder", b"", type=tarfile.DIRTYPE)
        add("a.txt", b"one")
        add(long_name, b"two" * 300, mtime=1.5)
        add("link", b"", type=tarfile.SYMTYPE, linkname="x" * 120)
        add("ü.txt", b"three", uname="ü" * 40)
with tarfile.open(sys.argv[1] + "ustar.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
    info = tarfile.TarInfo("p" * 90 + "/" + "n" * 60 + ".txt"); info.size = 2
    tar.addfile(info, io.BytesIO(b"ok"))
)",
         {Path("")});
  std::string deep;
  for (int i = 0; i < 70; ++i) deep += "d/";
  std::string twos;
  for (int i = 0; i < 300; ++i) twos += "two";
  const std::string long_member = deep + std::string(90, 'n') + ".txt=" + twos;
  EXPECT_THAT(Names("gnu.tar"), ElementsAre("a.txt=one", long_member, "ü.txt=three"));
  EXPECT_THAT(Names("pax.tar"), ElementsAre("a.txt=one", long_member, "ü.txt=three"));
  EXPECT_THAT(Names("ustar.tar"),
              ElementsAre(std::string(90, 'p') + "/" + std::string(60, 'n') + ".txt=ok"));
}

TEST_F(TarTest, PythonReadsWhatIsWritten) {
  const std::string long_name = std::string(180, 'k') + ".png";
  Write("own.tar", MakeTar({{"000000.txt", "hello"}, {long_name, std::string(1000, 'x')}}));
  EXPECT_EQ(Python(R"(
import sys, tarfile
with tarfile.open(sys.argv[1]) as tar:
    for m in tar: print(len(m.name), m.size, m.mtime, m.uid, oct(m.mode), tar.extractfile(m).read()[:5])
)",
                   {Path("own.tar")}),
            "10 5 0 0 0o644 b'hello'\n184 1000 0 0 0o644 b'xxxxx'\n");
  EXPECT_THAT(Names("own.tar"),
              ElementsAre("000000.txt=hello", long_name + "=" + std::string(1000, 'x')));
}

TEST_F(TarTest, GroupsLikeWebdataset) {
  Write("a.tar", MakeTar({{"__meta__.txt", "x"},
                          {"a/1.jpg", "J1"},
                          {"a/1.TXT", "c1"},
                          {"a/1.seg.png", "mask"},
                          {"a/2.txt", "no picture"},
                          {"b/2.PNG", "P2"},
                          {"b/2.cls", "7"},
                          {"README", "?"},
                          {".hidden", "?"},
                          {"c.d/3.x.jpg", "not a plain picture"},
                          {"./4.jpeg", "J4"}}));
  const ShardIndex index = ScanShard(PositionedFile(Path("a.tar")));
  ASSERT_EQ(index.samples.size(), 3u);
  EXPECT_EQ(index.skipped, 2u);  // a/2 and c.d/3
  EXPECT_EQ(index.samples[0].key, "a/1");
  EXPECT_TRUE(index.samples[0].caption.present());
  EXPECT_FALSE(index.samples[0].label.present());
  EXPECT_EQ(index.samples[1].key, "b/2");
  EXPECT_FALSE(index.samples[1].caption.present());
  EXPECT_TRUE(index.samples[1].label.present());
  EXPECT_EQ(index.samples[2].key, "4");
}

TEST_F(TarTest, TornArchivesAreNamedWithTheByte) {
  const std::string whole =
      MakeTar({{"1.jpg", std::string(700, 'a')}, {"2.jpg", std::string(10, 'b')}});
  Write("contents.tar", whole.substr(0, 900));  // inside the first member
  EXPECT_THAT(ScanError("contents.tar"),
              AllOf(HasSubstr("E-DATA-TAR: " + Path("contents.tar") + " at byte 0: "),
                    HasSubstr("ends inside the contents of '1.jpg'")));
  Write("header.tar", whole.substr(0, 1536 + 100));  // inside the second header
  EXPECT_THAT(ScanError("header.tar"),
              AllOf(HasSubstr("at byte 1536"), HasSubstr("inside a header")));
  std::string garbled = whole;
  garbled[1536 + 3] = 'X';
  Write("garbled.tar", garbled);
  EXPECT_THAT(ScanError("garbled.tar"),
              AllOf(HasSubstr("at byte 1536"), HasSubstr("bad checksum")));
  Write("text.tar", std::string(2000, 'x'));
  EXPECT_THAT(ScanError("text.tar"), AllOf(HasSubstr("at byte 0"), HasSubstr("not a tar header")));
  Write("twice.tar", MakeTar({{"1.jpg", "a"}, {"1.png", "b"}}));
  EXPECT_THAT(ScanError("twice.tar"),
              AllOf(HasSubstr("at byte 1536"), HasSubstr("'1' has a second .png")));
  Write("no_end.tar", whole.substr(0, whole.size() - 1024));
  EXPECT_THAT(ScanError("no_end.tar"),
              AllOf(HasSubstr("at byte 2560"), HasSubstr("without its end marker")));
  Write("padding.tar", whole.substr(0, 1300));  // contents whole, padding not
  EXPECT_THAT(ScanError("padding.tar"), HasSubstr("at byte 0: the archive ends inside"));
  Write("zero.tar", "");
  EXPECT_THAT(ScanError("zero.tar"), HasSubstr("at byte 0: the archive ends without"));
}

TEST_F(TarTest, IndexTellsWhatAScanTells) {
  Write("s.tar", ShardOf(50));
  const PositionedFile tar(Path("s.tar"));
  EXPECT_FALSE(ReadIndex(tar).has_value());
  const ShardIndex scanned = ScanShard(tar);
  WriteIndex(PosixFileSystem(), tar, scanned);
  const auto head = ReadIndexHead(tar);
  ASSERT_TRUE(head.has_value());
  EXPECT_EQ(head->samples, 50u);
  const auto read = ReadIndex(tar);
  ASSERT_TRUE(read.has_value());
  ASSERT_EQ(read->samples.size(), 50u);
  for (size_t i = 0; i < 50; ++i) {
    EXPECT_EQ(read->samples[i].key, scanned.samples[i].key);
    EXPECT_EQ(read->samples[i].image.offset, scanned.samples[i].image.offset);
    EXPECT_EQ(read->samples[i].caption.size, scanned.samples[i].caption.size);
    EXPECT_EQ(read->samples[i].label.offset, scanned.samples[i].label.offset);
  }
}

// What a rank keeps of hundreds of shards: every entry as it was, in a few bytes.
TEST(PackedSamples, KeepEveryEntryInFewBytes) {
  std::vector<SampleEntry> entries;
  PackedSamples packed;
  RandomStream draws(1, 2, 3);
  uint64_t offset = 0;
  for (int i = 0; i < 10'000; ++i) {
    SampleEntry entry;
    char key[24];
    std::snprintf(key, sizeof key, "%09d", 123'000'000 + i);
    entry.key = i % 1000 == 7 ? std::string(300, 'k') : key;
    for (Extent* extent : {&entry.image, &entry.caption, &entry.label}) {
      if (extent != &entry.image && draws.NextBelow(4) == 0) continue;
      extent->offset = offset += 512;
      extent->size = draws.NextBelow(100'000);
      offset += extent->size;
    }
    if (i % 50 == 0) std::swap(entry.image, entry.caption);  // members in any order
    entries.push_back(entry);
    packed.push_back(entry);
  }
  entries.push_back({"last", {~uint64_t{0} / 4, ~uint64_t{0}}, {1, 0}, {}});
  packed.push_back(entries.back());
  packed.shrink_to_fit();
  EXPECT_LT(packed.bytes(), entries.size() * 20);
  ASSERT_EQ(packed.size(), entries.size());
  const auto expect_same = [](const SampleEntry& a, const SampleEntry& b) {
    EXPECT_EQ(a.key, b.key);
    for (const auto extent : {&SampleEntry::image, &SampleEntry::caption, &SampleEntry::label}) {
      EXPECT_EQ((a.*extent).offset, (b.*extent).offset);
      if ((b.*extent).present()) {
        EXPECT_EQ((a.*extent).size, (b.*extent).size);
      }
    }
  };
  for (uint64_t i = packed.size(); i-- > 0;) expect_same(packed[i], entries[i]);
  size_t i = 0;
  for (const SampleEntry& entry : packed) expect_same(entry, entries[i++]);
}

TEST_F(TarTest, AKeyMayHoldAnything) {
  Write("odd.tar", MakeTar({{"a b%0A\n%.png", "x"}}));
  const PositionedFile tar(Path("odd.tar"));
  WriteIndex(PosixFileSystem(), tar, ScanShard(tar));
  ASSERT_TRUE(ReadIndex(tar).has_value());
  EXPECT_EQ(ReadIndex(tar)->samples[0].key, "a b%0A\n%");
}

TEST_F(TarTest, AStaleOrDamagedIndexIsNotBelieved) {
  Write("s.tar", ShardOf(5));
  {
    const PositionedFile tar(Path("s.tar"));
    WriteIndex(PosixFileSystem(), tar, ScanShard(tar));
  }
  const std::string index = Contents("s.tar.index");
  // A copy with another time but the same bytes is current.
  const utimbuf long_ago{1000, 1000};
  ASSERT_EQ(::utime(Path("s.tar").c_str(), &long_ago), 0);
  EXPECT_TRUE(ReadIndex(PositionedFile(Path("s.tar"))).has_value());
  // Other contents of the same size are not.
  Write("s.tar", ShardOf(5, 5));
  EXPECT_FALSE(ReadIndexHead(PositionedFile(Path("s.tar"))).has_value());
  Write("s.tar", ShardOf(6));
  EXPECT_FALSE(ReadIndexHead(PositionedFile(Path("s.tar"))).has_value());
  // Torn or altered indexes are found when they are read.
  Write("s.tar", ShardOf(5));
  EXPECT_TRUE(ReadIndex(PositionedFile(Path("s.tar"))).has_value());
  for (const size_t size : {size_t{0}, size_t{10}, index.size() / 2, index.size() - 1}) {
    Write("s.tar.index", index.substr(0, size));
    EXPECT_FALSE(ReadIndex(PositionedFile(Path("s.tar"))).has_value()) << size;
  }
  std::string altered = index;
  altered[index.size() / 2] = static_cast<char>(altered[index.size() / 2] ^ 1);
  Write("s.tar.index", altered);
  EXPECT_FALSE(ReadIndex(PositionedFile(Path("s.tar"))).has_value());
  // A field this version does not know is passed over; another version is not read.
  Write("s.tar.index", "contrail-index 2" + index.substr(16));
  EXPECT_FALSE(ReadIndexHead(PositionedFile(Path("s.tar"))).has_value());
  Write("s.tar.index", "contrail-index 1 new=field" + index.substr(16));
  EXPECT_TRUE(ReadIndexHead(PositionedFile(Path("s.tar"))).has_value());
}

}  // namespace
}  // namespace contrail::data
