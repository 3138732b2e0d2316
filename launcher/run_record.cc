#include "launcher/run_record.h"

#include <mutex>
#include <utility>

#include "checkpoint/load.h"
#include "common/error.h"
#include "common/log.h"

namespace contrail::launcher {
namespace {

constexpr size_t kWaiting = 1000;        // incidents and questions
constexpr double kAnswer = 2;            // seconds
constexpr double kLastWrite = 60;        // seconds for summary.json
constexpr double kBadStepsInterval = 1;  // seconds

monitor::Incident IncidentOf(const monitor::BadStep& step, int attempt, int ranks) {
  monitor::Incident incident;
  incident.attempt = attempt;
  incident.cause = "bad_step";
  incident.rank = step.rank;
  incident.host = step.host;
  incident.detail = step.detail;
  incident.step = step.step;
  incident.ranks_before = incident.ranks_after = ranks;
  incident.action = "skip";
  incident.time = step.time;
  return incident;
}

std::optional<monitor::Summary> ReadBefore(const FileSystem& fs, const monitor::RunDir& run) {
  try {
    return monitor::ReadSummary(run, fs);
  } catch (const Error&) {
    return std::nullopt;  // its numbers are added to for people alone
  }
}

}  // namespace

struct RunRecord::BadSteps {
  std::mutex mutex;  // guards the rest
  int attempt = 0;
  size_t returned = 0;
  bool asked = false;
  std::vector<monitor::BadStep> found;
};

RunRecord::RunRecord(FileSystem& fs, monitor::RunDir run)
    : fs_(fs),
      run_(std::move(run)),
      before_(ReadBefore(fs_, run_)),
      bad_steps_(std::make_shared<BadSteps>()),
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

std::vector<monitor::Incident> RunRecord::NewBadSteps(int attempt, int ranks, double now,
                                                      bool all) {
  std::unique_lock<std::mutex> lock(bad_steps_->mutex);
  if (bad_steps_->attempt != attempt) {
    bad_steps_->attempt = attempt;
    bad_steps_->returned = 0;
    bad_steps_->found.clear();
  }
  if (all || (!bad_steps_->asked && now - bad_steps_asked_ >= kBadStepsInterval)) {
    bad_steps_asked_ = now;
    bad_steps_->asked = files_.Post([&fs = fs_, run = run_, attempt, shared = bad_steps_] {
      std::vector<monitor::BadStep> found;
      try {
        found = monitor::ReadBadSteps(run, attempt, fs);
      } catch (const std::exception&) {
        // Read again a second later.
      }
      const std::lock_guard<std::mutex> guard(shared->mutex);
      shared->asked = false;
      if (shared->attempt == attempt && found.size() > shared->found.size()) {
        shared->found = std::move(found);
      }
    });
  }
  if (all) {
    lock.unlock();
    files_.Settle(kAnswer);
    lock.lock();
  }
  std::vector<monitor::Incident> incidents;
  for (size_t& i = bad_steps_->returned; i < bad_steps_->found.size(); ++i) {
    incidents.push_back(IncidentOf(bad_steps_->found[i], attempt, ranks));
  }
  return incidents;
}

std::optional<uint64_t> RunRecord::NewestCommitted() {
  return files_.Ask(
      [&fs = fs_, dir = run_.Checkpoints()] {
        const auto steps = ckpt::ListSteps(fs, dir);
        return steps.empty() ? uint64_t{0} : steps.front().step;
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
