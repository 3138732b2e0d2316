#include "eval/embed.h"

#include <ATen/Parallel.h>
#include <gmock/gmock.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <numeric>

#include "common/error.h"
#include "data/dataset.h"
#include "eval/batches.h"
#include "eval/prompts.h"
#include "tests/eval/fixture.h"

namespace contrail::eval {
namespace {

// What h5py makes of the file: shapes, dtypes, keys, and the features as raw fp32 files.
constexpr const char* kReader = R"(
import h5py, sys
with h5py.File(sys.argv[1], 'r') as f:
    for name in ('image_features', 'text_features'):
        print(name, f[name].shape, f[name].dtype)
        f[name][:].tofile(sys.argv[2] + '.' + name)
    print(f.attrs['model'])
    for key in f['image_keys'][:]:
        print(key.decode())
)";

std::string Shell(const std::string& command) {
  FILE* pipe = popen(command.c_str(), "r");
  std::string out;
  char buffer[4096];
  size_t size;
  while ((size = fread(buffer, 1, sizeof buffer, pipe)) > 0) out.append(buffer, size);
  pclose(pipe);
  return out;
}

at::Tensor ReadRaw(const std::string& path, int64_t columns) {
  std::ifstream in(path, std::ios::binary);
  std::vector<char> bytes((std::istreambuf_iterator<char>(in)), {});
  at::Tensor out =
      at::empty({static_cast<int64_t>(bytes.size()) / 4 / columns, columns}, at::kFloat);
  std::memcpy(out.mutable_data_ptr<float>(), bytes.data(), out.numel() * sizeof(float));
  return out;
}

TEST(EmbedTest, H5pyReadsTheModelsFeatures) {
  const c10::InferenceMode guard;
  const PackedPhotos photos(70);
  const auto encoder = FreshEncoder(5, /*batch_size=*/32);
  std::ofstream(photos / "texts.txt") << "a photo of a bag.\na coat\r\n\nsneakers on grass\n";
  const std::string out = photos / "out.h5";
  const EmbedResult result =
      Embed(PosixFileSystem(), *encoder, {photos.dir(), photos / "texts.txt", out});
  EXPECT_EQ(result.images, 70u);
  EXPECT_EQ(result.texts, 4u);

  std::ofstream(photos / "read.py") << kReader;
  const std::string said = Shell(std::string(CONTRAIL_SOURCE_DIR) + "/.venv/bin/python " +
                                 (photos / "read.py") + " " + out + " " + (photos / "raw"));
  EXPECT_THAT(said, testing::StartsWith("image_features (70, 128) float32\n"
                                        "text_features (4, 128) float32\n"));
  const auto dataset = data::Dataset::Open(FindShards(photos.dir()));
  for (uint64_t i = 0; i < dataset->size(); ++i) {
    EXPECT_THAT(said, testing::HasSubstr(dataset->Key(i) + "\n"));
  }

  std::vector<uint64_t> some(32);
  std::iota(some.begin(), some.end(), 32);
  const data::Batch batch =
      data::LoadBatch(*dataset, encoder->tokenizer(),
                      {.resolution = 28, .crop = "center", .captions = false}, 0, some);
  const at::Tensor images = ReadRaw(photos / "raw.image_features", 128);
  EXPECT_TRUE(images.narrow(0, 32, 32).equal(encoder->EncodeImages(batch)));
  const at::Tensor texts = ReadRaw(photos / "raw.text_features", 128);
  EXPECT_TRUE(
      texts.equal(encoder->EncodeTexts({"a photo of a bag.", "a coat", "", "sneakers on grass"})));
  EXPECT_LT((images.norm(2, {1}) - 1).abs().max().item<float>(), 1e-6);
}

TEST(EmbedTest, AFolderOfImagesIsADataSetToo) {
  const c10::InferenceMode guard;
  const PackedPhotos photos(3);
  Shell("cd " + photos.dir() + " && mkdir -p folder/sub && tar xf pairs-000000.tar -C folder && " +
        "mv folder/*2.png folder/sub/");
  const auto encoder = FreshEncoder(5, 32);
  const std::string tars = photos / "tars.h5";
  const std::string folder = photos / "folder.h5";
  Embed(PosixFileSystem(), *encoder, {photos / "pairs-000000.tar", "", tars});
  EXPECT_EQ(Embed(PosixFileSystem(), *encoder, {photos / "folder", "", folder}).images, 3u);
  const std::string same = Shell(std::string(CONTRAIL_SOURCE_DIR) +
                                 "/.venv/bin/python -c \"import h5py; a = h5py.File('" + tars +
                                 "')['image_features'][:]; b = h5py.File('" + folder +
                                 "')['image_features'][:]; print(abs(a - b).max())\"");
  EXPECT_EQ(same, "0.0\n");
}

TEST(EmbedTest, PatternsSpacesAndLinksNameImages) {
  const c10::InferenceMode guard;
  const PackedPhotos photos(3);
  Shell("cd " + photos.dir() +
        " && mkdir 'sp ace' far && cp pairs-000000.tar 'sp ace/a b.tar' && " +
        "tar xf pairs-000000.tar -C far && mkdir folder && ln -s ../far folder/near && " +
        "echo fork > folder/._x.jpg");
  const auto encoder = FreshEncoder(5, 32);
  const auto images = [&](const std::string& what, const std::string& out) {
    return Embed(PosixFileSystem(), *encoder, {photos / what, "", photos / out}).images;
  };
  EXPECT_EQ(images("sp ace/a b.tar", "1.h5"), 3u);
  EXPECT_EQ(images("sp ace/*.tar", "2.h5"), 3u);
  EXPECT_EQ(images("pairs-*.tar", "3.h5"), 3u);
  EXPECT_EQ(images("folder", "4.h5"), 3u);
  EXPECT_EQ(Embed(PosixFileSystem(), *encoder,
                  {photos / "pairs-000000.tar" + " " + (photos / "pairs-000000.tar"), "",
                   photos / "5.h5"})
                .images,
            6u);
}

// A batch is decoded in parts; its samples keep their places whatever the number of threads.
TEST(EmbedTest, ThreadsDoNotChangeABatch) {
  const PackedPhotos photos(37);
  const auto dataset = data::Dataset::Open(FindShards(photos.dir()));
  const auto encoder = FreshEncoder(5, 16);
  const auto load = [&](int threads) {
    at::set_num_threads(threads);
    std::vector<data::Batch> batches;
    std::vector<uint64_t> firsts;
    ForEachBatch(*dataset, encoder->tokenizer(), 28, 16,
                 [&](const data::Batch& batch, uint64_t first) {
                   batches.push_back(batch);
                   firsts.push_back(first);
                 });
    EXPECT_EQ(firsts, (std::vector<uint64_t>{0, 16, 32}));
    return batches;
  };
  const int before = at::get_num_threads();
  const auto one = load(1), five = load(5);
  at::set_num_threads(before);
  ASSERT_EQ(one.size(), five.size());
  for (size_t i = 0; i < one.size(); ++i) {
    EXPECT_EQ(one[i].num_samples, five[i].num_samples);
    EXPECT_EQ(one[i].images, five[i].images);
    EXPECT_EQ(one[i].labels, five[i].labels);
    EXPECT_EQ(one[i].keys, five[i].keys);
  }
}

TEST(EmbedTest, LeavesNothingBehindWhereItFails) {
  const c10::InferenceMode guard;
  const PackedPhotos photos(3);
  const auto encoder = FreshEncoder(5, 32);
  const auto id_of = [&](const EmbedOptions& options) -> std::string {
    try {
      Embed(PosixFileSystem(), *encoder, options);
    } catch (const Error& error) {
      return error.id();
    }
    return "";
  };
  std::ofstream(photos / "torn.png") << "no image";
  std::filesystem::create_directory(photos / "bad");
  std::filesystem::rename(photos / "torn.png", photos / "bad/torn.png");
  EXPECT_EQ(id_of({photos / "bad", "", photos / "a.h5"}), "E-DATA-IMAGE");
  EXPECT_EQ(id_of({"", photos / "none.txt", photos / "a.h5"}), "E-EMBED-TEXTS");
  std::ofstream(photos / "wide.txt") << std::string(
      "\xff\xfe"
      "a\0\n\0",
      6);
  EXPECT_EQ(id_of({"", photos / "wide.txt", photos / "a.h5"}), "E-DATA-ENCODING");
  std::filesystem::create_symlink("loop.png", photos / "bad/loop.png");
  EXPECT_EQ(id_of({photos / "bad", "", photos / "a.h5"}), "E-DATA-FOLDER");
  std::filesystem::remove(photos / "bad/loop.png");
  EXPECT_EQ(id_of({photos.dir(), "", photos / "no/dir/a.h5"}), "E-OUT-DIR");
  EXPECT_FALSE(std::filesystem::exists(photos / "a.h5"));
  for (const auto& entry : std::filesystem::directory_iterator(photos.dir())) {
    EXPECT_EQ(entry.path().string().find("a.h5"), std::string::npos) << entry.path();
  }
  std::ofstream(photos / "mine.h5") << "precious";
  EXPECT_EQ(id_of({photos.dir(), "", photos / "mine.h5"}), "E-OUT-EXISTS");
  EXPECT_EQ(std::filesystem::file_size(photos / "mine.h5"), 8u);
}

}  // namespace
}  // namespace contrail::eval
