// Packing, checking and the data commands, on real photos where the machine has them.

#include "data/pack.h"
#include "data/shard_list.h"

#include <gmock/gmock.h>
#include <unistd.h>
#include <zlib.h>

#include <filesystem>
#include <set>

#include <nlohmann/json.hpp>

#include "common/recording_file_system.h"
#include "common/strings.h"
#include "configs/cli.h"
#include "data/check.h"
#include "data/commands.h"
#include "data/dataset.h"
#include "data/names.h"
#include "tests/data/helpers.h"
#include "tests/data/open_counter.h"

namespace contrail::data {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

const std::string kPresets = CONTRAIL_SOURCE_DIR "/configs/presets/";
const std::string kFashion = "/usr/share/datasets/fashion-mnist/";

std::string Header(uint8_t dimensions, const std::vector<uint32_t>& shape) {
  std::string out{'\0', '\0', '\x08', static_cast<char>(dimensions)};
  for (const uint32_t n : shape) {
    for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(n >> shift);
  }
  return out;
}

class PackTest : public ScratchTest {
 protected:
  // 10 pictures of 2 x 3 bytes of the classes 0, 1, 2, 0, 1, ...
  PackOptions Idx() const {
    std::string pixels;
    std::string labels;
    for (int i = 0; i < 10; ++i) {
      pixels += std::string(6, static_cast<char>(i));
      labels += static_cast<char>(i % 3);
    }
    Write("images", Header(3, {10, 2, 3}) + pixels);
    Write("labels", Header(1, {10}) + labels);
    Write("classes", "cat\ndog\n\nbird\n");
    Write("templates", "a {}.\nthe {c}!\n");
    PackOptions options;
    options.out = Path("out");
    options.images = Path("images");
    options.labels = Path("labels");
    options.classes = Path("classes");
    options.templates = Path("templates");
    options.shard_samples = 4;
    return options;
  }
  std::string PackError(const PackOptions& options) const {
    return MessageOf([&] { Pack(PosixFileSystem(), options); });
  }
  std::vector<std::string> Listing(const std::string& name) const {
    return PosixFileSystem().List(Path(name));
  }
};

TEST_F(PackTest, IdxPair) {
  const PackResult result = Pack(PosixFileSystem(), Idx());
  EXPECT_EQ(result.samples, 10u);
  EXPECT_THAT(
      Listing("out"),
      ElementsAre("classnames.txt", "contrail.index", "pairs-000000.tar", "pairs-000000.tar.index",
                  "pairs-000001.tar", "pairs-000001.tar.index", "pairs-000002.tar",
                  "pairs-000002.tar.index", "zeroshot_classification_templates.txt"));
  EXPECT_EQ(Contents("out/classnames.txt"), "cat\ndog\nbird\n");
  EXPECT_EQ(Contents("out/zeroshot_classification_templates.txt"), "a {c}.\nthe {c}!\n");
  const auto dataset = Dataset::Open({Path("out")});
  EXPECT_EQ(dataset->shard_sizes(), (std::vector<uint64_t>{4, 4, 2}));
  const std::vector<std::string> names = {"cat", "dog", "bird"};
  for (uint64_t i = 0; i < 10; ++i) {
    const Dataset::Sample sample = dataset->Read(i);
    EXPECT_EQ(sample.label, static_cast<int64_t>(i % 3));
    const std::string& name = names[i % 3];
    EXPECT_TRUE(sample.caption == "a " + name + "." || sample.caption == "the " + name + "!");
    const Image image = DecodeImage(sample.image, "");
    EXPECT_EQ(image.width, 3);
    EXPECT_EQ(image.height, 2);
    EXPECT_EQ(image.pixels, std::vector<uint8_t>(18, static_cast<uint8_t>(i)));
  }
}

TEST_F(PackTest, SameInputSameBytes) {
  PackOptions options = Idx();
  const PackResult first = Pack(PosixFileSystem(), options);
  options.out = Path("again");
  Pack(PosixFileSystem(), options);
  for (const std::string& path : first.shards) {
    const std::string name = path.substr(path.rfind('/'));
    EXPECT_EQ(Contents("out" + name), Contents("again" + name));
  }
  options.out = Path("seeded");
  options.seed = 1;
  Pack(PosixFileSystem(), options);
  EXPECT_NE(Contents("out/pairs-000000.tar"), Contents("seeded/pairs-000000.tar"));
}

TEST_F(PackTest, FashionMnistWhole) {
  if (!std::filesystem::exists(kFashion)) GTEST_SKIP() << "no " << kFashion;
  PackOptions options;
  options.out = Path("fashion");
  options.images = kFashion + "t10k-images-idx3-ubyte.gz";
  options.labels = kFashion + "t10k-labels-idx1-ubyte.gz";
  options.classes = kPresets + "fashion_classnames.txt";
  options.templates = kPresets + "fashion_templates.txt";
  options.limit = 3000;
  EXPECT_EQ(Pack(PosixFileSystem(), options).samples, 3000u);
  // webdataset's own view of a sample, through Python's tarfile and Pillow.
  const std::string first = Python(R"(
import gzip, io, sys, tarfile
from PIL import Image
pixels = gzip.open(sys.argv[2]).read()[16:]
with tarfile.open(sys.argv[1]) as tar:
    names = tar.getnames()
    for i in (0, 1, 2999):
        image = Image.open(tar.extractfile(f"{i:06d}.png"))
        assert image.size == (28, 28) and image.tobytes() == pixels[i * 784:(i + 1) * 784]
    print(len(names), names[:3])
)",
                                   {Path("fashion/pairs-000000.tar"), options.images});
  EXPECT_EQ(first, "9000 ['000000.png', '000000.txt', '000000.cls']\n");
  const auto tokenizer = Tokenizer::Load();
  const CheckReport report = CheckDataset(*Dataset::Open({Path("fashion")}), *tokenizer, 2);
  EXPECT_EQ(report.samples, 3000u);
  EXPECT_EQ(report.labelled, 3000u);
  EXPECT_TRUE(report.broken.empty());
  EXPECT_GT(report.mean_tokens(), 5);
  EXPECT_LT(report.mean_tokens(), 16);
}

