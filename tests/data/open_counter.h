#pragma once
// Counts how often files of a folder are opened, by this process or any other, as the kernel sees
// it: no seam in the code under test.

#include <gtest/gtest.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <string>

namespace contrail::data {

class OpenCounter {
 public:
  explicit OpenCounter(const std::string& folder) : fd_(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) {
    EXPECT_GE(::inotify_add_watch(fd_, folder.c_str(), IN_OPEN), 0);
  }
  ~OpenCounter() { ::close(fd_); }
  OpenCounter(const OpenCounter&) = delete;

  // Opens by file name since the last call; the folder itself is not counted.
  std::map<std::string, int> Take() {
    std::map<std::string, int> opens;
    alignas(inotify_event) char buffer[1 << 16];
    ssize_t size;
    while ((size = ::read(fd_, buffer, sizeof buffer)) > 0) {
      for (ssize_t at = 0; at < size;) {
        const auto* event = reinterpret_cast<const inotify_event*>(buffer + at);
        EXPECT_FALSE(event->mask & IN_Q_OVERFLOW);
        if (event->len > 0 && !(event->mask & IN_ISDIR)) ++opens[event->name];
        at += static_cast<ssize_t>(sizeof *event + event->len);
      }
    }
    return opens;
  }

 private:
  int fd_;
};

}  // namespace contrail::data
