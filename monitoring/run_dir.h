#pragma once
// The run directory: names of everything in it, one writer per file.
//
//   config.toml            resolved config, each value with its origin      launcher
//   checkpoints/           step_00001200/ ..., newest.json                  worker
//   telemetry/             events.out.tfevents.<unix>.attempt_A.node_0      rank 0
//   attempts/attempt_A/    owner                                            who claimed it
//                          ends.jsonl; end_rank_R.json                      rank 0; who failed
//                          rank_times.<unix>.node_N, N > 0                  node N's first rank
//                          bad_steps.jsonl                                  rank 0
//                          damaged_steps.jsonl, first_commit.json           rank 0
//                          trained_on.json                                  rank 0
//   logs/attempt_A/        node_N.log, rank-tagged                          launcher
//   incidents.jsonl        one JSON object a line                           launcher
//   eval/                  zero_shot_step_00001200.json                     eval
//   lease.json             who may write                                    launcher
//   replaced.jsonl         samples that could not be used, and what took     rank 0
//                          their places
//   shards_F.json          the shards of the data set with fingerprint F     rank 0
//   data_consent.json      which other shards were agreed to                rank 0
//   summary.json           written when the run ends                        launcher

#include <string>

namespace contrail::monitor {

struct RunDir {
  std::string root;

  std::string Config() const { return root + "/config.toml"; }
  std::string Checkpoints() const { return root + "/checkpoints"; }
  std::string Telemetry() const { return root + "/telemetry"; }
  std::string Attempt(int attempt) const {
    return root + "/attempts/attempt_" + std::to_string(attempt);
  }
  std::string Owner(int attempt) const { return Attempt(attempt) + "/owner"; }
  std::string EndRecord(int attempt, int rank) const {
    return Attempt(attempt) + "/end_rank_" + std::to_string(rank) + ".json";
  }
  std::string BadSteps(int attempt) const { return Attempt(attempt) + "/bad_steps.jsonl"; }
  std::string DamagedSteps(int attempt) const { return Attempt(attempt) + "/damaged_steps.jsonl"; }
  std::string TrainedOn(int attempt) const { return Attempt(attempt) + "/trained_on.json"; }
  std::string FirstCommit(int attempt) const { return Attempt(attempt) + "/first_commit.json"; }
  std::string Logs(int attempt) const { return root + "/logs/attempt_" + std::to_string(attempt); }
  std::string Incidents() const { return root + "/incidents.jsonl"; }
  std::string Eval() const { return root + "/eval"; }
  std::string Lease() const { return root + "/lease.json"; }
  std::string Replaced() const { return root + "/replaced.jsonl"; }
  std::string Shards(const std::string& data) const { return root + "/shards_" + data + ".json"; }
  std::string DataConsent() const { return root + "/data_consent.json"; }
  std::string Summary() const { return root + "/summary.json"; }
};

}  // namespace contrail::monitor
