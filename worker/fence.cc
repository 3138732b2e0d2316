#include "worker/fence.h"

#include <optional>

#include "common/error.h"
#include "monitoring/attempts.h"
#include "monitoring/run_files.h"

namespace contrail::worker {
namespace {

constexpr double kLookSeconds = 0.25;

Error Fenced(const Writer& writer, int attempt, const std::string& who) {
  return EnvironmentError("E-FENCED", writer.run.Lease(),
                          "attempt " + std::to_string(attempt) + who +
                              " has taken this run over from attempt " +
                              std::to_string(writer.attempt),
                          "this attempt must not write any more");
}

// Why the lease does not tell; nothing where it is ours. Throws where it is a later one.
std::optional<Error> Doubt(const Writer& writer, const FileSystem& fs) {
  const auto lease = monitor::ReadLease(writer.run, fs);
  if (!lease) {
    return EnvironmentError("E-LEASE", writer.run.Lease(),
                            "is missing: who has the run cannot be told",
                            "its holder writes it again within seconds");
  }
  const bool same_owner = lease->owner == writer.owner;
  if (lease->attempt > writer.attempt || (lease->attempt == writer.attempt && !same_owner)) {
    throw Fenced(writer, lease->attempt, " of the launcher on " + lease->host);
  }
  if (same_owner) return std::nullopt;
  return EnvironmentError("E-LEASE", writer.run.Lease(),
                          "is of the earlier attempt " + std::to_string(lease->attempt) +
                              ", of a launcher on " + lease->host +
                              " that was taken for dead: who has the run cannot be told",
                          "its holder writes it again within seconds");
}

// A claim alone says nothing (its maker may have given way), a commit does.
void CheckLaterCommits(const Writer& writer, const FileSystem& fs) {
  for (const int attempt : monitor::AttemptsIn(fs, writer.run.root + "/attempts")) {
    if (attempt > writer.attempt && fs.Exists(writer.run.FirstCommit(attempt))) {
      throw Fenced(writer, attempt, ", which has committed a step,");
    }
  }
}

}  // namespace

void CheckFence(const Writer& writer, const FileSystem& fs, const monitor::Waiting& waiting) {
  const double begin = waiting.clock.Monotonic();
  while (const std::optional<Error> doubt = Doubt(writer, fs)) {
    if (waiting.clock.Monotonic() - begin >= kFenceSeconds) throw *doubt;
    monitor::Sleep(waiting, kLookSeconds);
  }
  CheckLaterCommits(writer, fs);
}

}  // namespace contrail::worker