TEST_F(PackTest, Folder) {
  Write("in/b/2.PNG", NoisePng(4, 4, 2));
  Write("in/b/2.txt", " second \n");
  Write("in/a.with.dots.png", NoisePng(4, 4, 1));
  Write("in/a.with.dots.txt", "first");
  Write("in/a.with.dots.cls", "3\n");
  Write("in/notes.md", "not a picture");
  PackOptions options;
  options.out = Path("out");
  options.folder = Path("in");
  options.name = "mine";
  EXPECT_EQ(Pack(PosixFileSystem(), options).samples, 2u);
  const auto dataset = Dataset::Open({Path("out/mine-000000.tar")});
  ASSERT_EQ(dataset->size(), 2u);
  const uint64_t first = dataset->Read(0).caption == "first" ? 0 : 1;
  EXPECT_EQ(dataset->Read(first).caption, "first");
  EXPECT_EQ(dataset->Read(first).label, 3);
  EXPECT_EQ(dataset->Read(first).image, NoisePng(4, 4, 1));
  EXPECT_EQ(dataset->Read(1 - first).caption, "second");
  EXPECT_EQ(dataset->Read(1 - first).label, -1);
  EXPECT_THAT(Contents("out/mine-000000.tar"), HasSubstr(R"({"source":"b/2.PNG"})"));
}

TEST_F(PackTest, FolderTellsWhatItLeftOut) {
  Write("in/1.webp", "content decides when it is read");
  Write("in/1.json", R"({"text": "one"})");
  Write("in/2.gif", "G");
  Write("in/3.BMP", "B");
  Write("in/._1.jpg", "a resource fork");
  Write("in/.DS_Store", "x");
  Write("far/4.jpg", "J");
  Write("far/4.json", "{\"text\": \"caf\xe9\"}");
  Write("far/4.cls", "4");
  std::filesystem::create_directory_symlink(Path("far"), Path("in/linked"));
  PackOptions options;
  options.out = Path("out");
  options.folder = Path("in");
  options.caption_key = "json:text";
  EXPECT_THAT(PackError(options), HasSubstr("E-DATA-JSON: " + Path("in/linked/4.json")));
  Write("far/4.json", "{\"text\": \"four\"}");
  const PackResult result = Pack(PosixFileSystem(), options);
  EXPECT_EQ(result.samples, 2u);
  EXPECT_EQ(Describe(result.notes.left_out), "1 .gif, 1 .bmp");
  const auto dataset = Dataset::Open({Path("out")});
  EXPECT_THAT((std::vector{dataset->Read(0).caption, dataset->Read(1).caption}),
              testing::UnorderedElementsAre("one", "four"));
}

