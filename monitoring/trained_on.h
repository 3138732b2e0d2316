#pragma once
// What an attempt is trained on, in the run directory itself, so that `contrail data audit` needs
// neither the shards nor a config of its own:
//
//   attempts/attempt_A/trained_on.json   from which step on, in which order, with how many ranks
//   shards_<fingerprint>.json            the shards of that data set, once a data set
//
// Written by rank 0 before the attempt's first step.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/file_system.h"
#include "monitoring/run_dir.h"

namespace contrail::monitor {

struct TrainedOn {
  uint64_t resumed_step = 0;  // the attempt's steps come after this one
  int world_size = 0;
  uint64_t seed = 0;
  uint64_t global_batch_size = 0;
  uint64_t shuffle_window = 0;
  std::string order = "windows";  // the function of data/order.h
  std::string data;               // fingerprint
  // As the checkpoint says that the attempt went on from: checkpoint/state.h.
  uint64_t consumed = 0;
  uint64_t consumed_from = 0;
  uint64_t replaced = 0;
};

struct ShardLine {
  std::string name;
  uint64_t bytes = 0;
  uint64_t samples = 0;
};

void WriteTrainedOn(const RunDir& run, int attempt, const TrainedOn& on,
                    const std::vector<ShardLine>& shards, FileSystem& fs = PosixFileSystem());
// nullopt where there is none, or it is no JSON object.
std::optional<TrainedOn> ReadTrainedOn(const RunDir& run, int attempt,
                                       const FileSystem& fs = PosixFileSystem());
std::optional<std::vector<ShardLine>> ReadShards(const RunDir& run, const std::string& fingerprint,
                                                 const FileSystem& fs = PosixFileSystem());

}  // namespace contrail::monitor
