#include "launcher/log_pump.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <csignal>

#include "common/error.h"
#include "common/log.h"

namespace contrail::launcher {
namespace {

constexpr size_t kTailLines = 20;
constexpr size_t kLongestLine = 1 << 16;

}  // namespace

std::string RetagLine(const std::string& line) {
  // [job,rank]<stream>:text
  const size_t comma = line.find(',');
  const size_t close = line.find("]<std", 0);
  const size_t colon = line.find(">:", 0);
  if (line.empty() || line[0] != '[' || comma == line.npos || close == line.npos ||
      colon == line.npos || comma > close || close > colon) {
    return line;
  }
  int rank = 0;
  const auto result = std::from_chars(line.data() + comma + 1, line.data() + close, rank);
  if (result.ec != std::errc() || result.ptr != line.data() + close) return line;
  return "rank " + std::to_string(rank) + ": " + line.substr(colon + 2);
}

LogPump::LogPump(int fd, FileSystem& fs, const std::string& path) : fd_(fd), path_(path) {
  file_ = fs.Open(path, FileSystem::Mode::kTruncate);
  // Signals belong to the thread that watches.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { Run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

LogPump::~LogPump() {
  stopping_ = true;
  thread_.join();
}

std::deque<std::string> LogPump::Tail() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return tail_;
}

void LogPump::Take(const std::string& raw) {
  const std::string line = RetagLine(raw);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    tail_.push_back(line);
    if (tail_.size() > kTailLines) tail_.pop_front();
  }
  if (file_ == nullptr) return;
  try {
    const std::string text = line + "\n";
    file_->PWrite(text.data(), text.size(), written_);
    written_ += text.size();
  } catch (const Error& error) {
    LogWarning("the ranks' log is given up: " + std::string(error.what()));
    file_.reset();
  }
}

void LogPump::Run() {
  std::string pending;
  std::array<char, 16384> buffer{};
  for (;;) {
    pollfd entry = {fd_, POLLIN, 0};
    const bool stopping = stopping_;
    const int ready = poll(&entry, 1, 50);
    if (ready == 0 && stopping) break;
    if (ready <= 0) continue;
    const ssize_t n = read(fd_, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    pending.append(buffer.data(), static_cast<size_t>(n));
    size_t start = 0;
    for (size_t end; (end = pending.find('\n', start)) != pending.npos; start = end + 1) {
      Take(pending.substr(start, end - start));
    }
    pending.erase(0, start);
    if (pending.size() > kLongestLine) {
      Take(pending);
      pending.clear();
    }
  }
  if (!pending.empty()) Take(pending);
}

}  // namespace contrail::launcher
