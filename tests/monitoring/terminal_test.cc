// The live view in a real terminal (tmux): keys, resizing, and what is left behind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <thread>

#include "common/clock.h"
#include "common/strings.h"
#include "configs/cli.h"
#include "monitoring/viewer/commands.h"
#include "tests/monitoring/synthetic_run.h"

namespace contrail::monitor {
namespace {

using testing::HasSubstr;
using testing::Not;

class Tmux {
 public:
  // A server of its own each time: one that is shutting down may not take a new session.
  explicit Tmux(const RunDir& run)
      : socket_(run.root + "/tmux_" + std::to_string(SystemClock().Monotonic())) {
    Run("-f /dev/null new-session -d -x 100 -y 30 'PS1=ready: sh'");
    Run("set-option -g window-size manual");
  }
  ~Tmux() { Run("kill-server"); }

  std::string Run(const std::string& command) {
    return Capture("tmux -S " + socket_ + " " + command + " 2>&1");
  }
  void Type(const std::string& text) { Run("send-keys '" + text + "' Enter"); }
  void Key(const std::string& key) { Run("send-keys '" + key + "'"); }
  std::string Screen() { return Run("capture-pane -p"); }

  // The screen once it contains `text`, or the last one after ten seconds.
  std::string Await(const std::string& text) {
    const double start = SystemClock().Monotonic();
    while (true) {
      std::string screen = Screen();
      if (screen.find(text) != std::string::npos) return screen;
      if (SystemClock().Monotonic() - start > 10) return screen;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }

 private:
  std::string socket_;
};

class TerminalTest : public testing::Test {
 protected:
  void SetUp() override {
    if (getenv("CONTRAIL_TEST_RUN") != nullptr) return;  // this is the program, not a test
    if (Capture("command -v tmux").empty()) GTEST_SKIP() << "tmux is not installed";
    scratch_ = std::make_unique<ScratchRun>();
    run_.root = scratch_->run().root + "/demo";
    MakeSyntheticRun(run_);
  }

  std::string Start(Tmux& tmux, const std::string& environment = "") {
    tmux.Type(environment + " CONTRAIL_TEST_RUN=" + run_.root + " " + CONTRAIL_BINARY_DIR +
              "/bin/monitoring_tests --gtest_also_run_disabled_tests "
              "--gtest_filter=TerminalTest.DISABLED_Program");
    return tmux.Await("q leave");
  }

  void ExpectRestored(Tmux& tmux) {
    tmux.Await("ready:");
    tmux.Type("stty -a | tr \";\" \"\\n\" | grep -w icanon; echo finished");
    const std::string screen = tmux.Await("\nfinished");
    EXPECT_THAT(screen, HasSubstr(" icanon"));
    EXPECT_THAT(screen, HasSubstr(" echo "));
    EXPECT_THAT(screen, Not(HasSubstr("step anatomy"))) << "the alternate screen is gone";
    EXPECT_EQ(tmux.Run("display-message -p '#{cursor_flag}#{alternate_on}'"), "10\n");
  }

  std::unique_ptr<ScratchRun> scratch_;
  RunDir run_;
};

// Not a test: the program that the tests below start inside tmux.
TEST_F(TerminalTest, DISABLED_Program) {
  const char* root = getenv("CONTRAIL_TEST_RUN");
  ASSERT_NE(root, nullptr);
  if (getenv("CONTRAIL_TEST_CRASH") != nullptr) {
    std::thread([] {
      std::this_thread::sleep_for(std::chrono::milliseconds(1500));
      abort();
    }).detach();
  }
  exit(RunViewCommand(ParseArgs(CommandTable(), {"view", root})));
}

TEST_F(TerminalTest, ShowsFollowsResizesHelpsAndLeaves) {
  Tmux tmux(run_);
  std::string screen = Start(tmux);
  EXPECT_THAT(screen, HasSubstr("50 / 80 steps"));
  EXPECT_THAT(screen, HasSubstr("step anatomy"));
  EXPECT_EQ(tmux.Run("display-message -p '#{cursor_flag}#{alternate_on}'"), "01\n");

  // The run goes on while it is watched.
  {
    const auto recorder =
        Recorder::Open({.run = run_, .attempt = 3, .resumed_step = 40, .total_steps = 80});
    for (uint64_t step = 41; step <= 61; ++step) recorder->Record(SyntheticStep(step, 2));
  }
  EXPECT_THAT(tmux.Await("61 / 80 steps"), HasSubstr("61 / 80 steps"));

  tmux.Run("resize-window -x 140 -y 40");
  for (int i = 0; i < 100; ++i) {
    screen = tmux.Screen();
    if (Split(screen, '\n')[39].find("q leave") != std::string::npos) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_THAT(Split(screen, '\n')[39], HasSubstr("q leave"));

  tmux.Key("?");
  EXPECT_THAT(tmux.Await("the run goes on"), HasSubstr("the run goes on"));
  tmux.Key("?");
  EXPECT_THAT(tmux.Await("61 / 80 steps"), HasSubstr("step anatomy"));
  tmux.Key("q");
  ExpectRestored(tmux);
}

TEST_F(TerminalTest, CtrlCSignalsAndCrashesGiveTheTerminalBack) {
  for (const std::string way : {"C-c", "SIGTERM", "crash", "C-z"}) {
    SCOPED_TRACE(way);
    Tmux tmux(run_);
    EXPECT_THAT(Start(tmux, way == "crash" ? "CONTRAIL_TEST_CRASH=1" : ""), HasSubstr("q leave"));
    if (way == "SIGTERM") {
      const std::string shell = tmux.Run("display-message -p '#{pane_pid}'");
      Capture("pkill -TERM -P " + std::string(Trim(shell)));
    } else if (way != "crash") {
      tmux.Key(way);
    }
    ExpectRestored(tmux);
    if (way == "C-z") {
      tmux.Type("fg");
      EXPECT_THAT(tmux.Await("q leave"), HasSubstr("step anatomy"));
      tmux.Key("q");
      ExpectRestored(tmux);
    }
  }
}

}  // namespace
}  // namespace contrail::monitor