TEST_F(PackTest, LinksAndFoldersThatCannotBeFollowedAreNamed) {
  Write("in/1.jpg", "J");
  Write("in/1.txt", "one");
  PackOptions options;
  options.out = Path("out");
  options.folder = Path("in");
  const auto with_link = [&](const std::string& target, const std::string& name) {
    std::filesystem::create_symlink(target, Path(name));
    const std::string message = PackError(options);
    std::filesystem::remove(Path(name));
    EXPECT_FALSE(std::filesystem::exists(Path("out")));
    return message;
  };
  EXPECT_THAT(with_link("self.jpg", "in/self.jpg"),
              AllOf(HasSubstr("E-DATA-FOLDER: " + Path("in/self.jpg")), HasSubstr("to itself")));
  EXPECT_THAT(with_link("/nonexistent/gone.jpg", "in/gone.jpg"), HasSubstr("that is not there"));
  std::filesystem::create_directory(Path("in/sub"));
  EXPECT_THAT(with_link("..", "in/sub/parent"),
              AllOf(HasSubstr("E-DATA-FOLDER: " + Path("in/sub/parent")),
                    HasSubstr("leads back to a folder above it")));
  std::filesystem::permissions(Path("in/sub"), std::filesystem::perms::none);
  const uid_t user = ::geteuid();
  std::filesystem::permissions(Path(""), std::filesystem::perms::all);
  if (user == 0) {
    ASSERT_EQ(::seteuid(65534), 0);  // root may read everything
  }
  options.out = Path("");
  const std::string message = PackError(options);
  if (user == 0) {
    ASSERT_EQ(::seteuid(user), 0);
  }
  std::filesystem::permissions(Path("in/sub"), std::filesystem::perms::all);
  EXPECT_THAT(message, AllOf(HasSubstr(Path("in/sub")), HasSubstr("Permission denied")));
}

TEST_F(PackTest, OtherEncodingsAreTold) {
  Write("in/1.jpg", "J");
  Write("in/1.txt", "smart quote \x92s");
  PackOptions options;
  options.out = Path("out");
  options.folder = Path("in");
  const PackResult result = Pack(PosixFileSystem(), options);
  EXPECT_EQ(result.notes.not_utf8, 1u);
  EXPECT_EQ(result.notes.first_not_utf8, Path("in/1.txt"));
  EXPECT_EQ(result.notes.empty, 0u);
  options.name = "other";
  Write("in/1.txt", std::string("\xff\xfeo\0n\0e\0", 8));
  EXPECT_THAT(PackError(options), AllOf(HasSubstr("E-DATA-ENCODING: " + Path("in/1.txt")),
                                        HasSubstr("UTF-16"), HasSubstr("iconv")));
  options.folder = "";
  options.csv = Path("t.csv");
  Write("t.csv", std::string("\xff\xfe"
                             "f\0i\0l\0e\0",
                             10));
  EXPECT_THAT(PackError(options), HasSubstr("E-DATA-ENCODING: " + Path("t.csv")));
  Write("t.csv", "file,text\nin/1.jpg,it\x92s\n");
  options.name = "table";
  EXPECT_EQ(Pack(PosixFileSystem(), options).notes.first_not_utf8, Path("t.csv:2"));
  Write("t.csv", "file,text\nin/1.jpg,one\nin/1.jpg, \n");
  options.name = "blank";
  EXPECT_EQ(Pack(PosixFileSystem(), options).notes.first_empty, Path("t.csv:3"));
}

