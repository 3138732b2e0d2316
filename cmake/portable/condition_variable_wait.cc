// std::condition_variable::wait, as libstdc++ has it. Since GCC 12 programs ask libstdc++.so for it
// by the version GLIBCXX_3.4.30, which the library of RHEL 9 (GCC 11) does not have, and it is the
// one thing of that version that Contrail needs. Linked into the installed programs:
// cmake/Portable.cmake.
#include <pthread.h>

#include <condition_variable>
#include <mutex>

void std::condition_variable::wait(std::unique_lock<std::mutex>& lock) noexcept {
  pthread_cond_wait(native_handle(), lock.mutex()->native_handle());
}
