#include "worker/fence.h"

#include "common/error.h"
#include "monitoring/run_files.h"

namespace contrail::worker {

void CheckFence(const Writer& writer, const FileSystem& fs) {
  const auto lease = monitor::ReadLease(writer.run, fs);
  if (!lease) {
    if (!writer.supervised) return;
    throw EnvironmentError("E-LEASE", writer.run.Lease(),
                           "is missing: who has the run cannot be told",
                           "its launcher writes it again within seconds");
  }
  const bool same_owner = !writer.supervised || lease->owner == writer.owner;
  if (same_owner && lease->attempt <= writer.attempt) return;
  throw EnvironmentError("E-FENCED", writer.run.Lease(),
                         "attempt " + std::to_string(lease->attempt) + " of the launcher on " +
                             lease->host + " has taken this run over from attempt " +
                             std::to_string(writer.attempt),
                         "this attempt must not write any more");
}

}  // namespace contrail::worker
