#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include <limits>
#include <nlohmann/json.hpp>

#include "common/clock.h"
#include "common/error.h"
#include "common/host_name.h"
#include "common/strings.h"
#include "configs/cli.h"
#include "monitoring/viewer/canvas.h"
#include "monitoring/viewer/chart.h"
#include "monitoring/viewer/commands.h"
#include "monitoring/viewer/frame.h"
#include "monitoring/viewer/json.h"
#include "monitoring/viewer/page.h"
#include "monitoring/viewer/status_line.h"
#include "monitoring/viewer/text.h"
#include "tests/monitoring/synthetic_run.h"

namespace contrail::monitor {
namespace {

using testing::HasSubstr;

// The files of a synthetic run, read at a fixed time under a fixed name.
class SyntheticRun {
 public:
  SyntheticRun() : run_{scratch_.run().root + "/demo"} { MakeSyntheticRun(run_); }
  const RunDir& run() const { return run_; }
  RunStatus Status(double now = kSyntheticEnd - 13.5) const {
    // The recorder stamps its opening and closing records with the real clock; what is shown of
    // time must not depend on it here.
    RunStatus status = ReadStatus(run_, RunStore(run_), PosixFileSystem(), FakeClock(now));
    status.elapsed = 45;
    status.silent = 0.5;
    status.goodput = 0.561;
    return status;
  }