// Names sort by class; shards of a class each would make batches of a class each.
TEST_F(PackTest, AFolderOfClassesIsShuffled) {
  for (int i = 0; i < 200; ++i) {
    const std::string name = "in/" + std::to_string(10 + i / 20) + "/" + std::to_string(100 + i);
    Write(name + ".png", NoisePng(3, 3, static_cast<uint64_t>(i)));
    Write(name + ".cls", std::to_string(i / 20));
  }
  PackOptions options;
  options.folder = Path("in");
  options.shard_samples = 50;
  const auto labels_of = [&](const std::string& out, uint64_t seed) {
    options.out = Path(out);
    options.seed = seed;
    Pack(PosixFileSystem(), options);
    std::vector<int64_t> labels;
    const auto dataset = Dataset::Open({Path(out)});
    for (uint64_t i = 0; i < dataset->size(); ++i) labels.push_back(dataset->Read(i).label);
    return labels;
  };
  const std::vector<int64_t> labels = labels_of("a", 1);
  EXPECT_EQ(labels_of("again", 1), labels);
  EXPECT_NE(labels_of("other", 2), labels);
  ASSERT_EQ(labels.size(), 200u);
  for (int64_t label = 0; label < 10; ++label) {
    EXPECT_EQ(std::count(labels.begin(), labels.end(), label), 20);
  }
  for (size_t shard = 0; shard < 4; ++shard) {
    const auto begin = labels.begin() + static_cast<std::ptrdiff_t>(shard * 50);
    EXPECT_GE(std::set<int64_t>(begin, begin + 50).size(), 9u);
  }
}

TEST_F(PackTest, Tables) {
  Write("pictures/1.png", NoisePng(4, 4, 1));
  Write("pictures/2.png", NoisePng(4, 4, 2));
  Write("t.csv",
        "id,filepath,caption\r\n7,pictures/1.png,\"one, "
        "\"\"quoted\"\"\"\r\n\r\n8,pictures/2.png,two\r\n");
  Write("t.tsv", "filepath\ttitle\npictures/2.png\ta, b\n");
  PackOptions options;
  options.out = Path("out");
  options.csv = Path("t.csv");
  Pack(PosixFileSystem(), options);
  options.name = "tsv";
  options.csv = Path("t.tsv");
  Pack(PosixFileSystem(), options);
  const auto csv = Dataset::Open({Path("out/pairs-000000.tar")});
  EXPECT_EQ(csv->Read(0).caption, "one, \"quoted\"");
  EXPECT_EQ(csv->Read(1).image, NoisePng(4, 4, 2));
  EXPECT_EQ(Dataset::Open({Path("out/tsv-000000.tar")})->Read(0).caption, "a, b");
}

