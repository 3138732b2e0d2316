#include "common/open_files.h"

#include <sys/resource.h>

namespace contrail {

void RaiseOpenFilesLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);  // where it is refused, the old limit is what there is
}

}  // namespace contrail
