#include "launcher/background.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <array>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/log.h"
#include "common/recording_file_system.h"
#include "launcher/log_pump.h"
#include "launcher/stderr_thread.h"
#include "tests/launcher/standing_still.h"

namespace contrail::launcher {
namespace {

using ::testing::EndsWith;

constexpr double kLong = 30;  // seconds; what is waited for comes at once

double Now() { return SystemClock().Monotonic(); }

TEST(Background, DoesOneThingAfterAnother) {
  std::vector<int> done;
  Background background(100);
  for (int i = 0; i < 50; ++i) background.Post([&done, i] { done.push_back(i); });
  ASSERT_TRUE(background.Settle(kLong));
  ASSERT_EQ(done.size(), 50u);
  EXPECT_EQ(done.back(), 49);
}

TEST(Background, WhatIsTooMuchIsRefusedAndWhatHangsIsLeftBehind) {
  const auto gate = std::make_shared<Gate>();
  const double begin = Now();
  {
    Background background(10);
    EXPECT_TRUE(background.Post([gate] { gate->Wait(); }, 4));
    EXPECT_TRUE(background.Post([] {}, 6));
    EXPECT_FALSE(background.Post([] {}, 1));
    EXPECT_FALSE(background.Settle(0.01));
    EXPECT_FALSE(background.Ask([] { return 1; }, 0.01).has_value());
  }
  EXPECT_LT(Now() - begin, 10);
  gate->Open();
}

TEST(Background, AnswersOrSaysThatItDoesNotKnow) {
  Background background(10);
  EXPECT_EQ(background.Ask([] { return 7; }, kLong), 7);
  EXPECT_EQ(background.Ask([]() -> int { throw std::runtime_error("EIO"); }, kLong), std::nullopt);
}

TEST(LogPump, ADiskThatStandsStillNeitherStopsTheRanksNorTheEnd) {
  const auto gate = std::make_shared<Gate>();
  RecordingFileSystem& disk = *new RecordingFileSystem;  // used by the thread that is left behind
  StandingStill& fs = *new StandingStill(disk, gate);
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe(ends.data()), 0);
  const double begin = Now();
  {
    LogPump pump(ends[0], fs, "/log");
    // 16 MB: neither the pipe nor the buffer holds them.
    const std::string line(1023, 'x');
    for (int i = 0; i < 16 * 1024; ++i) {
      const std::string text = line + "\n";
      ASSERT_EQ(write(ends[1], text.data(), text.size()), 1024);
    }
    const std::string last = "the end\n";
    ASSERT_EQ(write(ends[1], last.data(), last.size()), std::ssize(last));
    close(ends[1]);
    while (pump.Tail().empty() || pump.Tail().back() != "the end") {
      ASSERT_LT(Now() - begin, kLong);
      usleep(1000);
    }
  }
  EXPECT_LT(Now() - begin, kLong);
  gate->Open();
  close(ends[0]);
}

constexpr const char* kDropped = " lines were dropped here: the disk was too slow\n";

TEST(LogPump, SaysHowManyLinesWereDropped) {
  const auto gate = std::make_shared<Gate>();
  RecordingFileSystem& disk = *new RecordingFileSystem;  // used by the thread that is left behind
  StandingStill& fs = *new StandingStill(disk, gate);
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe(ends.data()), 0);
  {
    LogPump pump(ends[0], fs, "/log");
    const auto say = [&](const std::string& text) {
      const std::string line = text + "\n";
      ASSERT_EQ(write(ends[1], line.data(), line.size()), std::ssize(line));
    };
    const auto wait_for = [&](const std::string& text) {
      while (pump.Tail().empty() || pump.Tail().back() != text) usleep(1000);
    };
    for (int i = 0; i < 8 * 1024; ++i) say(std::string(1023, 'x'));
    say("last of these");
    wait_for("last of these");
    gate->Open();
    // Until the disk has caught up.
    while (!disk.Exists("/log") || disk.ReadAll("/log").find(kDropped) == std::string::npos) {
      say("after");
      wait_for("after");
      usleep(1000);
    }
    close(ends[1]);
  }
  EXPECT_THAT(disk.ReadAll("/log"), EndsWith("\nafter\n"));
  close(ends[0]);
}

// stderr as a pipe that we read from.
class StderrPipe {
 public:
  StderrPipe() : before_(dup(STDERR_FILENO)) {
    EXPECT_EQ(pipe(ends_.data()), 0);
    dup2(ends_[1], STDERR_FILENO);
    close(ends_[1]);
  }
  ~StderrPipe() {
    Restore();
    close(ends_[0]);
  }
  void Restore() {
    if (before_ < 0) return;
    dup2(before_, STDERR_FILENO);
    close(before_);
    before_ = -1;
  }
  std::string Read() {
    std::string text;
    std::array<char, 65536> buffer{};
    for (ssize_t n; (n = read(ends_[0], buffer.data(), buffer.size())) > 0;) {
      text.append(buffer.data(), static_cast<size_t>(n));
    }
    return text;
  }

 private:
  int before_;
  std::array<int, 2> ends_{};
};

TEST(StderrThread, WritesTheSameBytesInTheSameOrder) {
  StderrPipe pipe;
  {
    StderrThread thread;
    LogInfo("contrail: one");
    LogWarning("two");
    WriteStderr("\x1b[1Athree");
    LogError("four");
    EXPECT_TRUE(thread.Flush(kLong));
  }
  LogInfo("five");
  pipe.Restore();
  EXPECT_EQ(pipe.Read(), "contrail: one\nwarning: two\n\x1b[1Athreeerror: four\nfive\n");
}

TEST(StderrThread, AReaderThatStandsStillIsNotWaitedFor) {
  StderrPipe pipe;
  const double begin = Now();
  {
    StderrThread thread;
    for (int i = 0; i < 4096; ++i) LogInfo(std::string(1023, 'x'));  // 4 MB
  }
  EXPECT_LT(Now() - begin, kLong);
}

}  // namespace
}  // namespace contrail::launcher
