#include "launcher/run_record.h"

#include <mutex>
#include <utility>

#include "checkpoint/load.h"
#include "checkpoint/newest.h"
#include "common/error.h"
#include "common/log.h"
#include "monitoring/bad_step.h"
#include "monitoring/damaged_step.h"

namespace contrail::launcher {
namespace {

constexpr size_t kWaiting = 1000;        // incidents and questions
constexpr double kAnswer = 2;            // seconds
constexpr double kLastWrite = 60;        // seconds for summary.json
constexpr double kNewsInterval = 1;      // seconds

monitor::Incident Skipped(const char* cause, int attempt) {
  monitor::Incident incident;
  incident.attempt = attempt;
  incident.cause = cause;
  incident.action = "skip";
  return incident;
}

monitor::Incident IncidentOf(const monitor::BadStep& step, int attempt) {
  monitor::Incident incident = Skipped("bad_step", attempt);
  incident.rank = step.rank;
  incident.host = step.host;
  incident.detail = step.detail;
  incident.step = step.step;
  incident.time = step.time;
  return incident;
}

monitor::Incident IncidentOf(const monitor::DamagedStep& step, int attempt) {
  monitor::Incident incident = Skipped("checkpoint_damaged", attempt);
  incident.detail = step.why;
  incident.step = step.step;
  incident.time = step.time;
  return incident;
}

// Those after the first `known`.
template <typename Note>
void Collect(const std::vector<Note>& notes, int attempt, size_t* known,
             std::vector<monitor::Incident>* incidents) {
  for (; *known < notes.size(); ++*known) incidents->push_back(IncidentOf(notes[*known], attempt));
}

std::optional<monitor::Summary> ReadBefore(const FileSystem& fs, const monitor::RunDir& run) {
  try {
    return monitor::ReadSummary(run, fs);
  } catch (const Error&) {
    return std::nullopt;  // its numbers are added to for people alone
  }
}

}  // namespace

struct RunRecord::Notes {
  std::mutex mutex;  // guards the rest
  int attempt = 0;
  bool asked = false;
  size_t bad_steps = 0;      // read so far
  size_t damaged_steps = 0;  // read so far
  std::vector<monitor::Incident> news;
};

RunRecord::RunRecord(FileSystem& fs, monitor::RunDir run)
    : fs_(fs),
      run_(std::move(run)),
      before_(ReadBefore(fs_, run_)),
      notes_(std::make_shared<Notes>()),
      files_(kWaiting) {}

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

std::vector<monitor::Incident> RunRecord::News(int attempt, int ranks, double now, bool all) {
  std::unique_lock<std::mutex> lock(notes_->mutex);
  if (notes_->attempt != attempt) {
    notes_->attempt = attempt;
    notes_->bad_steps = notes_->damaged_steps = 0;
    notes_->news.clear();
  }
  if (all || (!notes_->asked && now - notes_asked_ >= kNewsInterval)) {
    notes_asked_ = now;
    notes_->asked = files_.Post([&fs = fs_, run = run_, attempt, shared = notes_] {
      std::vector<monitor::BadStep> bad;
      std::vector<monitor::DamagedStep> damaged;
      try {
        bad = monitor::ReadBadSteps(run, attempt, fs);
        damaged = monitor::ReadDamagedSteps(run, attempt, fs);
      } catch (const std::exception&) {
        // Read again a second later.
      }
      const std::lock_guard<std::mutex> guard(shared->mutex);
      shared->asked = false;
      if (shared->attempt != attempt) return;
      Collect(bad, attempt, &shared->bad_steps, &shared->news);
      Collect(damaged, attempt, &shared->damaged_steps, &shared->news);
    });
  }
  if (all) {
    lock.unlock();
    files_.Settle(kAnswer);
    lock.lock();
  }
  std::vector<monitor::Incident> news = std::exchange(notes_->news, {});
  for (monitor::Incident& incident : news) {
    incident.ranks_before = incident.ranks_after = ranks;
  }
  return news;
}

std::optional<uint64_t> RunRecord::NewestCommitted() {
  return files_.Ask(
      [&fs = fs_, dir = run_.Checkpoints()] {
        for (const ckpt::StepEntry& step : ckpt::ResumeOrder(fs, dir)) {
          if (step.damage.empty()) return step.step;
        }
        return uint64_t{0};
      },
      kAnswer);
}

int RunRecord::CommittedSteps() {
  const auto steps = files_.Ask(
      [&fs = fs_, dir = run_.Checkpoints()] { return ckpt::ListSteps(fs, dir).size(); }, kAnswer);
  return static_cast<int>(steps.value_or(0));
}

int RunRecord::Incidents() {
  const auto lines = files_.Ask(
      [&fs = fs_, run = run_] { return monitor::ReadIncidents(run, fs).size(); }, kAnswer);
  return static_cast<int>(lines.value_or(0));
}

void RunRecord::Write(const monitor::Summary& summary) {
  const auto refused = files_.Ask(
      [&fs = fs_, run = run_, summary]() -> std::string {
        try {
          monitor::WriteSummary(run, summary, fs);
          return "";
        } catch (const std::exception& error) {
          return error.what();
        }
      },
      kLastWrite);
  if (refused == "") return;
  LogWarning("summary.json could not be written: " +
             refused.value_or("the file system stands still"));
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
