#include "launcher/claim.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include <nlohmann/json.hpp>

namespace contrail::launcher {

int LastAttempt(const FileSystem& fs, const monitor::RunDir& run) {
  const auto lease = monitor::ReadLease(run, fs);
  int last = lease ? lease->attempt : 0;
  for (const char* folder : {"/attempts", "/logs"}) {
    for (const std::string& name : fs.List(run.root + folder)) {
      constexpr std::string_view kPrefix = "attempt_";
      if (!name.starts_with(kPrefix)) continue;
      int attempt = 0;
      std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), attempt);
      last = std::max(last, attempt);
    }
  }
  return last;
}

bool ClaimAttempt(FileSystem& fs, const monitor::RunDir& run, int attempt,
                  const monitor::Lease& self) {
  fs.MakeDir(run.root + "/attempts");
  if (!fs.MakeNewDir(run.Attempt(attempt))) return false;
  const nlohmann::json object = {{"owner", self.owner}, {"host", self.host}, {"pid", self.pid}};
  fs.WriteAtomically(run.Owner(attempt),
                     object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  fs.SyncDir(run.root + "/attempts");
  return true;
}

int ClaimFreeAttempt(FileSystem& fs, const monitor::RunDir& run, int attempt,
                     const monitor::Lease& self) {
  while (!ClaimAttempt(fs, run, attempt, self)) ++attempt;
  return attempt;
}

monitor::Lease ClaimantOf(const FileSystem& fs, const monitor::RunDir& run, int attempt) {
  monitor::Lease claimant;
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
  const auto pid = object.find("pid");
  if (pid != object.end() && pid->is_number_integer()) claimant.pid = pid->get<int>();
  return claimant;
}

}  // namespace contrail::launcher
