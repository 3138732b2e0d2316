#include "common/token.h"

#include <sys/random.h>

#include <cerrno>
#include <cstdint>

#include "common/error.h"
#include "common/hash.h"

namespace contrail {

std::string RandomToken() {
  uint64_t bits = 0;
  ssize_t got = 0;
  do {
    got = getrandom(&bits, sizeof bits, 0);
  } while (got < 0 && errno == EINTR);
  CONTRAIL_ASSERT(got == sizeof bits);
  return Hex64(bits);
}

}  // namespace contrail