 private:
  ScratchRun scratch_;
  RunDir run_;
};

// Compares with tests/monitoring/golden/NAME. A changed look: look at the difference, then run with
// CONTRAIL_UPDATE_GOLDEN=1.
void ExpectGolden(const std::string& name, const std::string& text) {
  const std::string path = std::string(CONTRAIL_SOURCE_DIR) + "/tests/monitoring/golden/" + name;
  if (getenv("CONTRAIL_UPDATE_GOLDEN") != nullptr) WriteFile(path, text + "\n");
  EXPECT_EQ(text + "\n", ReadFile(path)) << name << ":\n" << text;
}

void ExpectFits(const std::string& frame, int width, int height) {
  const auto lines = Split(frame, '\n');
  EXPECT_EQ(lines.size(), static_cast<size_t>(height));
  for (const std::string& line : lines) EXPECT_LE(Columns(line), width) << line;
}

TEST(StatusTest, PutsTheRunTogether) {
  const SyntheticRun synthetic;
  const RunStatus status = synthetic.Status();
  EXPECT_EQ(status.name, "demo");
  EXPECT_EQ(status.step, 50u);
  EXPECT_EQ(status.total_steps, 80u);
  EXPECT_EQ(status.samples_seen, 50u * 256);
  EXPECT_EQ(status.epochs, 2.0);
  EXPECT_EQ(status.attempt, 2);
  EXPECT_EQ(status.restarts, 1);
  EXPECT_EQ(status.world_size, 4);
  EXPECT_EQ(status.committed_step, 40u);
  EXPECT_EQ(status.risk_steps, 10u);
  EXPECT_NEAR(status.risk_seconds, 5, 1e-6);
  EXPECT_EQ(status.superseded, 7u);
  EXPECT_EQ(status.trained_again, 7u);
  EXPECT_EQ(status.loss, SyntheticStep(50, 2).loss);
  EXPECT_NEAR(status.step_seconds, 0.5, 1e-6);
  ASSERT_TRUE(status.eta);
  EXPECT_NEAR(*status.eta, 15, 1e-6);
  EXPECT_EQ(status.window, 30u) << "rates never span a restart";
  ASSERT_EQ(status.stragglers.size(), 1u);
  EXPECT_EQ(status.stragglers[0].rank, 2);
  EXPECT_EQ(status.stragglers[0].collective, "feature gather");
  EXPECT_EQ(status.stragglers[0].share, 1.0);
  EXPECT_NEAR(status.stragglers[0].seconds, 0.04, 1e-6);
  EXPECT_EQ(status.phases.size(), 9u) << "a phase that takes no time is not shown";
  ASSERT_EQ(status.checkpoints.size(), 2u);
  EXPECT_TRUE(status.checkpoints[1].on_disk);
  ASSERT_EQ(status.evals.size(), 1u);
  EXPECT_THAT(status.evals[0].numbers, testing::Contains(testing::Pair("ensemble.top1", 0.6125)));
}

TEST(StatusTest, StateFollowsLeaseSummaryAndTelemetry) {
  const SyntheticRun synthetic;
  const RunDir& run = synthetic.run();
  const double real_now = SystemClock().Now();  // the recorder's own stamps are of now
  const auto state = [&](double now) {
    return ReadStatus(run, RunStore(run), PosixFileSystem(), FakeClock(now)).state;
  };
  EXPECT_EQ(state(real_now + 1), "running");
  EXPECT_EQ(state(real_now + 59), "running");
  EXPECT_EQ(state(real_now + 62), "stalled");

  const std::string host = HostName();
  Lease lease{.attempt = 2, .pid = getpid(), .host = host, .time = real_now, .state = "running"};
  WriteLease(run, lease);
  EXPECT_EQ(state(real_now + 1), "running");
  lease.state = "restarting";
  WriteLease(run, lease);
  EXPECT_EQ(state(real_now + 1), "restarting");
  lease.state = "running";
  lease.attempt = 3;
  WriteLease(run, lease);
  EXPECT_EQ(state(real_now + 1), "starting") << "no record of attempt 3 yet";
  const pid_t gone = fork();
  if (gone == 0) _exit(0);
  waitpid(gone, nullptr, 0);
  lease.pid = gone;
  WriteLease(run, lease);
  EXPECT_EQ(state(real_now + 1), "failed") << "the launcher is gone";
  lease.boot = BootId();
  WriteLease(run, lease);
  EXPECT_EQ(state(real_now + 1), "failed");
  lease.boot = "of another host by this name";
  WriteLease(run, lease);
  EXPECT_EQ(state(real_now + 1), "starting") << "its number means nothing here";

  WriteSummary(run, {.state = "gave_up", .attempts = 3, .time = real_now});
  EXPECT_EQ(state(real_now + 1), "gave_up");
  lease = {.attempt = 4, .pid = getpid(), .host = host, .time = real_now + 5, .state = "running"};
  WriteLease(run, lease);
  EXPECT_EQ(state(real_now + 6), "starting") << "resumed since: the summary is of an earlier end";
  PosixFileSystem().RemoveFile(run.Summary());
  PosixFileSystem().RemoveFile(run.Lease());
  EXPECT_EQ(state(real_now + 1), "stopped") << "closed in good order before its last step";
}

TEST(StatusTest, ARunThatHasOnlyAConfigIsShown) {
  ScratchRun scratch;
  WriteFile(scratch.run().Config(),
            "[model]\nname = \"tiny-vit\"\n[data]\ntrain = [\"a.tar\"]\n"
            "[train]\nsteps = 10\n");
  CheckRunDir(PosixFileSystem(), scratch.run().root);
  const RunStatus status = ReadStatus(scratch.run(), RunStore(scratch.run()));
  EXPECT_EQ(status.state, "no telemetry");
  EXPECT_EQ(status.model, "tiny-vit");
  EXPECT_THAT(RenderPage(status), HasSubstr("no step recorded yet"));
  ExpectFits(RenderFrame(status, 80, 24, {.color = false}), 80, 24);
  EXPECT_FALSE(nlohmann::json::parse(RenderJson(status), nullptr, false).is_discarded());
}

TEST(FrameTest, Golden80x24) {
  const std::string frame = RenderFrame(SyntheticRun().Status(), 80, 24, {.color = false});
  ExpectFits(frame, 80, 24);
  ExpectGolden("frame_80x24.txt", frame);
}

TEST(FrameTest, Golden120x40) {
  const std::string frame = RenderFrame(SyntheticRun().Status(), 120, 40, {.color = false});
  ExpectFits(frame, 120, 40);
  ExpectGolden("frame_120x40.txt", frame);
}

TEST(FrameTest, GoldenHelp) {
  const RunStatus status;
  ExpectGolden("frame_help.txt", RenderFrame(status, 80, 24, {.color = false, .help = true}));
}

TEST(FrameTest, EverySizeFitsAndColoursAreOnlyThereWhenAskedFor) {
  const RunStatus status = SyntheticRun().Status();
  for (int width = 1; width <= 220; width += 7) {
    for (int height = 1; height <= 70; height += 3) {
      const std::string frame = RenderFrame(status, width, height, {.color = false});
      ExpectFits(frame, width, height);
      ASSERT_EQ(frame.find('\x1b'), std::string::npos);
    }
  }
  EXPECT_THAT(RenderFrame(status, 80, 24, {.color = true}), HasSubstr("\x1b["));
}

TEST(FrameTest, EscapesInNamesDoNotReachTheTerminal) {
  RunStatus status = SyntheticRun().Status();
  status.name = "a\x1b[31mb\xff";
  status.incidents[0].detail = "\x1b]0;title\x07";
  const std::string frame = RenderFrame(status, 120, 40, {.color = false});
  EXPECT_EQ(frame.find('\x1b'), std::string::npos);
  EXPECT_EQ(frame.find('\x07'), std::string::npos);
}

TEST(PageTest, EscapesOfOthersAreSpeltOut) {
  const SyntheticRun synthetic;
  RunStatus status = synthetic.Status();
  const std::string forged = "\x1b[2J\ncontrail: all fine";
  status.name += forged;
  status.incidents.at(0).detail = forged;
  status.incidents.at(0).host = forged;
  status.evals.push_back({.file = "a.json", .task = forged, .dataset = forged});
  status.files.push_back({.name = forged, .problem = forged});
  const std::string page = RenderPage(status);
  EXPECT_EQ(page.find('\x1b'), std::string::npos);
  EXPECT_THAT(page, testing::Not(HasSubstr("\ncontrail:")));
  EXPECT_THAT(page, HasSubstr("\\x1b[2J\\x0acontrail"));
}

// A file in eval/ may be anybody's; each of these made every form of the viewer overrun its stack.
TEST(StatusTest, AnEvaluationNestedWithoutEndIsPassedOver) {
  const SyntheticRun synthetic;
  const size_t evals = synthetic.Status().evals.size();
  std::string objects = "{\"task\": \"x\"", lists = "{\"a\": ";
  for (int i = 0; i < 100'000; ++i) objects += ", \"a\": {\"b\": 1";
  objects += std::string(100'001, '}');
  lists += std::string(100'000, '[') + std::string(100'000, ']') + "}";
  PosixFileSystem().MakeDirs(synthetic.run().Eval());
  WriteFile(synthetic.run().Eval() + "/deep.json", objects);
  WriteFile(synthetic.run().Eval() + "/lists.json", lists);
  const RunStatus status = synthetic.Status();
  EXPECT_EQ(status.evals.size(), evals);
  RenderPage(status);
  RenderJson(status);
}

TEST(FrameTest, LossesThatAreNoNumbersDoNotBreakTheChart) {
  std::vector<CurveBucket> flat = {{1, 2, 2, 2}, {2, 2, 2, 2}};
  Canvas canvas(40, 8);
  DrawCurve(canvas, 0, 0, 40, 8, flat, {});
  EXPECT_THAT(canvas.ToString(false), HasSubstr("step 1"));
  EXPECT_EQ(Sparkline({1, std::numeric_limits<double>::quiet_NaN(), 3}, 10), "▁×█");
  EXPECT_EQ(Sparkline({}, 10), "");

  ScratchRun scratch;
  {
    const auto recorder = Recorder::Open({.run = scratch.run()});
    for (uint64_t step = 1; step <= 20; ++step) {
      StepRecord record = MakeStep(step);
      if (step > 10) record.loss = std::numeric_limits<double>::infinity();
      recorder->Record(record);
    }
  }
  const RunStatus status = ReadStatus(scratch.run(), RunStore(scratch.run()));
  EXPECT_EQ(status.nonfinite_steps, 10u);
  EXPECT_THAT(RenderFrame(status, 120, 40, {.color = false}), HasSubstr("not finite"));
  EXPECT_THAT(RenderPage(status), HasSubstr("10 steps have a loss that is no number"));
}

TEST(PageTest, Golden) {
  std::string page = RenderPage(SyntheticRun().Status());
  page.pop_back();
  EXPECT_EQ(page.find('\x1b'), std::string::npos);
  ExpectGolden("page.txt", page);
}

TEST(JsonTest, HoldsTheSameAndIsOneLine) {
  const std::string text = RenderJson(SyntheticRun().Status());
  EXPECT_EQ(text.find('\n'), text.size() - 1);
  const auto json = nlohmann::json::parse(text);
  EXPECT_EQ(json["step"], 50);
  EXPECT_EQ(json["total_steps"], 80);
  EXPECT_EQ(json["committed_step"], 40);
  EXPECT_EQ(json["learning"]["loss"].get<double>(), SyntheticStep(50, 2).loss);
  EXPECT_EQ(json["incidents"][0]["ledger"]["to_next_step"], 6.0);
  EXPECT_EQ(json["eval"][0]["ensemble"]["top1"], 0.6125);
  EXPECT_EQ(json["phases"].size(), 9u);
  EXPECT_THAT(json["telemetry"]["series"].get<std::vector<std::string>>(),
              testing::Contains("loss"));
}

TEST(JsonTest, SeriesReadBackBitForBit) {
  const SyntheticRun synthetic;
  const RunStore store(synthetic.run());
  const auto lines = Split(RenderSeries(store.Series(*FindMetric("loss"))), '\n');
  ASSERT_EQ(lines.size(), 51u);
  EXPECT_EQ(lines.back(), "");
  for (uint64_t step = 1; step <= 50; ++step) {
    const auto point = nlohmann::json::parse(lines[step - 1]);
    EXPECT_EQ(point["step"], step);
    EXPECT_EQ(point["value"].get<double>(), SyntheticStep(step, step <= 20 ? 1 : 2).loss);
  }
  EXPECT_EQ(RenderSeries({{3, 0.1 + 0.2}, {4, std::numeric_limits<double>::quiet_NaN()}}),
            "{\"step\":3,\"value\":0.30000000000000004}\n{\"step\":4,\"value\":\"NaN\"}\n");
}

int View(const std::vector<std::string>& words, std::string* out) {
  std::vector<std::string> all = {"view"};
  all.insert(all.end(), words.begin(), words.end());
  const ParsedArgs args = ParseArgs(CommandTable(), all);
  testing::internal::CaptureStdout();
  try {
    const int code = RunViewCommand(args);
    *out = testing::internal::GetCapturedStdout();
    return code;
  } catch (const Error& error) {
    EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
    *out = error.what();
    return error.exit_code();
  }
}

TEST(ViewCommandTest, PageJsonAndSeries) {
  const SyntheticRun synthetic;
  const std::string root = synthetic.run().root;
  std::string out;
  EXPECT_EQ(View({root, "--once"}, &out), 0);
  EXPECT_THAT(out, HasSubstr("50 / 80 steps"));
  EXPECT_EQ(View({root}, &out), 0) << "off a terminal as with --once";
  EXPECT_THAT(out, HasSubstr("50 / 80 steps"));
  EXPECT_EQ(View({root + "/", "--json"}, &out), 0);
  EXPECT_EQ(nlohmann::json::parse(out)["name"], "demo");
  EXPECT_EQ(View({root, "--json", "--series", "loss"}, &out), 0);
  EXPECT_EQ(std::count(out.begin(), out.end(), '\n'), 50);
}

TEST(ViewCommandTest, MistakesAreOneLineAndExit2) {
  const SyntheticRun synthetic;
  std::string out;
  EXPECT_EQ(View({synthetic.run().root, "--json", "--series", "los"}, &out), 2);
  EXPECT_THAT(out, HasSubstr("E-VIEW-SERIES"));
  EXPECT_THAT(out, HasSubstr("did you mean 'loss'?"));
  EXPECT_THAT(out, HasSubstr("grad_norm"));
  EXPECT_EQ(View({synthetic.run().root, "--series", "loss"}, &out), 2);
  EXPECT_THAT(out, HasSubstr("E-VIEW-ARGS"));
  EXPECT_EQ(View({"/nowhere/at/all", "--once"}, &out), 2);
  EXPECT_THAT(out, HasSubstr("E-VIEW-RUN: /nowhere/at/all: no such directory"));
  EXPECT_EQ(View({synthetic.run().Eval(), "--json"}, &out), 2);
  EXPECT_THAT(out, HasSubstr("not a run directory"));
  EXPECT_EQ(out.find('\n'), std::string::npos);
}

TEST(StatusLineTest, OneGreppableLine) {
  RunProgress progress;
  progress.step = 1200;
  progress.total_steps = 50000;
  EXPECT_EQ(FormatStatusLine(progress), "step=1200/50000") << "what is not known is left out";
  progress.loss = 3.4119;
  progress.lr = 4.9e-4;
  progress.logit_scale = 31.24;
  progress.samples_per_second = 41234;
  progress.committed_step = 1000;
  progress.eta_seconds = 7 * 3600 + 12 * 60;
  progress.ranks.resize(64);
  EXPECT_EQ(FormatStatusLine(progress),
            "step=1200/50000 loss=3.412 lr=4.90e-04 scale=31.2 samples/s=41.2k ranks=64 ckpt=1000 "
            "eta=7h12m");
  progress.attempt = 2;
  progress.state = "restarting";
  EXPECT_THAT(FormatStatusLine(progress), HasSubstr(" state=restarting "));
  EXPECT_THAT(FormatStatusLine(progress), HasSubstr(" attempt=2 "));
}

TEST(StatusLineTest, GoldenPanel) {
  RunProgress progress{.name = "quickstart", .step = 200, .total_steps = 400, .loss = 1.2345};
  progress.samples_per_second = 512.5;
  progress.committed_step = 180;
  progress.eta_seconds = 100;
  progress.elapsed_seconds = 95;
  progress.attempt = 2;
  for (int i = 0; i < 200; ++i) progress.losses.push_back(5.0 / std::sqrt(i + 1));
  for (int rank = 0; rank < 4; ++rank) progress.ranks.push_back({rank, "training", 200, 0.1});
  progress.ranks[2] = {2, "training", 199, 7.2};
  progress.last_event = "rank 1 died at step 150: killed by signal 9; restarted from step 140";
  const std::string panel = FormatPanel(progress, 80, false);
  EXPECT_EQ(PanelLines(panel), 5);
  ExpectGolden("panel_80.txt", panel);
  EXPECT_EQ(PanelLines(""), 0);
  EXPECT_EQ(RedrawPanel(0, "a\nb"), "\ra\x1b[K\r\nb\x1b[K\r\n\x1b[J");
  EXPECT_EQ(RedrawPanel(5, ""), "\x1b[5A\r\x1b[J");
}

TEST(TextTest, Numbers) {
  EXPECT_EQ(Thousands(0), "0");
  EXPECT_EQ(Thousands(999), "999");
  EXPECT_EQ(Thousands(1234567), "1,234,567");
  EXPECT_EQ(Rate(41234), "41.2k");
  EXPECT_EQ(Rate(512.4), "512");
  EXPECT_EQ(Rate(2.05), "2.0");
  EXPECT_EQ(Compact(42), "42s");
  EXPECT_EQ(Compact(190), "3m10s");
  EXPECT_EQ(Compact(7 * 3600 + 720), "7h12m");
  EXPECT_EQ(Compact(3 * 86400), "3d00h");
  EXPECT_EQ(Milliseconds(0.0123), "12.3 ms");
  EXPECT_EQ(Milliseconds(1.234), "1.23 s");
  EXPECT_EQ(Percent(std::nan("")), "-");
}

}  // namespace
}  // namespace contrail::monitor
