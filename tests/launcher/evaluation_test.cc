#include "launcher/evaluation.h"

#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "launcher/child.h"

namespace contrail::launcher {
namespace {

using End = WatchedRun::End;

WatchedRun Shell(const std::string& script, double limit, StopSignals& signals) {
  return RunWatched({FindProgram("sh"), "-c", script}, limit, signals);
}

TEST(RunWatched, GivesWhatWasSaidAndHowItEnded) {
  StopSignals signals;
  const WatchedRun run = Shell("echo result; exit 3", 60, signals);
  EXPECT_EQ(run.end, End::kExited);
  EXPECT_EQ(run.said, "result\n");
  EXPECT_EQ(WEXITSTATUS(run.status), 3);
}

TEST(RunWatched, ProgressKeepsItAliveBeyondTheLimit) {
  StopSignals signals;
  const std::string ten =
      "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.3; printf . >&3; done; echo ok";
  const WatchedRun run = Shell(ten, 2, signals);
  EXPECT_EQ(run.end, End::kExited);
  EXPECT_EQ(run.said, "ok\n");
}

// Before its first word it may take as long as it likes while it reads: libraries, say.
TEST(RunWatched, WhatItReadsIsProgressUntilItSpeaks) {
  StopSignals signals;
  const WatchedRun run = Shell(
      "for i in 1 2 3 4 5 6 7 8 9 10; do read line < /proc/self/stat; sleep 0.3; done; echo ok", 1,
      signals);
  EXPECT_EQ(run.end, End::kExited);
  EXPECT_EQ(run.said, "ok\n");
}

TEST(RunWatched, AReaderThatIsSlowStopsNobody) {
  StopSignals signals;
  const WatchedRun run = Shell("head -c 1000000 /dev/zero >&3 2>/dev/null; echo ok", 60, signals);
  EXPECT_EQ(run.said, "ok\n");
}

TEST(RunWatched, SilenceEndsIt) {
  StopSignals signals;
  const WatchedRun run = Shell("printf . >&3; kill -STOP $$", 0.3, signals);
  EXPECT_EQ(run.end, End::kSilent);
}

TEST(RunWatched, AStopEndsIt) {
  StopSignals signals;
  raise(SIGUSR1);
  const WatchedRun run = Shell("sleep 100", 60, signals);
  EXPECT_EQ(run.end, End::kStopped);
}

TEST(RunWatched, AResultThatCameIsNotThrownAway) {
  StopSignals signals;
  // It has closed its stdout, asks for the stop itself, and then does not come to an end.
  const WatchedRun run =
      Shell("echo result; exec >&-; kill -USR1 $PPID; kill -STOP $$", 2, signals);
  EXPECT_EQ(run.end, End::kExited);
  EXPECT_EQ(run.said, "result\n");
}

}  // namespace
}  // namespace contrail::launcher