TEST_F(PackTest, MistakesAreNamedAndNothingIsWritten) {
  const PackOptions good = Idx();
  const auto with = [&](auto change) {
    PackOptions options = good;
    change(options);
    const std::string message = PackError(options);
    EXPECT_FALSE(std::filesystem::exists(Path("out"))) << message;
    return message;
  };
  EXPECT_THAT(with([](auto& o) { o.images = o.labels = ""; }),
              AllOf(HasSubstr("E-DATA-SOURCE"), HasSubstr("no source given")));
  EXPECT_THAT(with([](auto& o) { o.folder = "x"; }), HasSubstr("more than one source"));
  EXPECT_THAT(with([](auto& o) { o.classes = ""; }), HasSubstr("--images, --labels and --classes"));
  EXPECT_THAT(with([&](auto& o) { o.images = Path("none.gz"); }),
              AllOf(HasSubstr("E-DATA-IDX: " + Path("none.gz")), HasSubstr("No such file")));
  EXPECT_THAT(with([](auto& o) { o.images = o.labels; }),
              HasSubstr("not an IDX file of bytes with 3 or 4 dimensions"));
  Write("short", Header(3, {10, 2, 3}) + "abc");
  EXPECT_THAT(with([&](auto& o) { o.images = Path("short"); }),
              HasSubstr("its header promises 60 bytes, it holds 3"));
  Write("wraps", Header(3, {1u << 26, 1u << 19, 1u << 19}));
  EXPECT_THAT(with([&](auto& o) { o.images = Path("wraps"); }),
              AllOf(HasSubstr("E-DATA-IDX"), HasSubstr("promises more than 2^64 bytes")));
  Write("wide", Header(3, {0, 2, 1u << 31}));
  Write("none", Header(1, {0}));
  EXPECT_THAT(with([&](auto& o) {
                o.images = Path("wide");
                o.labels = Path("none");
              }),
              AllOf(HasSubstr("E-DATA-IDX"), HasSubstr("too large")));
  Write("nine", Header(1, {9}) + std::string(9, '\0'));
  EXPECT_THAT(with([&](auto& o) { o.labels = Path("nine"); }), HasSubstr("9 labels for 10 images"));
  Write("two", "cat\ndog\n");
  EXPECT_THAT(
      with([&](auto& o) { o.classes = Path("two"); }),
      AllOf(HasSubstr("E-DATA-NAMES"), HasSubstr("2 class names, but image 2 has label 2")));
  Write("twice", "cat\ndog\ncat\n");
  EXPECT_THAT(with([&](auto& o) { o.classes = Path("twice"); }),
              HasSubstr("twice:3: class 'cat' stands there twice"));
  Write("flat", "a {}.\na photo.\n");
  EXPECT_THAT(with([&](auto& o) { o.templates = Path("flat"); }),
              HasSubstr("flat:2: a template without {}"));
  const auto only = [&](auto change) {
    return with([&](auto& o) {
      o.images = o.labels = "";
      change(o);
    });
  };
  EXPECT_THAT(only([&](auto& o) { o.folder = Path("nowhere"); }), HasSubstr("E-DATA-MISSING"));
  std::filesystem::create_directory(Path("bare"));
  EXPECT_THAT(only([&](auto& o) { o.folder = Path("bare"); }), HasSubstr("E-DATA-EMPTY"));
  Write("mute/1.png", "x");
  EXPECT_THAT(only([&](auto& o) { o.folder = Path("mute"); }),
              AllOf(HasSubstr("E-DATA-CAPTION: " + Path("mute/1.png")), HasSubstr("1.txt")));
  Write("columns.csv", "a,b\n1,2\n");
  EXPECT_THAT(only([&](auto& o) { o.csv = Path("columns.csv"); }),
              AllOf(HasSubstr("columns.csv:1: no column named filepath"), HasSubstr("a, b")));
  Write("fields.csv", "filepath,title\nx.png,\"a\nb\"\nx.png,a,b\n");
  Write("x.png", "x");
  EXPECT_THAT(only([&](auto& o) { o.csv = Path("fields.csv"); }),
              HasSubstr("fields.csv:4: 3 fields, the header has 2"));
  Write("quote.csv", "filepath,title\nx.png,\"a\n");
  EXPECT_THAT(only([&](auto& o) { o.csv = Path("quote.csv"); }), HasSubstr("quote.csv:2"));
  Write("lost.csv", "filepath,title\nlost.png,a\n");
  EXPECT_THAT(
      only([&](auto& o) { o.csv = Path("lost.csv"); }),
      AllOf(HasSubstr("E-DATA-MISSING: " + Path("lost.csv") + ":2"), HasSubstr("lost.png")));
}

TEST_F(PackTest, AnExistingSetIsLeftAlone) {
  PackOptions options = Idx();
  Pack(PosixFileSystem(), options);
  const std::string before = Contents("out/pairs-000000.tar");
  options.seed = 9;
  EXPECT_THAT(PackError(options), HasSubstr("E-DATA-EXISTS: " + Path("out/pairs-000000.tar")));
  EXPECT_EQ(Contents("out/pairs-000000.tar"), before);
}

// Every operation in turn meets a full disk: create, write, fsync, close, rename.
TEST_F(PackTest, AFullDiskLeavesNothingBehind) {
  const PackOptions options = Idx();
  uint64_t failures = 0;
  for (uint64_t operation = 1; operation < 1000; ++operation) {
    FaultyFileSystem disk(PosixFileSystem(), operation, /*for_good=*/false);
    const std::string message = MessageOf([&] { Pack(disk, options); });
    if (message.empty()) break;
    ++failures;
    EXPECT_THAT(message, AllOf(HasSubstr("E-IO: " + Path("out")), HasSubstr("No space left")));
    EXPECT_FALSE(std::filesystem::exists(Path("out"))) << "operation " << operation;
  }
  EXPECT_GT(failures, 30u);  // 3 shards, 3 indexes, 2 texts: 4 operations and a rename each
  EXPECT_EQ(Dataset::Open({Path("out")})->size(), 10u);  // and then it went through
}

