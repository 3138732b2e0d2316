#include "launcher/run_record.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <functional>
#include <iterator>
#include <mutex>
#include <utility>

#include "checkpoint/load.h"
#include "checkpoint/newest.h"
#include "common/error.h"
#include "common/log.h"
#include "monitoring/bad_step.h"
#include "monitoring/damaged_step.h"
#include "monitoring/owner/claim.h"
#include "monitoring/replaced.h"

namespace contrail::launcher {
namespace {

constexpr size_t kWaiting = 1000;     // incidents and questions
constexpr double kAnswer = 2;         // seconds
constexpr double kLastWrite = 60;     // seconds for summary.json and the evaluation
constexpr double kNotesInterval = 1;  // seconds

constexpr const char* kStandsStill = "the file system stands still";

// What `write` throws; empty where it is done.
std::string ProblemOf(const std::function<void()>& write) {
  try {
    write();
    return "";
  } catch (const std::exception& error) {
    return error.what();
  }
}

// One kind of notes of an attempt, in the order of writing.
using ReadNotes = std::vector<monitor::Incident> (*)(const monitor::RunDir& run, int attempt,
                                                     const FileSystem& fs);

// What all kinds of notes say of a step.
template <typename Note>
monitor::Incident IncidentOf(const Note& note, const char* cause, const std::string& detail) {
  monitor::Incident incident;
  incident.cause = cause;
  incident.detail = detail;
  incident.step = note.step;
  incident.time = note.time;
  return incident;
}

std::vector<monitor::Incident> SkippedSteps(const monitor::RunDir& run, int attempt,
                                            const FileSystem& fs) {
  std::vector<monitor::Incident> incidents;
  for (const monitor::BadStep& step : monitor::ReadBadSteps(run, attempt, fs)) {
    monitor::Incident& incident = incidents.emplace_back(IncidentOf(step, "bad_step", step.detail));
    incident.rank = step.rank;
    incident.host = step.host;
  }
  return incidents;
}

std::vector<monitor::Incident> DamagedSteps(const monitor::RunDir& run, int attempt,
                                            const FileSystem& fs) {
  std::vector<monitor::Incident> incidents;
  for (const monitor::DamagedStep& step : monitor::ReadDamagedSteps(run, attempt, fs)) {
    incidents.push_back(IncidentOf(step, step.cause.c_str(), step.why));
  }
  return incidents;
}

constexpr ReadNotes kKinds[] = {SkippedSteps, DamagedSteps};

std::optional<monitor::Summary> ReadBefore(const FileSystem& fs, const monitor::RunDir& run) {
  try {
    return monitor::ReadSummary(run, fs);
  } catch (const Error&) {
    return std::nullopt;  // its numbers are added to for people alone
  }
}

}  // namespace

struct RunRecord::Notes {
  struct Kind {
    std::vector<monitor::Incident> found;
    size_t returned = 0;
  };
  std::mutex mutex;  // guards the rest
  int attempt = 0;
  bool asked = false;
  std::array<Kind, std::size(kKinds)> kinds;

  // On the thread that reads. What cannot be read is read again a second later.
  void Read(const monitor::RunDir& run, int of_attempt, const FileSystem& fs) {
    for (size_t i = 0; i < kinds.size(); ++i) {
      std::vector<monitor::Incident> found;
      try {
        found = kKinds[i](run, of_attempt, fs);
      } catch (const std::exception&) {
      }
      const std::lock_guard<std::mutex> lock(mutex);
      if (attempt == of_attempt && found.size() > kinds[i].found.size()) {
        kinds[i].found = std::move(found);
      }
    }
    const std::lock_guard<std::mutex> lock(mutex);
    asked = false;
  }
};

// The end of a file of lines that grows.
struct RunRecord::Appended {
  std::mutex mutex;              // guards the rest
  std::optional<uint64_t> seen;  // bytes; nothing yet: what earlier commands left is not news
  uint64_t lines = 0;            // since they were last told
  std::string newest;
  bool asked = false;

