#include "monitoring/owner/create_run.h"

#include <filesystem>
#include <memory>
#include <utility>

#include "configs/load.h"
#include "monitoring/owner/claim.h"

namespace contrail::monitor {

Error RunExists(const RunDir& run) {
  return UserError("E-RUN-EXISTS", run.root, "is there already",
                   "`contrail resume " + run.root + "` goes on with it; --run DIR starts another");
}

RunClaim CreateRun(FileSystem& fs, const RunDir& given, const Config& config, Lease self) {
  if (fs.Exists(given.root)) throw RunExists(given);
  std::filesystem::path path = std::filesystem::absolute(given.root).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // "runs/a/"
  const RunDir run = {path};
  const std::string parent = path.parent_path();
  fs.MakeDirs(parent);
  const RunDir draft = {run.root + ".new." + self.owner};
  fs.MakeDir(draft.root);
  try {
    RunLock lock(draft);
    fs.WriteAtomically(draft.Config(), ToToml(config));
    self.attempt = 1;
    ClaimAttempt(fs, draft, self.attempt, self);
    WriteLease(draft, self, fs);
    // A directory replaces no directory that holds anything.
    if (fs.Exists(run.root)) throw RunExists(run);
    try {
      fs.Rename(draft.root, run.root);
    } catch (const Error&) {
      if (fs.Exists(run.root)) throw RunExists(run);
      throw;
    }
    fs.SyncDir(parent);
    return {std::move(lock), std::make_unique<LeaseKeeper>(fs, run, self), self.attempt};
  } catch (...) {
    if (fs.Exists(draft.root)) fs.RemoveTree(draft.root);
    throw;
  }
}

}  // namespace contrail::monitor