class DataCommands : public PackTest {
 protected:
  // stdout of `contrail ARGS...`.
  std::string Run(const std::vector<std::string>& args, int expected = 0) const {
    testing::internal::CaptureStdout();
    const int code = RunDataCommand(ParseArgs(CommandTable(), args));
    const std::string out = testing::internal::GetCapturedStdout();
    EXPECT_EQ(code, expected) << out;
    return out;
  }
};

TEST_F(DataCommands, PackIndexCheck) {
  Idx();
  Run({"data", "pack", Path("set"), "--images", Path("images"), "--labels", Path("labels"),
       "--classes", Path("classes"), "--shard-samples", "6", "--limit", "9", "--name", "x"});
  const std::string index = Contents("set/x-000001.tar.index");
  std::filesystem::remove(Path("set/x-000001.tar.index"));
  Run({"data", "index", Path("set/x-{000000..000001}.tar")});
  EXPECT_EQ(Contents("set/x-000001.tar.index"), index);
  const auto json = nlohmann::json::parse(Run({"data", "check", Path("set"), "--json"}));
  EXPECT_EQ(json["samples"], 9);
  EXPECT_EQ(json["shards"], 2);
  EXPECT_EQ(json["labelled"], 9);
  EXPECT_EQ(json["undecodable"].size(), 0u);
  EXPECT_EQ(json["mean_tokens"], 8.0);  // "a photo of a cat." is 6 tokens between start and end
  EXPECT_EQ(json["token_histogram"][8], 9);
}

// A data set on a file system that cannot be written: indexes elsewhere, by the shards' own paths.
TEST_F(DataCommands, IndexesMayLieElsewhere) {
  Write("one/p.tar", ShardOf(3));
  Write("two/p.tar", ShardOf(4, 3));
  Write("two/q.tar", ShardOf(5, 7));
  Run({"data", "index", "--index-dir", Path("indexes"), Path("one"), Path("two")});
  EXPECT_THAT(Listing("one"), ElementsAre("p.tar"));
  EXPECT_THAT(Listing("two"), ElementsAre("p.tar", "q.tar"));
  EXPECT_THAT(Listing("indexes" + Path("two")),
              ElementsAre("contrail.index", "p.tar.index", "q.tar.index"));
  OpenCounter one(Path("one"));
  OpenCounter two(Path("two"));
  const auto dataset = Dataset::Open({Path("one"), Path("two")}, {}, {}, Path("indexes"));
  EXPECT_EQ(dataset->size(), 12u);
  EXPECT_EQ(dataset->Read(11).caption, "sample number 11");
  EXPECT_TRUE(one.Take().empty());
  EXPECT_EQ(two.Take(), (std::map<std::string, int>{{"q.tar", 1}}));
  Write("run.toml",
        "[data]\ntrain = [\"one\", \"two\"]\nindex_dir = \"indexes\"\n[train]\nsteps = 1\n");
  EXPECT_EQ(Split(Run({"data", "order", Path("run.toml")}), '\n').size(), 13u);
  EXPECT_TRUE(one.Take()["p.tar.index"] == 0);
  const auto json = nlohmann::json::parse(
      Run({"data", "check", Path("one"), "--json", "--index-dir", Path("indexes")}));
  EXPECT_EQ(json["samples"], 3);
}

// The list keeps what it says of shards that this command is not about, and drops those that went.
TEST_F(DataCommands, IndexKeepsTheListOfAFolder) {
  for (const char* name : {"a.tar", "b.tar", "c d%.tar"})
    Write(std::string("set/") + name, ShardOf(2));
  Run({"data", "index", Path("set")});
  std::filesystem::remove(Path("set/a.tar"));
  Write("set/e.tar", ShardOf(3));
  Run({"data", "index", Path("set/e.tar")});
  std::vector<std::string> names;
  for (const auto& [name, line] : ReadShardList(Path("set"))) names.push_back(name);
  EXPECT_THAT(names, ElementsAre("b.tar", "c d%.tar", "e.tar"));
}

