#include "checkpoint/format.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "common/hash.h"
#include "common/strings.h"

namespace contrail::ckpt {
namespace {

using Json = nlohmann::ordered_json;

// JSON has no NaN: what is not finite travels as text.
Json FromDouble(double value) {
  return std::isfinite(value) ? Json(value) : Json(ExactDouble(value));
}

double ToDouble(const Json& json) {
  return json.is_string() ? std::strtod(json.get<std::string>().c_str(), nullptr)
                          : json.get<double>();
}

Json FromRanges(const std::vector<Range>& ranges) {
  Json json = Json::array();
  for (const Range& range : ranges) json.push_back({range.begin, range.end});
  return json;
}

std::vector<Range> ToRanges(const Json& json) {
  std::vector<Range> ranges;
  for (const Json& pair : json)
    ranges.push_back({pair.at(0).get<uint64_t>(), pair.at(1).get<uint64_t>()});
  return ranges;
}

// Everything but what LineageOf leaves out.
Json FromTrainedState(const RunState& state) {
  Json json = {{"step", state.step},
               {"samples_seen", state.samples_seen},
               {"phase", state.phase},
               {"phase_step", state.phase_step},
               {"model", state.model},
               {"activation", state.activation},
               {"resolution", state.resolution},
               {"fingerprint", state.fingerprint},
               {"data_fingerprint", state.data_fingerprint},
               {"parent", state.parent},
               {"loss", FromDouble(state.loss)}};
  if (state.skipped_steps > 0) {  // else every step was an update
    json["skipped_steps"] = state.skipped_steps;
    json["updates"] = state.updates;
  }
  if (state.precision != "fp32") json["precision"] = state.precision;
  if (state.mean_std != "clip") json["mean_std"] = state.mean_std;
  if (state.loss_scale > 0) {
    json["loss_scale"] = {{"value", state.loss_scale},
                          {"good_steps", state.loss_scale_good_steps},
                          {"overflows", state.loss_scale_overflows}};
  }
  return json;
}

Json FromState(const RunState& state) {
  Json json = FromTrainedState(state);
  json["world_size"] = state.world_size;
  json["attempt"] = state.attempt;
  json["config_toml"] = state.config_toml;
  if (state.micro_batch > 0) json["micro_batch"] = state.micro_batch;
  if (!state.instruction_sets.empty()) json["instruction_sets"] = state.instruction_sets;
  if (state.consumed != 0) {
    json["consumed"] = {
        {"digest", state.consumed}, {"from", state.consumed_from}, {"replaced", state.replaced}};
  }
  return json;
}

RunState ToState(const Json& json) {
  RunState state;
  json.at("step").get_to(state.step);
  json.at("samples_seen").get_to(state.samples_seen);
  json.at("phase").get_to(state.phase);
  json.at("phase_step").get_to(state.phase_step);
  json.at("model").get_to(state.model);
  json.at("activation").get_to(state.activation);
  json.at("resolution").get_to(state.resolution);
  json.at("fingerprint").get_to(state.fingerprint);
  json.at("data_fingerprint").get_to(state.data_fingerprint);
  json.at("parent").get_to(state.parent);
  state.loss = ToDouble(json.at("loss"));
  state.skipped_steps = json.value("skipped_steps", uint64_t{0});
  state.updates = json.value("updates", uint64_t{0});
  state.precision = json.value("precision", "fp32");
  state.mean_std = json.value("mean_std", "clip");
  state.micro_batch = json.value("micro_batch", uint64_t{0});
  state.instruction_sets = json.value("instruction_sets", "");
  if (const auto scale = json.find("loss_scale"); scale != json.end()) {
    scale->at("value").get_to(state.loss_scale);
    scale->at("good_steps").get_to(state.loss_scale_good_steps);
    scale->at("overflows").get_to(state.loss_scale_overflows);
  }
  json.at("world_size").get_to(state.world_size);
  json.at("attempt").get_to(state.attempt);
  json.at("config_toml").get_to(state.config_toml);
  state.consumed_from = state.step;
  if (const auto consumed = json.find("consumed"); consumed != json.end()) {
    consumed->at("digest").get_to(state.consumed);
    consumed->at("from").get_to(state.consumed_from);
    consumed->at("replaced").get_to(state.replaced);
  }
  return state;
}

Json FromLayout(const Layout& layout) {
  Json tensors = Json::array();
  for (const TensorInfo& tensor : layout.tensors)
    tensors.push_back({{"name", tensor.name}, {"shape", tensor.shape}, {"begin", tensor.begin}});
  return {{"num_elements", layout.num_elements}, {"tensors", std::move(tensors)}};
}

Layout ToLayout(const Json& json) {
  Layout layout;
  json.at("num_elements").get_to(layout.num_elements);
  for (const Json& entry : json.at("tensors")) {
    TensorInfo& tensor = layout.tensors.emplace_back();
    entry.at("name").get_to(tensor.name);
    entry.at("shape").get_to(tensor.shape);
    entry.at("begin").get_to(tensor.begin);
    tensor.num_elements = 1;
    for (const int64_t size : tensor.shape) tensor.num_elements *= static_cast<uint64_t>(size);
  }
  return layout;
}

Json FromPart(const RankPart& part, int kinds, bool pages) {
  Json datasets = Json::array();
  for (int kind = 0; kind < kinds; ++kind) {
    datasets.push_back({{"kind", kKindNames[kind]},
                        {"path", DatasetPath(part.rank, kind)},
                        {"offset", part.offset[kind]},
                        {"elements", part.elements()},
                        {"crc32c", part.block_crcs[kind]}});
  }
  Json json = {
      {"rank", part.rank}, {"ranges", FromRanges(part.ranges)}, {"datasets", std::move(datasets)}};
  if (pages) json["page_crc32c_offset"] = part.page_crcs_offset;
  return json;
}

RankPart ToPart(const Json& json, int kinds, bool pages) {
  RankPart part;
  json.at("rank").get_to(part.rank);
  part.ranges = ToRanges(json.at("ranges"));
  if (pages) json.at("page_crc32c_offset").get_to(part.page_crcs_offset);
  int found = 0;
  for (const Json& dataset : json.at("datasets")) {
    const auto name = dataset.at("kind").get<std::string>();
    for (int kind = 0; kind < kinds; ++kind) {
      if (name != kKindNames[kind]) continue;  // a kind of a later minor version
      dataset.at("offset").get_to(part.offset[kind]);
      dataset.at("crc32c").get_to(part.block_crcs[kind]);
      ++found;
    }
  }
  if (found != kinds)
    throw std::runtime_error("a rank without its " + std::to_string(kinds) + " datasets");
  return part;
}

Json FromShard(const ShardInfo& shard, int kinds, bool pages) {
  Json parts = Json::array();
  for (const RankPart& part : shard.parts) parts.push_back(FromPart(part, kinds, pages));
  return {{"file", shard.file},
          {"node", shard.node},
          {"bytes", shard.file_bytes},
          {"skeleton_crc32c", shard.skeleton_crc},
          {"ranks", std::move(parts)}};
}

ShardInfo ToShard(const Json& json, int kinds, bool pages) {
  ShardInfo shard;
  json.at("file").get_to(shard.file);
  json.at("node").get_to(shard.node);
  json.at("bytes").get_to(shard.file_bytes);
  json.at("skeleton_crc32c").get_to(shard.skeleton_crc);
  for (const Json& part : json.at("ranks")) shard.parts.push_back(ToPart(part, kinds, pages));
  return shard;
}

Json FromBuffers(const BufferFile& buffers) {
  Json arrays = Json::array();
  for (const BufferPlace& array : buffers.arrays)
    arrays.push_back({{"name", array.name}, {"shape", array.shape}, {"offset", array.offset}});
  return {{"file", kBuffersName},
          {"bytes", buffers.bytes},
          {"crc32c", buffers.crc},
          {"arrays", std::move(arrays)}};
}

BufferFile ToBuffers(const Json& json) {
  BufferFile buffers;
  json.at("bytes").get_to(buffers.bytes);
  json.at("crc32c").get_to(buffers.crc);
  for (const Json& entry : json.at("arrays")) {
    BufferPlace& array = buffers.arrays.emplace_back();
    entry.at("name").get_to(array.name);
    entry.at("shape").get_to(array.shape);
    entry.at("offset").get_to(array.offset);
  }
  return buffers;
}

std::string CrcLine(std::string_view body) {
  char line[32];
  std::snprintf(line, sizeof line, "crc32c %08x\n", Crc32c(0, body.data(), body.size()));
  return line;
}

constexpr size_t kCrcLineSize = 16;  // "crc32c 0123abcd\n"

}  // namespace

std::string EncodeReport(const RankReport& report) {
  const Json json = {{"step", report.step},
                     {"attempt", report.attempt},
                     {"node", report.node},
                     {"bytes", report.file_bytes},
                     {"skeleton_crc32c", report.skeleton_crc},
                     {"page_crcs_change", report.page_crcs_change},
                     {"weights_only", report.weights_only},
                     {"part", FromPart(report.part, KindsOf(report.weights_only), true)}};
  return json.dump();
}

RankReport DecodeReport(const std::string& text) {
  try {
    const Json json = Json::parse(text);
    RankReport report;
    json.at("step").get_to(report.step);
    json.at("attempt").get_to(report.attempt);
    json.at("node").get_to(report.node);
    json.at("bytes").get_to(report.file_bytes);
    json.at("skeleton_crc32c").get_to(report.skeleton_crc);
    json.at("page_crcs_change").get_to(report.page_crcs_change);
    json.at("weights_only").get_to(report.weights_only);
    report.part = ToPart(json.at("part"), KindsOf(report.weights_only), true);
    return report;
  } catch (const std::exception& error) {
    throw Error(ErrorKind::kBug, "E-BUG", "checkpoint report", error.what());
  }
}

std::string LineageOf(const Manifest& manifest) {
  std::vector<const RankPart*> parts;
  for (const ShardInfo& shard : manifest.shards)
    for (const RankPart& part : shard.parts) parts.push_back(&part);
  std::sort(parts.begin(), parts.end(),
            [](const RankPart* a, const RankPart* b) { return a->rank < b->rank; });
  Json contents = Json::array();
  for (const RankPart* part : parts)
    contents.push_back({FromRanges(part->ranges), part->block_crcs});
  Json json = {{"state", FromTrainedState(manifest.state)},
               {"layout", FromLayout(manifest.layout)},
               {"block_bytes", manifest.block_bytes},
               {"contents", std::move(contents)}};
  // Absent where there are none, so that such steps keep the lineage they always had.
  if (manifest.buffers.bytes > 0) json["buffers"] = FromBuffers(manifest.buffers);
  return Hex64(Fnv1a(json.dump()));
}

std::string EncodeManifest(const Manifest& manifest) {
  Json shards = Json::array();
  for (const ShardInfo& shard : manifest.shards)
    shards.push_back(FromShard(shard, KindsOf(manifest.weights_only), manifest.page_bytes > 0));
  Json json = {
      {"format", kFormatName},
      {"version", {kFormatMajor, kFormatMinor}},
      {"lineage", manifest.lineage},
      {"state", FromState(manifest.state)},
      {"layout", FromLayout(manifest.layout)},
      {"block_bytes", manifest.block_bytes},
      {"shards", std::move(shards)},
      {"index",
       {{"file", kIndexName}, {"bytes", manifest.index_bytes}, {"crc32c", manifest.index_crc}}}};
  if (manifest.page_bytes > 0) json["page_bytes"] = manifest.page_bytes;
  if (manifest.weights_only) json["weights_only"] = true;
  if (manifest.buffers.bytes > 0) json["buffers"] = FromBuffers(manifest.buffers);
  const std::string body = json.dump() + "\n";
  return body + CrcLine(body);
}

bool ManifestIsWhole(const std::string& text) {
  if (text.size() <= kCrcLineSize) return false;
  const std::string_view body(text.data(), text.size() - kCrcLineSize);
  return std::string_view(text).substr(body.size()) == CrcLine(body);
}

Manifest DecodeManifest(const std::string& text, const std::string& where) {
  const std::string fix = "use an earlier step (contrail checkpoint list)";
  if (!ManifestIsWhole(text))
    throw EnvironmentError("E-CKPT-CORRUPT", where, "torn or damaged: its checksum line is wrong",
                           fix);
  Manifest manifest;
  try {
    const Json json = Json::parse(text.begin(), text.end() - kCrcLineSize);
    const int major = json.at("version").at(0).get<int>();
    if (json.at("format") != kFormatName || major != kFormatMajor)
      throw UserError("E-CKPT-VERSION", where,
                      "format " + json.at("format").get<std::string>() + " version " +
                          std::to_string(major) + "; this program reads " + kFormatName +
                          " version " + std::to_string(kFormatMajor),
                      "use the program version that wrote it");
    json.at("lineage").get_to(manifest.lineage);
    manifest.state = ToState(json.at("state"));
    manifest.layout = ToLayout(json.at("layout"));
    json.at("block_bytes").get_to(manifest.block_bytes);
    manifest.page_bytes = json.value("page_bytes", uint64_t{0});
    manifest.weights_only = json.value("weights_only", false);
    for (const Json& shard : json.at("shards"))
      manifest.shards.push_back(
          ToShard(shard, KindsOf(manifest.weights_only), manifest.page_bytes > 0));
    if (json.contains("buffers")) manifest.buffers = ToBuffers(json["buffers"]);
    json.at("index").at("bytes").get_to(manifest.index_bytes);
    json.at("index").at("crc32c").get_to(manifest.index_crc);
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    throw EnvironmentError("E-CKPT-CORRUPT", where, error.what(), fix);
  }
  if (const std::string wrong = CheckManifest(manifest); !wrong.empty())
    throw EnvironmentError("E-CKPT-CORRUPT", where, wrong, fix);
  return manifest;
}

}  // namespace contrail::ckpt
