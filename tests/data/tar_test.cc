// Tar reading: archives of other writers, torn archives, the sidecar index.

#include "data/tar.h"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <utime.h>

#include <filesystem>

#include "common/hash.h"
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
      if (member.link != LinkKind::kNone) return;
      names.push_back(member.name + "=" + tar.Read(member.offset, member.size));
    });
    return names;
  }
  std::string ScanError(const std::string& file) const {
    return MessageOf([&] { ScanShard(PositionedFile(Path(file))); });
  }
};

// A member of another type than a regular file, its header's sum made right again.
std::string Member(char type, const std::string& name, const std::string& contents,
                   const std::string& link = "") {
  std::string header = TarHeader(name, contents.size());
  header[156] = type;
  header.replace(157, link.size(), link);
  header.replace(148, 8, 8, ' ');
  unsigned sum = 0;
  for (const char c : header) sum += static_cast<unsigned char>(c);
  char digits[8];
  std::snprintf(digits, sizeof digits, "%06o", sum);
  header.replace(148, 7, std::string(digits, 7));
  return header + contents + std::string(TarPadding(contents.size()), '\0');
}

const std::string kEnd(2 * kTarBlock, '\0');

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
  EXPECT_EQ(index.left_out.groups, 2u);  // a/2 and c.d/3
  EXPECT_EQ(index.samples[0].key, "a/1");
  EXPECT_TRUE(index.samples[0].caption.present());
  EXPECT_FALSE(index.samples[0].label.present());
  EXPECT_EQ(index.samples[1].key, "b/2");
  EXPECT_FALSE(index.samples[1].caption.present());
  EXPECT_TRUE(index.samples[1].label.present());
  EXPECT_EQ(index.samples[2].key, "4");
}

