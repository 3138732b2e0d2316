#pragma once
// What the data tests share: a scratch folder, small shards, the Python reference.

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "common/error.h"
#include "data/image.h"

namespace contrail::data {

// A folder of its own for each test, removed afterwards.
class ScratchTest : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;
  std::string Path(const std::string& name) const { return folder_ + "/" + name; }
  void Write(const std::string& name, const std::string& bytes) const;
  std::string Contents(const std::string& name) const;

 private:
  std::string folder_;
};

// A tar of (member name, contents), with its end marker.
std::string MakeTar(const std::vector<std::pair<std::string, std::string>>& members);

// A picture of smooth colours and noise, the same for the same seed.
Image NoisePicture(int width, int height, uint64_t seed);
std::string NoisePng(int width, int height, uint64_t seed);

// `count` samples "000000".. with a 6 x 5 picture, a caption naming the sample and a class.
std::string ShardOf(int count, int first = 0);

// Runs Python code with the tree's virtual environment; its arguments are sys.argv[1:]. Fails the
// test with the output where it fails. Gives stdout.
std::string Python(const std::string& code, const std::vector<std::string>& arguments);

// what() of the Error thrown by `act`, "" where nothing is thrown.
template <typename Act>
std::string MessageOf(Act act) {
  try {
    act();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace contrail::data
