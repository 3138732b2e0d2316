#include "launcher/log_pump.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <csignal>
#include <utility>

#include "common/clock.h"
#include "common/error.h"
#include "common/log.h"

namespace contrail::launcher {
namespace {

constexpr size_t kTailLines = 80;  // notices of mpirun are long
constexpr size_t kLongestLine = 1 << 16;
constexpr size_t kBehind = 4 << 20;  // bytes that may wait for the disk
constexpr double kLastRead = 0.5;    // seconds for what a process that lives on still says

// What the shards lack is said by rank 0 at every start; nobody looks for it in a log.
void ShowToUser(const std::string& line) {
  constexpr std::string_view kLevel = "warning: ";
  constexpr std::string_view kRank = "rank 0: ";
  std::string_view rest = line;
  if (rest.starts_with(kRank)) rest.remove_prefix(kRank.size());
  if (!rest.starts_with(kLevel)) return;
  rest.remove_prefix(kLevel.size());
  if (rest.starts_with("data: ")) LogWarning(rest);
}

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

// The file, used by the writing thread alone.
struct LogPump::Log {
  Log(FileSystem& file_system, std::string name) : fs(file_system), path(std::move(name)) {}

  void Append(const std::string& text) {
    if (given_up) return;
    try {
      if (file == nullptr) {
        if (const size_t slash = path.rfind('/'); slash > 0) fs.MakeDirs(path.substr(0, slash));
        file = fs.Open(path, FileSystem::Mode::kTruncate);
      }
      file->PWrite(text.data(), text.size(), written);
      written += text.size();
    } catch (const std::exception& error) {
      given_up = true;
      file.reset();
      LogWarning("the ranks' log is given up: " + std::string(error.what()));
    }
  }

  FileSystem& fs;
  const std::string path;
  std::unique_ptr<WritableFile> file;
  uint64_t written = 0;
  bool given_up = false;
};

LogPump::LogPump(int fd, FileSystem& fs, const std::string& path)
    : fd_(fd), log_(std::make_shared<Log>(fs, path)), disk_(kBehind) {
  disk_.Post([log = log_] { log->Append(""); });  // the file is there from the start
  // Signals belong to the thread that watches.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  reader_ = std::thread([this] { Run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

LogPump::~LogPump() {
  stopping_ = true;
  reader_.join();
  // To close may block as well.
  disk_.Post([log = log_] { log->file.reset(); });
}

std::deque<std::string> LogPump::Tail() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return tail_;
}

void LogPump::Take(const std::string& raw, std::string& text) {
  const std::string line = RetagLine(raw);
  text += line + "\n";
  ShowToUser(line);
  const std::lock_guard<std::mutex> lock(mutex_);
  tail_.push_back(line);
  if (tail_.size() > kTailLines) tail_.pop_front();
}

void LogPump::Write(std::string text, size_t lines) {
  if (text.empty()) return;
  if (dropped_ > 0) {
    text = "contrail: " + std::to_string(dropped_) +
           " lines were dropped here: the disk was too slow\n" + text;
  }
  const size_t size = text.size();
  if (disk_.Post([log = log_, text = std::move(text)] { log->Append(text); }, size)) {
    dropped_ = 0;
    return;
  }
  if (dropped_ == 0) LogWarning("the disk is too slow for the ranks' log: lines are dropped");
  dropped_ += lines;
}

void LogPump::Run() {
  std::string pending;
  std::array<char, 16384> buffer{};
  double last = 0;  // when to end, whatever still comes
  for (;;) {
    pollfd entry = {fd_, POLLIN, 0};
    const bool stopping = stopping_;
    if (stopping && last == 0) last = SystemClock().Monotonic() + kLastRead;
    const int ready = poll(&entry, 1, 50);
    if (stopping && (ready == 0 || SystemClock().Monotonic() > last)) break;
    if (ready <= 0) continue;
    const ssize_t n = read(fd_, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    pending.append(buffer.data(), static_cast<size_t>(n));
    std::string text;
    size_t start = 0;
    size_t lines = 0;
    for (size_t end; (end = pending.find('\n', start)) != pending.npos; start = end + 1) {
      Take(pending.substr(start, end - start), text);
      ++lines;
    }
    pending.erase(0, start);
    if (pending.size() > kLongestLine) {
      Take(pending, text);
      pending.clear();
      ++lines;
    }
    Write(std::move(text), lines);
  }
  if (pending.empty()) return;
  std::string text;
  Take(pending, text);
  Write(std::move(text), 1);
}

}  // namespace contrail::launcher
