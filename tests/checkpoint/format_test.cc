#include "checkpoint/format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "checkpoint/hdf5_environment.h"
#include "common/error.h"
#include "common/hash.h"
#include "tests/checkpoint/fixture.h"

namespace contrail::ckpt {
namespace {

using testing::HasSubstr;

Manifest Example() {
  Manifest manifest;
  manifest.state = StateOf(12, MakeWorld(1, 10, 1, 1));
  manifest.layout.tensors = {{"a", {}, 0, 1}, {"b", {3, 2}, 1, 6}};
  manifest.layout.num_elements = 7;
  ShardInfo shard;
  shard.file = "shard_00000.h5";
  shard.file_bytes = 8192;
  shard.skeleton_crc = 0xffffffff;
  shard.parts = {{0, {{4, 7}, {0, 4}}, {4096, 5000, 6000}, {{{1u}, {2u}, {3u}}}}};
  manifest.shards = {shard};
  manifest.buffers = {3000, 77, {{"bn.running_mean", {4}, 2048}}};
  manifest.lineage = LineageOf(manifest);
  return manifest;
}

// COMMIT with its JSON changed and its checksum right again.
std::string Edited(const std::function<void(nlohmann::json&)>& edit) {
  const std::string text = EncodeManifest(Example());
  nlohmann::json json = nlohmann::json::parse(text.substr(0, text.find('\n')));
  edit(json);
  const std::string body = json.dump() + "\n";
  char line[32];
  std::snprintf(line, sizeof line, "crc32c %08x\n", Crc32c(0, body.data(), body.size()));
  return body + line;
}

std::string DecodeError(const std::string& text, const std::string& id) {
  try {
    DecodeManifest(text, "x/COMMIT");
  } catch (const Error& error) {
    EXPECT_EQ(error.id(), id) << error.what();
    EXPECT_THAT(error.what(), HasSubstr("x/COMMIT"));
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

TEST(Format, ManifestRoundTrip) {
  const Manifest manifest = Example();
  const std::string text = EncodeManifest(manifest);
  EXPECT_TRUE(ManifestIsWhole(text));
  const Manifest read = DecodeManifest(text, "x/COMMIT");
  EXPECT_EQ(EncodeManifest(read), text);
  EXPECT_EQ(LineageOf(read), manifest.lineage);
}

// What older programs did not write is as they had it, and does not change a step's lineage.
TEST(Format, WhatBitsDependOnIsOptional) {
  Manifest manifest = Example();
  manifest.state.mean_std = "half";
  manifest.state.micro_batch = 8;
  manifest.state.instruction_sets = "avx2+avx512";
  const RunState read = DecodeManifest(EncodeManifest(manifest), "x/COMMIT").state;
  EXPECT_EQ(read.mean_std, "half");
  EXPECT_EQ(read.micro_batch, 8u);
  EXPECT_EQ(read.instruction_sets, "avx2+avx512");
  EXPECT_NE(LineageOf(manifest), Example().lineage) << "another function was trained";
  manifest.state.mean_std = "clip";
  EXPECT_EQ(LineageOf(manifest), Example().lineage);

  const RunState older = DecodeManifest(EncodeManifest(Example()), "x/COMMIT").state;
  EXPECT_EQ(older.mean_std, "clip");
  EXPECT_EQ(older.micro_batch, 0u);
  EXPECT_EQ(older.instruction_sets, "");
}

TEST(Format, UnknownFieldsAndMinorVersionsAreIgnored) {
  const Manifest read = DecodeManifest(
      Edited([](nlohmann::json& json) {
        json["version"][1] = 99;
        json["colour"] = "green";
        json["state"]["mood"] = {1, 2};
        json["layout"]["tensors"][0]["dtype"] = "f32";
        json["shards"][0]["ranks"][0]["datasets"].push_back({{"kind", "ema"}, {"offset", 0}});
      }),
      "x/COMMIT");
  EXPECT_EQ(LineageOf(read), Example().lineage);
}

TEST(Format, WhatMinorVersionZeroDidNotHaveIsAbsent) {
  const Manifest read = DecodeManifest(Edited([](nlohmann::json& json) {
                                         json["version"][1] = 0;
                                         json.erase("buffers");
                                         json.erase("page_bytes");
                                         json["shards"][0]["ranks"][0].erase("page_crc32c_offset");
                                       }),
                                       "x/COMMIT");
  EXPECT_EQ(read.buffers.bytes, 0u);
  EXPECT_TRUE(read.buffers.arrays.empty());
  EXPECT_FALSE(read.weights_only);
  EXPECT_EQ(read.page_bytes, 0u);
}

TEST(Format, UnknownMajorVersionIsRefusedButListedAsAStep) {
  const std::string text = Edited([](nlohmann::json& json) {
    json = {{"format", kFormatName}, {"version", {2, 0}}};
  });
  const std::string message = DecodeError(text, "E-CKPT-VERSION");
  EXPECT_THAT(message, HasSubstr("version 2"));
  EXPECT_THAT(message, HasSubstr("reads contrail-checkpoint version 1"));
  // Falling back to an older step would lose the newer program's work without a word.
  ScratchDir scratch;
  SaveStep(PosixFileSystem(), MakeWorld(1, 10, 1, 1), scratch.path(), 1);
  PosixFileSystem().MakeDir(scratch.path() + "/step_00000002");
  PosixFileSystem().WriteAtomically(scratch.path() + "/step_00000002/COMMIT", text);
  EXPECT_EQ(ListSteps(PosixFileSystem(), scratch.path()).front().step, 2u);
  std::vector<std::string> problems;
  EXPECT_THROW(OpenNewestUsable(PosixFileSystem(), scratch.path(), false, &problems), Error);
}

TEST(Format, UnsoundManifestsAreRefused) {
  using Edit = std::function<void(nlohmann::json&)>;
  const std::vector<std::pair<Edit, std::string>> cases = {
      {[](auto& j) { j.erase("state"); }, "state"},
      {[](auto& j) { j["state"]["step"] = "twelve"; }, "type"},
      {[](auto& j) { j["layout"]["num_elements"] = 8; }, "num_elements"},
      {[](auto& j) { j["layout"]["tensors"][1]["begin"] = 2; }, "tensor 'b'"},
      {[](auto& j) {
         j["layout"]["tensors"][1]["shape"] = {-3, -2};
       },
       "negative"},
      {[](auto& j) {
         j["shards"][0]["ranks"][0]["ranges"][0] = {5, 7};
       },
       "no owner"},
      {[](auto& j) {
         j["shards"][0]["ranks"][0]["ranges"][0] = {3, 6};
       },
       "two owners"},
      {[](auto& j) {
         j["shards"][0]["ranks"][0]["ranges"][0] = {7, 4};
       },
       "before it begins"},
      {[](auto& j) { j["shards"] = nlohmann::json::array(); }, "the ranges end at element 0"},
      {[](auto& j) { j["shards"][0]["file"] = "../shard_00000.h5"; }, "ill-formed name"},
      {[](auto& j) { j["shards"][0]["ranks"][0]["datasets"][2]["offset"] = 8190; },
       "outside its file"},
      {[](auto& j) { j["shards"][0]["ranks"][0]["datasets"][2]["offset"] = ~0ull; },
       "outside its file"},
      {[](auto& j) {
         j["shards"][0]["ranks"][0]["datasets"][0]["crc32c"] = {1, 2};
       },
       "checksums"},
      {[](auto& j) { j["shards"][0]["ranks"][0]["datasets"].erase(1); }, "3 datasets"},
      {[](auto& j) {
         j["shards"].push_back(j["shards"][0]);
         j["shards"][1]["ranks"].clear();
       },
       "holds no rank"},
      {[](auto& j) { j["block_bytes"] = 0; }, "block_bytes"},
      {[](auto& j) {
         j["weights_only"] = true;
         j["shards"][0]["ranks"][0]["datasets"].erase(0);
       },
       "1 datasets"},
      {[](auto& j) { j["buffers"]["arrays"][0]["offset"] = 2990; }, "outside buffers.h5"},
      {[](auto& j) { j["buffers"]["arrays"][0]["offset"] = ~0ull; }, "outside buffers.h5"},
      {[](auto& j) {
         j["buffers"]["arrays"][0]["shape"] = {1ll << 62, 4};
       },
       "impossible shape"},
      {[](auto& j) {
         j["buffers"]["arrays"][0]["shape"] = {2000, 2000, 2000};
       },
       "outside buffers.h5"},
      {[](auto& j) { j["block_bytes"] = 6; }, "block_bytes"},
      {[](auto& j) { j["page_bytes"] = 4095; }, "page_bytes"},
      {[](auto& j) { j["page_bytes"] = 12288; }, "page_bytes"},
      {[](auto& j) { j["shards"][0]["ranks"][0]["page_crc32c_offset"] = 8184; },
       "page checksums outside"},
      {[](auto& j) { j["shards"][0]["ranks"][0].erase("page_crc32c_offset"); },
       "page_crc32c_offset"},
  };
  for (const auto& [edit, text] : cases)
    EXPECT_THAT(DecodeError(Edited(edit), "E-CKPT-CORRUPT"), HasSubstr(text));
}

TEST(Format, EveryFlippedBitOfCommitIsFound) {
  const std::string text = EncodeManifest(Example());
  for (size_t bit = 0; bit < 8 * text.size(); ++bit) {
    std::string flipped = text;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    ASSERT_FALSE(ManifestIsWhole(flipped)) << bit;
  }
}

TEST(Format, LineageIsAboutWhatWasTrained) {
  const Manifest manifest = Example();
  Manifest same = manifest;
  same.state.attempt = 5;
  same.state.world_size = 99;
  same.state.config_toml += "# another comment\n";
  same.shards[0].node = 3;
  same.shards[0].file = ShardName(3);
  EXPECT_EQ(LineageOf(same), manifest.lineage);
  const std::vector<std::function<void(Manifest&)>> changes = {
      [](Manifest& m) { m.state.step++; },
      [](Manifest& m) { m.state.samples_seen++; },
      [](Manifest& m) { m.state.phase++; },
      [](Manifest& m) { m.state.phase_step++; },
      [](Manifest& m) { m.state.model = "other"; },
      [](Manifest& m) { m.state.activation = "gelu"; },
      [](Manifest& m) { m.state.resolution++; },
      [](Manifest& m) { m.state.fingerprint = "x"; },
      [](Manifest& m) { m.state.data_fingerprint = "x"; },
      [](Manifest& m) { m.state.parent = "x"; },
      [](Manifest& m) { m.state.loss += 1e-12; },
      [](Manifest& m) { m.layout.tensors[0].name = "c"; },
      [](Manifest& m) { m.shards[0].parts[0].block_crcs[2][0]++; },
      [](Manifest& m) { m.buffers.crc++; },
      [](Manifest& m) { m.buffers.arrays[0].name = "x"; },
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    Manifest changed = manifest;
    changes[i](changed);
    EXPECT_NE(LineageOf(changed), manifest.lineage) << i;
  }
}

TEST(Names, ParseExactlyWhatIsMade) {
  EXPECT_EQ(StepName(1200), "step_00001200");
  EXPECT_EQ(StepName(123456789012), "step_123456789012");
  for (const uint64_t step : {0ull, 7ull, 99999999ull, 100000000ull, ~0ull})
    EXPECT_EQ(ParseStepName(StepName(step)), step);
  for (const char* name : {"", "step_", "step_1200", "step_000001200", "step_00001200x",
                           "step_00001200.tmp-1", "step_-0000001", "Step_00001200",
                           "step_99999999999999999999999", "step_00001200.superseded-1"})
    EXPECT_FALSE(ParseStepName(name).has_value()) << name;
  const std::string owner = "9f3c0a4be1d25577";
  EXPECT_EQ(TemporaryName({1200, 3, owner, 0}), "step_00001200.tmp-3-9f3c0a4be1d25577");
  EXPECT_EQ(TemporaryName({1200, 3, owner, 2}), "step_00001200.tmp-3-9f3c0a4be1d25577.2");
  EXPECT_EQ(TemporaryName({1200, 3, "", 0}), "step_00001200.tmp-3");
  EXPECT_EQ(TemporaryName({1200, 3, "", 2}), "step_00001200.tmp-3.2");
  for (const std::string& who : {owner, std::string()})
    for (const uint64_t retry : {0u, 2u}) {
      const auto found = ParseTemporaryName(TemporaryName({1200, 3, who, retry}));
      ASSERT_TRUE(found.has_value());
      EXPECT_EQ(found->step, 1200u);
      EXPECT_EQ(found->attempt, 3u);
      EXPECT_EQ(found->owner, who);
      EXPECT_EQ(found->retry, retry);
    }
  for (const char* name :
       {"step_00001200", "step_00001200.tmp-", "step_00001200.tmp-3.", "step_00001200.tmp-3-",
        "step_00001200.tmp-3-.1", "step_00001200.tmp-3.deleting",
        "step_00001200.tmp-3-9f3c.deleting", "step_00001200.tmp-3x"})
    EXPECT_FALSE(ParseTemporaryName(name).has_value()) << name;
  const auto superseded = ParseSupersededName(SupersededName(1200, 4));
  ASSERT_TRUE(superseded.has_value());
  EXPECT_EQ(superseded->step, 1200u);
  EXPECT_EQ(superseded->k, 4u);
  EXPECT_FALSE(ParseSupersededName("step_00001200.superseded-4.deleting").has_value());
}

TEST(Hdf5Environment, InheritedVariablesAreForgotten) {
  ::setenv("HDF5_VDS_PREFIX", "/elsewhere", 1);
  ::setenv("HDF5_DRIVER", "nonsense", 1);
  ::setenv("HDF5", "kept", 1);
  ForgetHdf5Environment();
  EXPECT_EQ(::getenv("HDF5_VDS_PREFIX"), nullptr);
  EXPECT_EQ(::getenv("HDF5_DRIVER"), nullptr);
  EXPECT_STREQ(::getenv("HDF5"), "kept");
  ::unsetenv("HDF5");
}

}  // namespace
}  // namespace contrail::ckpt
