#include "launcher/requeue_rule.h"

#include <csignal>

#include "common/error.h"

namespace contrail::launcher {

Requeue RequeueAfter(const JobEnd& end) {
  if (!end.in_allocation) return Requeue::kNo;
  if (end.exit_code == kExitStopped && end.signal == SIGUSR1) {
    return end.committed ? Requeue::kYes : Requeue::kNoProgress;
  }
  if (end.exit_code == kExitGaveUp && end.curable && end.committed) return Requeue::kYes;
  return Requeue::kNo;
}

}  // namespace contrail::launcher
