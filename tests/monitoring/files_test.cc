#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <new>
#include <thread>

#include "common/clock.h"
#include "common/error.h"
#include "monitoring/data_consent.h"
#include "monitoring/end_record.h"
#include "monitoring/incident.h"
#include "monitoring/progress_word.h"
#include "monitoring/run_files.h"
#include "tests/monitoring/testing.h"

namespace contrail::monitor {
namespace {

constexpr auto kLauncher = ProgressBoard::Maker::kLauncher;

// The id of what `work` throws and its text; "" where it does not.
template <typename Work>
std::string Refusal(Work work) {
  try {
    work();
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(ProgressBoardTest, WordsAreSharedBetweenProcesses) {
  ScratchRun scratch;
  const std::string path = scratch.run().root + "/board.0123456789abcdef";
  const auto board = ProgressBoard::Make(path, 9, kLauncher);
  EXPECT_EQ(board->words(), 9);
  EXPECT_EQ(board->word(8).phase.load(), static_cast<uint32_t>(Phase::kAbsent));
  const pid_t child = fork();
  if (child == 0) {
    const auto own = ProgressBoard::OpenOrMake(path, 9);
    ProgressWord& word = own->word(3);
    word.rank = 7;
    word.pid = getpid();
    word.step = 41;
    word.loss = 0.1;
    word.phase = static_cast<uint32_t>(Phase::kTraining);
    own->Say(3, "in its own words");
    _exit(own->maker() == kLauncher ? 0 : 1);
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
  EXPECT_EQ(board->LastWords(3), "in its own words");
  EXPECT_FALSE(board->LastWords(2));
  // A second mapping of an existing board keeps what is there.
  EXPECT_EQ(ProgressBoard::Open(path, 9)->word(3).step, 41u);
}

TEST(ProgressBoardTest, AMappingOutlivesItsName) {
  ScratchRun scratch;
  const std::string path = scratch.run().root + "/board.0123456789abcdef";
  EXPECT_EQ(ProgressBoard::Open(path, 1), nullptr);
  const auto board = ProgressBoard::OpenOrMake(path, 1);
  EXPECT_EQ(board->maker(), ProgressBoard::Maker::kWorker);
  const auto other = ProgressBoard::OpenOrMake(path, 1);
  unlink(path.c_str());
  board->word(0).step = 5;
  EXPECT_EQ(other->word(0).step, 5u);
  EXPECT_TRUE(PosixFileSystem().List(scratch.run().root).empty());
}

TEST(ProgressBoardTest, ANameIsTakenOnce) {
  ScratchRun scratch;
  const std::string path = scratch.run().root + "/board.0123456789abcdef";
  const auto board = ProgressBoard::Make(path, 4, kLauncher);
  EXPECT_EQ(ProgressBoard::Make(path, 4, kLauncher), nullptr);
  EXPECT_EQ(PosixFileSystem().List(scratch.run().root).size(), 1u);  // no draft stays
}

TEST(ProgressBoardTest, WhatIsNotOursIsNotTrusted) {
  ScratchRun scratch;
  const std::string root = scratch.run().root;
  const std::string path = root + "/board.0123456789abcdef";
  ProgressBoard::Make(path, 4, kLauncher);
  const auto refused = [](const std::string& at) {
    return Refusal([&] { ProgressBoard::OpenOrMake(at, 4); });
  };
  EXPECT_EQ(refused(path), "");
  chmod(path.c_str(), 0660);
  EXPECT_THAT(refused(path), testing::HasSubstr("others may write it"));
  chmod(path.c_str(), 0600);
  EXPECT_THAT(Refusal([&] { ProgressBoard::Open(path, 5); }), testing::HasSubstr("too small"));
  // Another job's board under our name, a link to it, and a file that is none.
  const std::string renamed = root + "/board.fedcba9876543210";
  PosixFileSystem().Rename(path, renamed);
  EXPECT_THAT(refused(renamed), testing::HasSubstr("another job's"));
  ASSERT_EQ(symlink(renamed.c_str(), path.c_str()), 0);
  EXPECT_THAT(refused(path), testing::HasSubstr("E-PROGRESS"));
  unlink(path.c_str());
  WriteFile(path, std::string(20000, 'x'));
  chmod(path.c_str(), 0600);
  EXPECT_THAT(refused(path), testing::HasSubstr("no progress board"));
  WriteFile(path, "");
  EXPECT_THAT(refused(path), testing::HasSubstr("no progress board"));
  if (geteuid() == 0) {
    ProgressBoard::Make(root + "/board.00000000000000aa", 4, kLauncher);
    ASSERT_EQ(chown((root + "/board.00000000000000aa").c_str(), 12345, 12345), 0);
    EXPECT_THAT(refused(root + "/board.00000000000000aa"),
                testing::HasSubstr("belongs to somebody else"));
  }
}

TEST(ProgressBoardTest, LastWordsAreWholeOrCutNeverMixed) {
  const auto board = ProgressBoard::Private();
  board->Say(0, "");
  EXPECT_EQ(board->LastWords(0), "");
  board->Say(0, std::string(5000, 'a'));
  EXPECT_EQ(board->LastWords(0), std::string(ProgressBoard::kLastWordsBytes, 'a'));
  // A reader that comes while another text is being written sees one of the two, or nothing.
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    for (char c = 'a'; !stop; c = c == 'z' ? 'a' : static_cast<char>(c + 1)) {
      board->Say(0, std::string(static_cast<size_t>(c), c));
    }
  });
  std::string last;
  int changes = 0;
  const double end = SystemClock().Monotonic() + 20;
  while (changes < 500 && SystemClock().Monotonic() < end) {
    const auto text = board->LastWords(0);
    if (!text || *text == last) continue;
    last = *text;
    ++changes;
    if (text->size() == ProgressBoard::kLastWordsBytes) continue;  // the writer has not begun
    ASSERT_EQ(*text, std::string(static_cast<size_t>(text->front()), text->front()));
  }
  stop = true;
  writer.join();
  EXPECT_GT(changes, 1);
}

TEST(ProgressBoardTest, AnUnusablePathIsNamed) {
  EXPECT_THAT(
      Refusal([] { ProgressBoard::OpenOrMake("/proc/nowhere/board.x", 1); }),
      testing::AllOf(testing::HasSubstr("E-PROGRESS"), testing::HasSubstr("/proc/nowhere/board")));
}

TEST(EndRecordTest, LongMessagesAreCutToFitASlot) {
  EndRecord record{.attempt = 3, .rank = 5, .host = "n7", .outcome = "user_error"};
  record.error_id = "E-DATA-IMAGE";
  record.message = "E-DATA-IMAGE: pairs-000.tar/\x01\xff: ";
  for (int i = 0; i < 3000; ++i) record.message += i % 3 == 0 ? "\n" : "\u00e9";
  record.signal = 15;
  record.daemon_asked = true;
  const size_t limit = ProgressBoard::kLastWordsBytes;
  const std::string text = EndRecordText(record, limit);
  EXPECT_LE(text.size(), limit);
  EXPECT_GT(text.size(), limit / 2);
  const auto read = ParseEndRecord(text);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->rank, 5);
  EXPECT_EQ(read->outcome, "user_error");
  EXPECT_EQ(read->error_id, "E-DATA-IMAGE");
  EXPECT_EQ(read->signal, 15);
  EXPECT_TRUE(read->daemon_asked);
  EXPECT_THAT(read->message, testing::StartsWith("E-DATA-IMAGE: pairs-000.tar/"));
  // A rank waited for by a thousand others that are missing still says who it is.
  record.message = "short";
  record.missing.resize(1000, 999);
  const auto waited = ParseEndRecord(EndRecordText(record, limit));
  ASSERT_TRUE(waited);
  EXPECT_EQ(waited->message, "short");
  EXPECT_GT(waited->missing.size(), 300u);  // as many as there is room for
  // The message is what people read: it stays whole where the list can give way.
  record.message = std::string(1500, 'm');
  record.missing = std::vector<int>(1000, 7);
  record.missing[0] = 591;
  const auto long_one = ParseEndRecord(EndRecordText(record, limit));
  ASSERT_TRUE(long_one);
  EXPECT_EQ(long_one->message, record.message);
  EXPECT_EQ(long_one->missing.front(), 591);
  EXPECT_FALSE(ParseEndRecord(text.substr(0, text.size() / 2)));
  EXPECT_FALSE(ParseEndRecord(""));
}

// Hundreds of ranks that end well leave one file; one that failed has its own, which counts.
TEST(EndRecordTest, GoodEndsAreOneFile) {
  ScratchRun scratch;
  const RunDir& run = scratch.run();
  EXPECT_TRUE(ReadEndRecords(run, 2).empty());
  std::vector<std::string> texts;
  for (int rank = 0; rank < 592; ++rank) {
    texts.push_back(EndRecordText({.attempt = 2, .rank = rank, .outcome = "done", .step = 9}));
  }
  WriteGoodEnds(run, 2, texts);
  EXPECT_THAT(PosixFileSystem().List(run.Attempt(2)), testing::ElementsAre("ends.jsonl"));
  WriteEndRecord(run, {.attempt = 2, .rank = 591, .outcome = "bug"});
  const auto records = ReadEndRecords(run, 2);
  ASSERT_EQ(records.size(), 592u);
  EXPECT_EQ(records.at(590).outcome, "done");
  EXPECT_EQ(records.at(590).step, 9u);
  EXPECT_EQ(records.at(591).outcome, "bug");
  EXPECT_EQ(ReadEndRecord(run, 2, 17)->rank, 17);
  EXPECT_FALSE(ReadEndRecord(run, 2, 592));
  EXPECT_FALSE(ReadEndRecord(run, 3, 0));
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
