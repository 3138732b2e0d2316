#include "monitoring/owner/claim.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "monitoring/attempts.h"

namespace contrail::monitor {

int LastAttempt(const FileSystem& fs, const RunDir& run) {
  const auto lease = ReadLease(run, fs);
  int last = lease ? lease->attempt : 0;
  for (const char* folder : {"/attempts", "/logs"}) {
    const std::vector<int> attempts = AttemptsIn(fs, run.root + folder);
    if (!attempts.empty()) last = std::max(last, attempts.back());
  }
  return last;
}

bool ClaimAttempt(FileSystem& fs, const RunDir& run, int attempt, const Lease& self) {
  fs.MakeDir(run.root + "/attempts");
  if (!fs.MakeNewDir(run.Attempt(attempt))) return false;
  const nlohmann::json object = {
      {"owner", self.owner}, {"host", self.host}, {"boot", self.boot}, {"pid", self.pid}};
  fs.WriteAtomically(run.Owner(attempt),
                     object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  fs.SyncDir(run.root + "/attempts");
  return true;
}

int ClaimFreeAttempt(FileSystem& fs, const RunDir& run, int attempt, const Lease& self) {
  while (!ClaimAttempt(fs, run, attempt, self)) ++attempt;
  return attempt;
}

Lease ClaimantOf(const FileSystem& fs, const RunDir& run, int attempt) {
  Lease claimant;
  claimant.attempt = attempt;
  const nlohmann::json object =
      nlohmann::json::parse(fs.ReadIfThere(run.Owner(attempt)).value_or(""), nullptr, false);
  if (!object.is_object()) return claimant;
  const auto text = [&object](const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_string() ? found->get<std::string>() : "";
  };
  claimant.owner = text("owner");
  claimant.host = text("host");
  claimant.boot = text("boot");
  const auto pid = object.find("pid");
  if (pid != object.end() && pid->is_number_integer()) claimant.pid = pid->get<int>();
  return claimant;
}

}  // namespace contrail::monitor
