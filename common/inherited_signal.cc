#include "common/inherited_signal.h"

#include <csignal>

namespace contrail {

bool InheritedIgnored(int signal) {
  struct sigaction now {};
  return sigaction(signal, nullptr, &now) == 0 && now.sa_handler == SIG_IGN;
}

}  // namespace contrail
