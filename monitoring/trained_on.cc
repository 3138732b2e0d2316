#include "monitoring/trained_on.h"

#include "monitoring/json_fields.h"

namespace contrail::monitor {

void WriteTrainedOn(const RunDir& run, int attempt, const TrainedOn& on,
                    const std::vector<ShardLine>& shards, FileSystem& fs) {
  if (!fs.Exists(run.Shards(on.data))) {
    nlohmann::json list = nlohmann::json::array();
    for (const ShardLine& shard : shards) {
      list.push_back({shard.name, shard.bytes, shard.samples});
    }
    fs.WriteAtomically(run.Shards(on.data),
                       DumpLine({{"fingerprint", on.data}, {"shards", std::move(list)}}) + "\n");
  }
  fs.MakeDirs(run.Attempt(attempt));
  fs.WriteAtomically(run.TrainedOn(attempt), DumpLine({{"resumed_step", on.resumed_step},
                                                       {"world_size", on.world_size},
                                                       {"seed", on.seed},
                                                       {"global_batch_size", on.global_batch_size},
                                                       {"shuffle_window", on.shuffle_window},
                                                       {"order", on.order},
                                                       {"data", on.data},
                                                       {"consumed", on.consumed},
                                                       {"consumed_from", on.consumed_from},
                                                       {"replaced", on.replaced}}) +
                                                 "\n");
}

std::optional<TrainedOn> ReadTrainedOn(const RunDir& run, int attempt, const FileSystem& fs) {
  const auto object = ReadJsonObject(fs, run.TrainedOn(attempt));
  if (!object) return std::nullopt;
  TrainedOn on;
  on.resumed_step = Field<uint64_t>(*object, "resumed_step", 0);
  on.world_size = Field(*object, "world_size", 0);
  on.seed = Field<uint64_t>(*object, "seed", 0);
  on.global_batch_size = Field<uint64_t>(*object, "global_batch_size", 0);
  on.shuffle_window = Field<uint64_t>(*object, "shuffle_window", 0);
  on.order = Field<std::string>(*object, "order", on.order);
  on.data = Field<std::string>(*object, "data", "");
  on.consumed = Field<uint64_t>(*object, "consumed", 0);
  on.consumed_from = Field<uint64_t>(*object, "consumed_from", 0);
  on.replaced = Field<uint64_t>(*object, "replaced", 0);
  return on;
}

std::optional<std::vector<ShardLine>> ReadShards(const RunDir& run, const std::string& fingerprint,
                                                 const FileSystem& fs) {
  const auto object = ReadJsonObject(fs, run.Shards(fingerprint));
  if (!object) return std::nullopt;
  const auto list = object->find("shards");
  if (list == object->end() || !list->is_array()) return std::nullopt;
  std::vector<ShardLine> shards;
  for (const nlohmann::json& shard : *list) {
    if (!shard.is_array() || shard.size() < 3 || !shard[0].is_string() ||
        !shard[1].is_number_unsigned() || !shard[2].is_number_unsigned()) {
      return std::nullopt;
    }
    shards.push_back(
        {shard[0].get<std::string>(), shard[1].get<uint64_t>(), shard[2].get<uint64_t>()});
  }
  return shards;
}

}  // namespace contrail::monitor