  void Read(const monitor::RunDir& run, const FileSystem& fs) {
    constexpr uint64_t kMost = 1 << 20;
    uint64_t size = 0;
    std::string text;
    try {
      if (fs.Exists(run.Replaced())) size = fs.FileSize(run.Replaced());
      const uint64_t from = seen.value_or(size);
      if (size > from) {
        text.resize(std::min(size - from, kMost));
        fs.PRead(run.Replaced(), text.data(), text.size(), size - text.size());
      }
    } catch (const std::exception&) {
      size = seen.value_or(0);  // another time
    }
    const std::lock_guard<std::mutex> lock(mutex);
    for (const monitor::ReplacedSample& one : monitor::ParseReplaced(text)) {
      ++lines;
      newest = one.key + " by " + one.with_key + "; " + one.why;
    }
    seen = size;
    asked = false;
  }
};

RunRecord::RunRecord(FileSystem& fs, monitor::RunDir run)
    : fs_(fs),
      run_(std::move(run)),
      before_(ReadBefore(fs_, run_)),
      notes_(std::make_shared<Notes>()),
      replaced_(std::make_shared<Appended>()),
      files_(kWaiting) {
  files_.Post([&disk = fs_, dir = run_, state = replaced_] { state->Read(dir, disk); });
}

std::optional<std::string> RunRecord::NewReplaced(double now) {
  constexpr double kTellInterval = 60;
  const std::lock_guard<std::mutex> lock(replaced_->mutex);
  if (replaced_told_ > 0 && now - replaced_told_ < kTellInterval) return std::nullopt;
  if (replaced_->lines > 0) {
    std::string text =
        "samples=" + std::to_string(replaced_->lines) + " newest=" + replaced_->newest;
    replaced_->lines = 0;
    replaced_told_ = now;
    return text;
  }
  if (!replaced_->asked && now - replaced_asked_ >= kNotesInterval) {
    replaced_asked_ = now;
    replaced_->asked =
        files_.Post([&fs = fs_, run = run_, state = replaced_] { state->Read(run, fs); });
  }
  return std::nullopt;
}

void RunRecord::Append(const std::optional<monitor::Incident>& incident) {
  if (!incident) return;
  const bool posted = files_.Post([&fs = fs_, run = run_, incident = *incident] {
    try {
      monitor::AppendIncident(run, incident, fs);
    } catch (const std::exception& error) {
      LogWarning(std::string("an incident could not be recorded: ") + error.what());
    }
  });
  if (!posted) LogWarning("an incident could not be recorded: the file system stands still");
}

std::vector<monitor::Incident> RunRecord::NewNotes(int attempt, int ranks, double now, bool all) {
  std::unique_lock<std::mutex> lock(notes_->mutex);
  if (notes_->attempt != attempt) {
    notes_->attempt = attempt;
    notes_->kinds = {};
  }
  if (all || (!notes_->asked && now - notes_asked_ >= kNotesInterval)) {
    notes_asked_ = now;
    notes_->asked = files_.Post(
        [&fs = fs_, run = run_, attempt, notes = notes_] { notes->Read(run, attempt, fs); });
  }
  if (all) {
    lock.unlock();
    files_.Settle(kAnswer);
    lock.lock();
  }
  std::vector<monitor::Incident> incidents;
  for (Notes::Kind& kind : notes_->kinds) {
    for (; kind.returned < kind.found.size(); ++kind.returned) {
      monitor::Incident& incident = incidents.emplace_back(kind.found[kind.returned]);
      incident.attempt = attempt;
      incident.ranks_before = incident.ranks_after = ranks;
      incident.action = "skip";
    }
  }
  return incidents;
}

std::future<int> RunRecord::Claim(int attempt, const monitor::Lease& self) {
  return files_.Start([&fs = fs_, run = run_, attempt, self] {
    return monitor::ClaimFreeAttempt(fs, run, attempt, self);
  });
}

std::optional<uint64_t> RunRecord::NewestCommitted() {
  return files_.Ask(
      [&fs = fs_, dir = run_.Checkpoints()] {
        const auto step = ckpt::FirstUsable(ckpt::ResumeOrder(fs, dir));
        return step ? step->step : uint64_t{0};
      },
      kAnswer);
}

std::optional<bool> RunRecord::WentOnFrom(uint64_t step) {
  return files_.Ask(
      [&fs = fs_, dir = run_.Checkpoints(), step] {
        const auto newest = ckpt::ReadNewest(fs, dir);
        return newest && newest->step != step;
      },
      kAnswer);
}

int RunRecord::CommittedSteps() {
  const auto steps = files_.Ask(
      [&fs = fs_, dir = run_.Checkpoints()] { return ckpt::ListSteps(fs, dir).size(); }, kAnswer);
  return static_cast<int>(steps.value_or(0));
}

uint64_t RunRecord::Replaced(uint64_t step) {
  const auto count = files_.Ask(
      [&fs = fs_, run = run_, step] {
        uint64_t replaced = 0;
        for (const monitor::ReplacedSample& one : monitor::ReadReplaced(run, fs)) {
          replaced += one.step <= step ? 1 : 0;
        }
        return replaced;
      },
      kAnswer);
  return count.value_or(0);
}

int RunRecord::Incidents() {
  const auto lines = files_.Ask(
      [&fs = fs_, run = run_] { return monitor::ReadIncidents(run, fs).size(); }, kAnswer);
  return static_cast<int>(lines.value_or(0));
}

void RunRecord::Write(const monitor::Summary& summary) {
  const auto refused =
      files_.Ask([&fs = fs_, run = run_,
                  summary] { return ProblemOf([&] { monitor::WriteSummary(run, summary, fs); }); },
                 kLastWrite);
  if (refused == "") return;
  LogWarning("summary.json could not be written: " + refused.value_or(kStandsStill));
}

void RunRecord::WriteMeanwhile(const monitor::Summary& summary) {
  files_.Post([&fs = fs_, run = run_, summary] {
    const std::string problem = ProblemOf([&] { monitor::WriteSummary(run, summary, fs); });
    if (!problem.empty()) LogWarning("summary.json could not be written: " + problem);
  });
}

void RunRecord::WriteEvaluation(uint64_t step, const std::string& text) {
  std::array<char, 64> name{};
  std::snprintf(name.data(), name.size(), "/zero_shot_step_%08llu.json",
                static_cast<unsigned long long>(step));
  const std::string path = run_.Eval() + name.data();
  const auto refused = files_.Ask(
      [&fs = fs_, folder = run_.Eval(), path, text] {
        return ProblemOf([&] {
          fs.MakeDirs(folder);
          fs.WriteAtomically(path, text);
        });
      },
      kLastWrite);
  if (refused == "") return;
  throw EnvironmentError(
      "E-EVAL-FAILED", path, "the result could not be written: " + refused.value_or(kStandsStill),
      "the model is trained; `contrail resume " + run_.root + "` evaluates it again");
}

void RunRecord::TidyUp() {
  files_.Post([&fs = fs_, run = run_] {
    try {
      for (const std::string& name : fs.List(run.root)) {
        if (name.starts_with(".shared_probe_")) fs.RemoveFile(run.root + "/" + name);
      }
    } catch (const std::exception&) {
      // Left for the next start: they are in nobody's way.
    }
  });
}

}  // namespace contrail::launcher
