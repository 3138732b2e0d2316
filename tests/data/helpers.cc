#include "tests/data/helpers.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "common/rng.h"
#include "data/tar.h"

namespace contrail::data {

void ScratchTest::SetUp() {
  std::string pattern = testing::TempDir() + "contrail_data_XXXXXX";
  ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
  folder_ = pattern;
}

void ScratchTest::TearDown() { std::filesystem::remove_all(folder_); }

void ScratchTest::Write(const std::string& name, const std::string& bytes) const {
  std::filesystem::create_directories(std::filesystem::path(Path(name)).parent_path());
  std::ofstream(Path(name), std::ios::binary) << bytes;
}

std::string ScratchTest::Contents(const std::string& name) const {
  std::ifstream file(Path(name), std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string MakeTar(const std::vector<std::pair<std::string, std::string>>& members) {
  std::string tar;
  for (const auto& [name, contents] : members) {
    tar += TarHeader(name, contents.size()) + contents;
    tar.append(TarPadding(contents.size()), '\0');
  }
  return tar.append(2 * kTarBlock, '\0');
}

Image NoisePicture(int width, int height, uint64_t seed) {
  Image image;
  image.width = width;
  image.height = height;
  RandomStream draws(seed, static_cast<uint64_t>(width), static_cast<uint64_t>(height));
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < 3; ++c) {
        const int smooth = (x * (c + 2) + y * (5 - c)) % 200;
        image.pixels.push_back(
            static_cast<uint8_t>(smooth + static_cast<int>(draws.NextBelow(56))));
      }
    }
  }
  return image;
}

std::string NoisePng(int width, int height, uint64_t seed) {
  return EncodePng(NoisePicture(width, height, seed).pixels.data(), width, height, 3);
}

std::string ShardOf(int count, int first) {
  std::vector<std::pair<std::string, std::string>> members;
  for (int i = first; i < first + count; ++i) {
    char key[16];
    std::snprintf(key, sizeof key, "%06d", i);
    members.emplace_back(key + std::string(".png"), NoisePng(6, 5, static_cast<uint64_t>(i)));
    members.emplace_back(key + std::string(".txt"), "sample number " + std::to_string(i));
    members.emplace_back(key + std::string(".cls"), std::to_string(i % 10));
  }
  return MakeTar(members);
}

std::string Python(const std::string& code, const std::vector<std::string>& arguments) {
  const std::string script = testing::TempDir() + "contrail_" + std::to_string(::getpid()) + ".py";
  std::ofstream(script) << code;
  std::string command = CONTRAIL_SOURCE_DIR "/.venv/bin/python -W ignore '" + script + "'";
  for (const std::string& argument : arguments) command += " '" + argument + "'";
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  std::string output;
  char buffer[65536];
  for (size_t n; (n = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) output.append(buffer, n);
  const int status = ::pclose(pipe);
  EXPECT_EQ(status, 0) << output;
  std::filesystem::remove(script);
  return output;
}

}  // namespace contrail::data