TEST_F(TarTest, AScanTellsHowFarItHasComeAtEveryMember) {
  Write("s.tar", ShardOf(50));
  const PositionedFile tar(Path("s.tar"));
  std::vector<uint64_t> told;
  const ShardIndex index =
      ScanShard(tar, AtTear::kThrow, [&](uint64_t bytes) { told.push_back(bytes); });
  EXPECT_GE(told.size(), index.samples.size());
  uint64_t sum = 0;
  for (const uint64_t bytes : told) {
    EXPECT_GT(bytes, 0u);
    sum += bytes;
  }
  EXPECT_LE(sum, tar.size());
  EXPECT_GE(sum, tar.size() - 3 * kTarBlock);  // but for padding and the end marker
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

// Digits longer than the record they announce made the parser read what lies behind it.
TEST_F(TarTest, MalformedPaxRecordsAreRefused) {
  const std::string zeros(64, '0');
  for (const std::string& record :
       {zeros + "4 ab", zeros + "4 path=evil", std::string("12 path=a.txt"), std::string("x\n"),
        std::string("99 path=a\n"), std::string("-9 path=a\n"), std::string("11 path=abc"),
        std::string("9 pathabc\n"), std::string("16 size=garbage\n"), std::string("6 =ab\n"),
        std::string("9 path=\0\n", 9), std::string("3 \n"), std::string("10 size=1 \n")}) {
    Write("pax.tar", Member('x', "h", record) + Member('0', "1.txt", "t") + kEnd);
    EXPECT_THAT(ScanError("pax.tar"), AllOf(HasSubstr("E-DATA-TAR: "), HasSubstr("at byte 0"),
                                            HasSubstr("malformed record")))
        << record;
  }
  Write("pax.tar", Member('x', "h", "16 path=b/1.png\n") + Member('0', "1.txt", "t") + kEnd);
  EXPECT_THAT(Names("pax.tar"), ElementsAre("b/1.png=t"));
}

TEST_F(TarTest, LinksInsideTheArchiveAreFollowed) {
  Write("links.tar",
        MakeTar({{"d/0.png", "P0"}, {"d/0.txt", "one for all"}}).substr(0, 4 * kTarBlock) +
            Member('0', "d/1.png", "P1") + Member('1', "d/1.txt", "", "./d/0.txt") +
            Member('0', "d/2.png", "P2") + Member('2', "d/2.txt", "", "0.txt") +
            Member('2', "e/3.png", "", "../d/4.png") + Member('1', "e/3.txt", "", "d/2.txt") +
            Member('2', "e", "", "nowhere") + Member('0', "d/4.png", "P4") + kEnd);
  const PositionedFile tar(Path("links.tar"));
  const ShardIndex index = ScanShard(tar);
  ASSERT_EQ(index.samples.size(), 5u);
  for (size_t i = 0; i < 4; ++i) {
    const Extent& caption = index.samples[i].caption;
    EXPECT_EQ(tar.Read(caption.offset, caption.size), "one for all") << i;
  }
  EXPECT_EQ(index.samples[3].key, "e/3");
  EXPECT_EQ(tar.Read(index.samples[3].image.offset, 2), "P4");
  EXPECT_EQ(index.Head().captions, 4u);
  for (const char* target : {"9.txt", "1.txt", "/etc/passwd"}) {  // 1.txt is the link itself
    Write("out.tar", Member('0', "1.png", "P") + Member('2', "1.txt", "", target) + kEnd);
    EXPECT_THAT(ScanError("out.tar"),
                AllOf(HasSubstr("at byte 1024: '1.txt' is a link to '" + std::string(target)),
                      HasSubstr("no file in this archive")));
  }
}

TEST_F(TarTest, AKeyThatComesBackIsOneSample) {
  Write("apart.tar", MakeTar({{"1.png", "P1"}, {"2.png", "P2"}, {"1.txt", "c1"}, {"2.txt", "c2"}}));
  const PositionedFile tar(Path("apart.tar"));
  const ShardIndex index = ScanShard(tar);
  ASSERT_EQ(index.samples.size(), 2u);
  EXPECT_EQ(index.samples[0].key, "1");
  EXPECT_EQ(tar.Read(index.samples[1].caption.offset, 2), "c2");
  Write("again.tar", MakeTar({{"1.png", "a"}, {"2.png", "b"}, {"1.png", "c"}}));
  EXPECT_THAT(ScanError("again.tar"),
              AllOf(HasSubstr("at byte 2560"), HasSubstr("'1' has a second .png")));
}

TEST_F(TarTest, ArchivesBehindOneAnotherAreReadOn) {
  std::string first = MakeTar({{"1.png", "a"}});
  first.append(10240 - first.size(), '\0');  // as Python and GNU tar fill up
  Write("two.tar", first + MakeTar({{"2.png", "b"}}) + MakeTar({{"3.png", "c"}}));
  EXPECT_THAT(Names("two.tar"), ElementsAre("1.png=a", "2.png=b", "3.png=c"));
  Write("page.tar", first + std::string(700, 'x'));
  EXPECT_THAT(ScanError("page.tar"), HasSubstr("at byte 10240: neither a tar header nor"));
}

// A file that was given its size beforehand and then half of its bytes.
TEST_F(TarTest, AHoleIsNoEndMarker) {
  const std::string head = MakeTar({{"1.png", "a"}});
  std::string tail = head;
  tail.append(10 * 10240 - tail.size(), '\0');
  Write("tail.tar", tail);
  EXPECT_THAT(ScanError("tail.tar"),
              AllOf(HasSubstr("at byte 1024: 101376 zero bytes"), HasSubstr("truncate -s 2048")));
  Write("middle.tar", head + std::string(3 << 20, '\0') + MakeTar({{"2.png", "b"}}));
  EXPECT_THAT(ScanError("middle.tar"), HasSubstr("or more zero bytes, more than an end marker"));
  Write("record.tar", head + std::string((64 << 10) - head.size(), '\0'));  // tar -b 128
  EXPECT_THAT(Names("record.tar"), ElementsAre("1.png=a"));
}

TEST_F(TarTest, ATornArchiveHasItsWholeSamplesAndTheTornOne) {
  const std::string whole =
      MakeTar({{"1.png", "a"}, {"1.txt", "c"}, {"2.png", std::string(900, 'b')}});
  Write("torn.tar", whole.substr(0, whole.size() - 2 * kTarBlock - 600));
  const PositionedFile tar(Path("torn.tar"));
  const ShardIndex index = ScanShard(tar, AtTear::kNumber);
  EXPECT_THAT(index.torn, HasSubstr("ends inside the contents of '2.png'"));
  ASSERT_EQ(index.samples.size(), 2u);
  EXPECT_EQ(index.samples[1].key, "2");
  EXPECT_EQ(index.samples[1].image.offset, tar.size());
  EXPECT_EQ(ScanShard(PositionedFile(Path("torn.tar")), AtTear::kNumber).Head().captions, 1u);
  Write("none.tar", std::string(100, 'x'));
  EXPECT_THAT(MessageOf([&] { ScanShard(PositionedFile(Path("none.tar")), AtTear::kNumber); }),
              HasSubstr("E-DATA-TAR"));
}

TEST_F(TarTest, WhatCannotBeReadRightIsRefused) {
  Write("s.tar", Member('S', "1.png", "") + kEnd);
  EXPECT_THAT(ScanError("s.tar"), AllOf(HasSubstr("'1.png' is stored as a sparse file")));
  Write("p.tar", Member('x', "h", "22 GNU.sparse.major=1\n") + Member('0', "1.png", "m") + kEnd);
  EXPECT_THAT(ScanError("p.tar"), HasSubstr("stored as a sparse file"));
  Write("m.tar", Member('M', "1.png", "rest") + kEnd);
  EXPECT_THAT(ScanError("m.tar"), HasSubstr("began in another volume"));
}

TEST_F(TarTest, OtherFilesAreNamedForWhatTheyAre) {
  const std::pair<std::string, std::string> files[] = {
      {std::string("\x1f\x8b\x08\0", 4) + std::string(3000, 'x'), "a gzip file"},
      {"PK\x03\x04" + std::string(3000, 'x'), "a zip archive"},
      {"<!DOCTYPE html><html>AccessDenied" + std::string(2000, ' '), "an HTML page"},
      {"\n <?xml version=\"1.0\"?><Error>", "an XML document"},
      {"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"}};
  for (const auto& [bytes, kind] : files) {
    Write("x.tar", bytes);
    EXPECT_THAT(ScanError("x.tar"), HasSubstr("at byte 0: not a tar but " + kind));
  }
}

TEST_F(TarTest, WhatIsLeftOutIsCounted) {
  Write("mixed.tar", MakeTar({{"1.png", "P"},
                              {"1.txt", " \n"},
                              {"2.gif", "G"},
                              {"2.txt", "two"},
                              {"3.webp", "W"},
                              {"3.txt", "three"},
                              {"4.tif", "T"},
                              {"5.0_x.png", "dots"},
                              {"5.1_x.png", "dots"},
                              {"._6.jpg", "resource fork"}}));
  const PositionedFile tar(Path("mixed.tar"));
  const ShardIndex index = ScanShard(tar);
  ASSERT_EQ(index.samples.size(), 2u);
  EXPECT_EQ(index.Head().captions, 1u);  // one is blank
  EXPECT_EQ(Describe(index.left_out),
            "3 groups without a picture, 1 .gif, 1 .tiff, 2 with several dots in the name");
  WriteIndex(PosixFileSystem(), tar, index);
  ASSERT_TRUE(ReadIndexHead(tar).has_value());
  EXPECT_EQ(Describe(ReadIndexHead(tar)->left_out), Describe(index.left_out));
  EXPECT_EQ(ReadIndexHead(tar)->captions, 1u);
}

TEST_F(TarTest, AnIndexThatSaysWhatCannotBeIsNotBelieved) {
  Write("s.tar", ShardOf(3));
  const PositionedFile tar(Path("s.tar"));
  ShardIndex index = ScanShard(tar);
  const Extent beyond[] = {{tar.size() - 1, 2},
                           {~uint64_t{0} - 1, 8},
                           {1024, ~uint64_t{0}},
                           {uint64_t{1} << 50, 1},
                           {0, 0}};
  for (const Extent& extent : beyond) {
    ShardIndex altered = index;
    altered.samples = {};
    for (SampleEntry entry : index.samples) {
      if (altered.samples.size() == 1) entry.image = extent;
      altered.samples.push_back(entry);
    }
    WriteIndex(PosixFileSystem(), tar, altered);
    EXPECT_FALSE(ReadIndex(tar).has_value()) << extent.offset;
  }
  std::string text = IndexText(tar, index);
  text.replace(text.find("samples=3"), 9, "samples=4000000000000");
  text = text.substr(0, text.size() - 13);
  char trailer[16];
  std::snprintf(trailer, sizeof trailer, "end %08x\n", Crc32c(0, text.data(), text.size()));
  Write("s.tar.index", text + trailer);
  EXPECT_FALSE(ReadIndexHead(tar).has_value());
  EXPECT_FALSE(ReadIndex(tar).has_value());
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
  Write("s.tar.index", "contrail-index 1" + index.substr(16));
  EXPECT_FALSE(ReadIndexHead(PositionedFile(Path("s.tar"))).has_value());
  Write("s.tar.index", "contrail-index 2 new=field" + index.substr(16));
  EXPECT_TRUE(ReadIndexHead(PositionedFile(Path("s.tar"))).has_value());
}

}  // namespace
}  // namespace contrail::data
