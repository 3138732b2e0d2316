#include "launcher/memory_watch.h"

#include "common/memory_limit.h"
#include "common/strings.h"

namespace contrail::launcher {

MemoryWatch::MemoryWatch() : before_(MemoryKills()) {}

std::string MemoryWatch::Word() const {
  if (MemoryKills() <= before_) return "";
  const uint64_t limit = MemoryLimit();
  const std::string of = limit == UINT64_MAX ? "" : ", the limit here is " + HumanBytes(limit);
  return "; the kernel killed it for want of memory" + of +
         ": give the job more, or lower train.micro_batch_size or the ranks of a node";
}

}  // namespace contrail::launcher
