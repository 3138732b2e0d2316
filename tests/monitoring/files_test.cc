#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <new>

#include "common/error.h"
#include "monitoring/data_consent.h"
#include "monitoring/end_record.h"
#include "monitoring/incident.h"
#include "monitoring/progress_word.h"
#include "monitoring/run_files.h"
#include "tests/monitoring/testing.h"

namespace contrail::monitor {
namespace {

TEST(ProgressBoardTest, WordsAreSharedBetweenProcesses) {
  ScratchRun scratch;
  const std::string path = scratch.run().root + "/board";
  const auto board = ProgressBoard::Map(path);
  EXPECT_EQ(board->word(1023).phase.load(), static_cast<uint32_t>(Phase::kAbsent));
  const pid_t child = fork();
  if (child == 0) {
    const auto own = ProgressBoard::Map(path);
    ProgressWord& word = own->word(3);
    word.rank = 7;
    word.pid = getpid();
    word.step = 41;
    word.loss = 0.1;
    word.phase = static_cast<uint32_t>(Phase::kTraining);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_EQ(status, 0);
  const ProgressWord& word = board->word(3);
  EXPECT_EQ(word.rank, 7);
  EXPECT_EQ(word.pid, child);
  EXPECT_EQ(word.step, 41u);
  EXPECT_EQ(word.loss, 0.1);
  EXPECT_STREQ(PhaseName(static_cast<Phase>(word.phase.load())), "training");
  EXPECT_EQ(board->word(2).step, 0u);
  // A second mapping of an existing board keeps what is there.
  EXPECT_EQ(ProgressBoard::Map(path)->word(3).step, 41u);
}

TEST(ProgressBoardTest, AnUnusablePathIsNamed) {
  try {
    ProgressBoard::Map("/proc/nowhere/board");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.id(), "E-PROGRESS");
    EXPECT_THAT(error.what(), testing::HasSubstr("/proc/nowhere/board"));
  }
}

TEST(EndRecordTest, RoundTripAndAbsence) {
  ScratchRun scratch;
  const RunDir& run = scratch.run();
  EXPECT_FALSE(ReadEndRecord(run, 2, 1));
  EndRecord record{.attempt = 2,
                   .rank = 1,
                   .host = "node7",
                   .pid = 4242,
                   .outcome = "user_error",
                   .step = 17,
                   .collective = 99,
                   .error_id = "E-DATA-IMAGE",
                   .message = "E-DATA-IMAGE: a.tar:\"x\xff.jpg\": not an image",
                   .missing = {3, 0},
                   .time = 1.7e9 + 0.123};
  WriteEndRecord(run, record);
  const auto back = ReadEndRecord(run, 2, 1);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->host, record.host);
  EXPECT_EQ(back->pid, record.pid);
  EXPECT_EQ(back->outcome, record.outcome);
  EXPECT_EQ(back->step, record.step);
  EXPECT_EQ(back->collective, record.collective);
  EXPECT_EQ(back->error_id, record.error_id);
  EXPECT_THAT(back->message, testing::StartsWith("E-DATA-IMAGE: a.tar:\"x"));
  EXPECT_EQ(back->missing, record.missing);
  EXPECT_EQ(back->time, record.time);
  EXPECT_THAT(PosixFileSystem().List(run.Attempt(2)), testing::ElementsAre("end_rank_1.json"));
  WriteFile(run.EndRecord(2, 1), "{\"outcome\": \"do");
  EXPECT_FALSE(ReadEndRecord(run, 2, 1)) << "half a record is none";
}

TEST(EndRecordTest, OutcomesFollowTheException) {
  EndRecord record;
  DescribeFailure(UserError("E-CONFIG-KEY", "a.toml:3", "unknown key"), record);
  EXPECT_EQ(record.outcome, "user_error");
  EXPECT_EQ(record.error_id, "E-CONFIG-KEY");
  EXPECT_EQ(record.message, "E-CONFIG-KEY: a.toml:3: unknown key");
  DescribeFailure(EnvironmentError("E-IO", "/x", "could not write"), record);
  EXPECT_EQ(record.outcome, "environment_error");
  DescribeFailure(std::bad_alloc(), record);
  EXPECT_EQ(record.outcome, "environment_error");
  EXPECT_EQ(record.error_id, "E-MEMORY");
  DescribeFailure(std::runtime_error("shape mismatch"), record);
  EXPECT_EQ(record.outcome, "bug");
  EXPECT_EQ(OutcomeExitCode("done"), 0);
  EXPECT_EQ(OutcomeExitCode("user_error"), 2);
  EXPECT_EQ(OutcomeExitCode("stopped"), 3);
  EXPECT_EQ(OutcomeExitCode("environment_error"), 75);
  EXPECT_EQ(OutcomeExitCode("bug"), 70);
  EXPECT_EQ(OutcomeExitCode("something newer"), 70);
}

TEST(IncidentTest, LinesAreAppendedAndATornOneIsPassedOver) {
  ScratchRun scratch;
  const RunDir& run = scratch.run();
  EXPECT_TRUE(ReadIncidents(run).empty());
  Incident incident{.attempt = 1,
                    .cause = "rank_died",
                    .rank = 2,
                    .host = "node0",
                    .detail = "killed by signal 9",
                    .step = 210,
                    .resumed_from = 200,
                    .ranks_before = 4,
                    .ranks_after = 4,
                    .action = "restart",
                    .time = 1.7e9,
                    .detect = 0.3,
                    .stop = 0.2,
                    .restart = 1.5,
                    .load = 0.4,
                    .redone = 2.25,
                    .to_next_step = 5.0};
  AppendIncident(run, incident);
  const std::string whole = ReadFile(run.Incidents());
  for (size_t cut = 1; cut < whole.size() - 1; ++cut) {  // the launcher died while writing
    WriteFile(run.Incidents(), whole + whole.substr(0, cut));
    ASSERT_EQ(ReadIncidents(run).size(), 1u) << cut;
    incident.attempt = 2;
    AppendIncident(run, incident);
    const auto incidents = ReadIncidents(run);
    ASSERT_EQ(incidents.size(), 2u) << cut;
    ASSERT_EQ(incidents[1].attempt, 2);
  }
  const Incident back = ReadIncidents(run)[1];
  EXPECT_EQ(back.cause, "rank_died");
  EXPECT_EQ(back.rank, 2);
  EXPECT_EQ(back.detail, "killed by signal 9");
  EXPECT_EQ(back.step, 210u);
  EXPECT_EQ(back.resumed_from, 200u);
  EXPECT_EQ(back.ranks_before, 4);
  EXPECT_EQ(back.ranks_after, 4);
  EXPECT_EQ(back.action, "restart");
  EXPECT_EQ(back.detect, 0.3);
  EXPECT_EQ(back.stop, 0.2);
  EXPECT_EQ(back.restart, 1.5);
  EXPECT_EQ(back.load, 0.4);
  EXPECT_EQ(back.redone, 2.25);
  EXPECT_EQ(back.to_next_step, 5.0);
}

TEST(DataConsentTest, BelongsToOneCommandLineAndItsShards) {
  ScratchRun scratch;
  const RunDir& run = scratch.run();
  EXPECT_FALSE(AgreedToData(run, "", "a")) << "nobody agreed";
  EXPECT_TRUE(AgreedToData(run, "first", "b"));
  EXPECT_TRUE(AgreedToData(run, "first", "b")) << "a restart with the same shards";
  EXPECT_TRUE(AgreedToData(run, "", "b")) << "a later command with the same shards";
  EXPECT_FALSE(AgreedToData(run, "first", "c")) << "a restart after they changed once more";
  EXPECT_FALSE(AgreedToData(run, "", "c"));
  EXPECT_TRUE(AgreedToData(run, "second", "c"));
  EXPECT_EQ(ReadDataConsent(run)->fingerprint, "c");
  EXPECT_FALSE(AgreedToData(run, "", "b"));
}

TEST(RunFilesTest, LeaseAndSummaryRoundTripAndTolerateStrangers) {
  ScratchRun scratch;
  const RunDir& run = scratch.run();
  EXPECT_FALSE(ReadLease(run));
  EXPECT_FALSE(ReadSummary(run));
  WriteLease(run, {.owner = "0f1e2d3c4b5a6978",
                   .attempt = 2,
                   .pid = 77,
                   .host = "a",
                   .time = 5.5,
                   .renewals = 9,
                   .state = "running"});
  const auto lease = ReadLease(run);
  ASSERT_TRUE(lease);
  EXPECT_EQ(lease->owner, "0f1e2d3c4b5a6978");
  EXPECT_EQ(lease->renewals, 9u);
  EXPECT_EQ(lease->attempt, 2);
  EXPECT_EQ(lease->pid, 77);
  EXPECT_EQ(lease->host, "a");
  EXPECT_EQ(lease->time, 5.5);
  EXPECT_EQ(lease->state, "running");

  Summary summary{.state = "done", .steps = 400, .samples_seen = 102400, .attempts = 2};
  summary.eval = R"({"zero_shot": {"top1": 0.8725}})";
  WriteSummary(run, summary);
  auto back = ReadSummary(run);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->state, "done");
  EXPECT_EQ(back->steps, 400u);
  EXPECT_EQ(back->eval, R"({"zero_shot":{"top1":0.8725}})");
  EXPECT_TRUE(std::isnan(back->final_loss)) << "null reads as not known";

  WriteFile(run.Summary(), R"({"state": 3, "steps": "many", "eval": [], "new": {"field": 1}})");
  back = ReadSummary(run);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->state, "");
  EXPECT_EQ(back->steps, 0u);
  EXPECT_EQ(back->eval, "{}");
}

}  // namespace
}  // namespace contrail::monitor