TEST_F(DataCommands, CheckListsWhatIsBroken) {
  Write("bad.tar", MakeTar({{"1.png", NoisePng(3, 3, 1)},
                            {"2.png", NoisePng(3, 3, 1).substr(0, 50)},
                            {"2.txt", "   "},
                            {"3.jpg", "?"},
                            {"3.txt", std::string(400, '1')}}));
  const std::string text =
      Run({"data", "check", Path("bad.tar"), "--max-empty-captions", "1"}, kExitUser);
  EXPECT_THAT(text, AllOf(HasSubstr("undecodable images  2\n"),
                          HasSubstr("missing captions    2, first bad.tar/1\n"),
                          HasSubstr("cut at 77 tokens    1\n"), HasSubstr("bad.tar/2: undecodable"),
                          HasSubstr("bad.tar/3: undecodable image: neither")));
  const auto json = nlohmann::json::parse(
      Run({"data", "check", Path("bad.tar"), "--json", "--max-empty-captions", "1"}, kExitUser));
  EXPECT_EQ(json["undecodable"][0]["key"], "bad.tar/2");
}

TEST_F(DataCommands, CheckStopsAtMissingCaptions) {
  Write("half.tar", MakeTar({{"1.png", NoisePng(3, 3, 1)},
                             {"2.png", NoisePng(3, 3, 2)},
                             {"2.txt", "caf\xe9"},
                             {"2.json", R"({"text": "two"})"},
                             {"3.gif", "G"}}));
  EXPECT_THAT(MessageOf([&] {
                Run({"data", "check", Path("half.tar")});
              }),
              AllOf(HasSubstr("E-DATA-NO-CAPTIONS"), HasSubstr("1 of 2 samples")));
  EXPECT_THAT(testing::internal::GetCapturedStdout(),
              AllOf(HasSubstr("missing captions    1, first half.tar/1\n"),
                    HasSubstr("passed over         1 group without a picture, 1 .gif\n"),
                    HasSubstr("captions not UTF-8  1, first half.tar/2 is not UTF-8")));
  Run({"data", "check", Path("half.tar"), "--max-empty-captions", "0.5"});
  Run({"data", "check", Path("half.tar"), "--max-empty-captions", "0.5", "--caption-key",
       "json:text"});
  EXPECT_THAT(MessageOf([&] {
                Run({"data", "check", Path("half.tar"), "--max-empty-captions", "2"});
              }),
              HasSubstr("E-CLI-VALUE: --max-empty-captions"));
  testing::internal::GetCapturedStdout();
  // Classes instead of captions: a set to evaluate with.
  Write("classes.tar", MakeTar({{"1.png", NoisePng(3, 3, 1)}, {"1.cls", "0"}}));
  Run({"data", "check", Path("classes.tar")});
}

TEST_F(DataCommands, OrderIsTheLoaders) {
  Idx();
  Write("p-0.tar", ShardOf(20));
  Write("p-1.tar", ShardOf(13, 20));
  Write("run.toml",
        "[run]\nseed = 4\n[data]\ntrain = [\"p-{0..1}.tar\"]\nshuffle_window = 8\n"
        "[train]\nsteps = 1\nglobal_batch_size = 8\n");
  const auto dataset = Dataset::Open({Path("p-{0..1}.tar")});
  const SampleOrder order(4, dataset->shard_sizes(), 8);
  std::string expected;
  for (uint64_t i = 5; i < 16; ++i) expected += dataset->Key(order.At(2, i)) + "\n";
  EXPECT_EQ(
      Run({"data", "order", Path("run.toml"), "--epoch", "2", "--from", "5", "--count", "11"}),
      expected);
  EXPECT_EQ(Split(Run({"data", "order", Path("run.toml")}), '\n').size(), 34u);
  EXPECT_THAT(MessageOf([&] {
                Run({"data", "order", Path("run.toml"), "--from", "33"});
              }),
              HasSubstr("E-CLI-VALUE: --from: an epoch has positions 0 to 32"));
  testing::internal::GetCapturedStdout();
}

TEST(Names, TemplatesAreFilledOnce) {
  EXPECT_EQ(FillTemplate("a {} or {}", "cat"), "a cat or {}");
  EXPECT_EQ(ReadClassNames(kPresets + "fashion_classnames.txt").size(), 10u);
  EXPECT_GE(ReadTemplates(kPresets + "fashion_templates.txt").size(), 8u);
}

}  // namespace
}  // namespace contrail::data
