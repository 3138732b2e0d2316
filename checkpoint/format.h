#pragma once
// The words of the format (docs/checkpoint-format.md): names of files and directories, and COMMIT,
// the manifest that makes a step a checkpoint. COMMIT is one line of JSON and one line with its own
// checksum; a COMMIT without a right last line is torn, and its directory is no checkpoint.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/skeleton.h"
#include "checkpoint/state.h"

namespace contrail::ckpt {

inline constexpr const char* kFormatName = "contrail-checkpoint";
inline constexpr int kFormatMajor = 1;            // raised where old readers would misread
inline constexpr int kFormatMinor = 2;            // raised where they only miss something
inline constexpr uint64_t kBlockBytes = 1 << 20;  // one CRC-32C each, in COMMIT
inline constexpr uint64_t kPageBytes = 4096;      // one CRC-32C each, in the shard
inline constexpr uint64_t kAlignment = 4096;
inline constexpr const char* kCommitName = "COMMIT";
inline constexpr const char* kIndexName = "index.h5";
inline constexpr const char* kBuffersName = "buffers.h5";

// How many of kKindNames a step holds.
constexpr int KindsOf(bool weights_only) { return weights_only ? 1 : kNumKinds; }

// One rank's part of a shard. Kinds that the step does not hold have no checksums.
struct RankPart {
  int rank = 0;
  std::vector<Range> ranges;
  std::array<uint64_t, kNumKinds> offset{};  // of each dataset in the file, bytes
  std::array<std::vector<uint32_t>, kNumKinds> block_crcs;
  uint64_t page_crcs_offset = 0;  // in the file: uint32 [kinds, pages], little-endian
  uint64_t elements() const { return NumElements(ranges); }
};

struct ShardInfo {
  std::string file;  // name inside the step directory
  int node = 0;
  uint64_t file_bytes = 0;
  uint32_t skeleton_crc = 0;  // of all bytes that are no payload
  std::vector<RankPart> parts;
  std::vector<Extent> Payload(int kinds) const;
};

// buffers.h5: running statistics, in a file of their own because no rank owns a part of them.
struct BufferPlace {
  std::string name;
  std::vector<int64_t> shape;
  uint64_t offset = 0;  // of the first byte in the file; fp32, without a gap
  uint64_t elements() const;
};
struct BufferFile {
  uint64_t bytes = 0;  // 0: the model has none, there is no file
  uint32_t crc = 0;    // of the whole file
  std::vector<BufferPlace> arrays;
};

struct Manifest {
  RunState state;
  Layout layout;
  uint64_t block_bytes = kBlockBytes;
  uint64_t page_bytes = kPageBytes;  // 0: a step of minor version 0 or 1 has no checksums of pages
  bool weights_only = false;
  std::vector<ShardInfo> shards;
  BufferFile buffers;
  uint64_t index_bytes = 0;  // 0: committed without index.h5
  uint32_t index_crc = 0;
  std::string lineage;
};

// What a rank tells the root: its part, and where it lies.
struct RankReport {
  uint64_t step = 0;
  uint64_t attempt = 0;
  int node = 0;
  uint64_t file_bytes = 0;
  uint32_t skeleton_crc = 0;  // with zeros for page checksums; every rank of the node has the same
  uint32_t page_crcs_change = 0;  // what this rank's page checksums change skeleton_crc by (xor)
  bool weights_only = false;
  RankPart part;
};

std::string StepName(uint64_t step);                           // "step_00001200"
std::optional<uint64_t> ParseStepName(std::string_view name);  // exactly that form
// Where a save writes before it is committed: "step_00001200.tmp-3-9f3c0a4be1d25577", and with ".1"
// at its end for the second try. It names attempt and owner (docs/run-directory.md), so no two
// writers ever share one, and whoever makes it finds nothing older in it. Without an owner where
// nobody drew one: in an import, and in what older programs left.
struct Temporary {
  uint64_t step = 0;
  uint64_t attempt = 0;
  std::string owner;
  uint64_t retry = 0;
};
std::string TemporaryName(const Temporary& temporary);
std::optional<Temporary> ParseTemporaryName(std::string_view name);
std::string SupersededName(uint64_t step, uint64_t k);  // "step_00001200.superseded-1"
struct Superseded {
  uint64_t step = 0;
  uint64_t k = 0;
};
std::optional<Superseded> ParseSupersededName(std::string_view name);
inline constexpr const char* kDeletingSuffix = ".deleting";
std::string ShardName(int node);  // "shard_00003.h5"

std::string EncodeReport(const RankReport& report);
RankReport DecodeReport(const std::string& text);  // throws E-BUG: it never was on a disk

// Hash of everything a resume sees and of the checksums of all payload, so equal lineages mean
// equal bits. Not part of it: what two attempts may differ in without training differently (attempt
// and rank counts, nodes, config comments, file sizes).
std::string LineageOf(const Manifest& manifest);

std::string EncodeManifest(const Manifest& manifest);
// `where` names the file in messages. Throws EnvironmentError E-CKPT-CORRUPT (torn, or not sound:
// see CheckManifest) and UserError E-CKPT-VERSION. Unknown fields are ignored.
Manifest DecodeManifest(const std::string& text, const std::string& where);
// Whether text is a whole COMMIT of any version.
bool ManifestIsWhole(const std::string& text);

// "" or what is wrong: tensors with gaps, ranges that do not cover every element exactly once,
// datasets outside their file, missing checksums.
std::string CheckManifest(const Manifest& manifest);

}  // namespace contrail::ckpt
