#include "monitoring/viewer/status.h"

#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>

#include "common/error.h"
#include "common/host_name.h"
#include "common/strings.h"
#include "configs/load.h"
#include "monitoring/viewer/run_folder.h"

namespace contrail::monitor {
namespace {

// A file that cannot be read for a moment must not take the rest of the screen along: whoever only
// looks, shows what there is. (Those who decide by these files let the error through.)
template <typename Read>
auto OrNothing(const Read& read) -> decltype(read()) {
  try {
    return read();
  } catch (const Error&) {
    return {};
  }
}

constexpr size_t kRateWindow = 200;    // steps behind a rate or an ETA
constexpr size_t kRankWindow = 50;     // ... and behind what compares ranks
constexpr size_t kCurveBuckets = 512;  // enough for two dots a column on the widest terminal
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

double Median(std::vector<double> values) {
  if (values.empty()) return kNan;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>((values.size() - 1) / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double MeanOfFinite(const std::vector<double>& values) {
  double sum = 0;
  size_t count = 0;
  for (const double value : values) {
    if (!std::isfinite(value)) continue;
    sum += value;
    ++count;
  }
  return count > 0 ? sum / static_cast<double>(count) : kNan;
}

std::vector<CurveBucket> Bucketed(const std::vector<const StepRow*>& rows, size_t count) {
  std::vector<CurveBucket> buckets;
  const size_t wide = (rows.size() + count - 1) / count;
  for (size_t begin = 0; begin < rows.size(); begin += wide) {
    const size_t end = std::min(begin + wide, rows.size());
    CurveBucket bucket{.step = rows[begin]->record.step};
    std::vector<double> values;
    for (size_t i = begin; i < end; ++i) values.push_back(rows[i]->record.loss);
    bucket.mean = MeanOfFinite(values);
    std::erase_if(values, [](double value) { return !std::isfinite(value); });
    if (values.empty()) continue;
    bucket.min = *std::min_element(values.begin(), values.end());
    bucket.max = *std::max_element(values.begin(), values.end());
    buckets.push_back(bucket);
  }
  return buckets;
}

// The latest rows of the latest attempt, at most `count`: rates never span a restart.
std::vector<const StepRow*> LatestRows(const RunStore& store, size_t count) {
  const std::vector<const StepRow*>& rows = store.committed();
  if (rows.empty()) return {};
  const uint64_t resumed = store.attempts().rbegin()->second.resumed_step;
  size_t begin = rows.size() - std::min(count, rows.size());
  while (begin < rows.size() && rows[begin]->record.step <= resumed) ++begin;
  if (begin == rows.size()) return {rows.end() - 1, rows.end()};
  return {rows.begin() + static_cast<std::ptrdiff_t>(begin), rows.end()};
}

double SecondsPerStep(const std::vector<const StepRow*>& rows) {
  std::vector<double> seconds;
  for (size_t i = 1; i < rows.size(); ++i) {
    const double steps = static_cast<double>(rows[i]->record.step - rows[i - 1]->record.step);
    seconds.push_back((rows[i]->record.wall_time - rows[i - 1]->record.wall_time) / steps);
  }
  if (seconds.empty() && !rows.empty()) {
    return static_cast<double>(rows.back()->phases[kTotalPhase].max);
  }
  return Median(std::move(seconds));
}

// Training time of the committed steps: samples divided by the rate they were trained at.
double UsefulSeconds(const std::vector<const StepRow*>& rows) {
  double seconds = 0;
  uint64_t seen = 0;
  for (const StepRow* row : rows) {
    const double rate = row->record.samples_per_second;
    if (rate > 0) seconds += static_cast<double>(row->record.samples_seen - seen) / rate;
    seen = row->record.samples_seen;
  }
  return seconds;
}

void FillLate(const std::vector<const StepRow*>& rows, RunStatus& status) {
  constexpr size_t kShown = 5;
  for (const StepRow* row : rows) {
    for (const LateArrival& late : row->record.late) {
      status.late.push_back({row->record.step, late});
    }
  }
  std::stable_sort(status.late.begin(), status.late.end(), [](const auto& a, const auto& b) {
    return a.arrival.seconds > b.arrival.seconds;
  });
  if (status.late.size() > kShown) status.late.resize(kShown);
}

void FillLearning(const std::vector<const StepRow*>& rows, RunStatus& status) {
  const StepRecord& last = rows.back()->record;
  status.has_steps = true;
  status.window = rows.size();
  status.loss = last.loss;
  status.lr = last.lr;
  status.logit_scale = last.logit_scale;
  status.grad_norm = last.grad_norm;
  std::vector<double> losses, accuracies, rates;
  for (const StepRow* row : rows) {
    losses.push_back(row->record.loss);
    accuracies.push_back(row->record.accuracy_image_to_text);
    rates.push_back(row->record.samples_per_second);
  }
  FillLate(rows, status);
  status.loss_mean = MeanOfFinite(losses);
  status.accuracy = MeanOfFinite(accuracies);
  status.samples_per_second = Median(rates);
}

void FillPhases(const std::vector<const StepRow*>& rows, RunStatus& status) {
  for (size_t phase = 0; phase < kNumPhases; ++phase) {
    std::vector<double> p50, max;
    std::map<int, int> worst;
    for (const StepRow* row : rows) {
      const PhaseStats& stats = row->phases[phase];
      if (stats.max_rank < 0) continue;
      p50.push_back(static_cast<double>(stats.p50));
      max.push_back(static_cast<double>(stats.max));
      ++worst[stats.max_rank];
    }
    if (p50.empty() || *std::max_element(max.begin(), max.end()) <= 0) continue;
    const auto often = std::max_element(worst.begin(), worst.end(),
                                        [](auto& a, auto& b) { return a.second < b.second; });
    status.phases.push_back({phase, Median(p50), Median(max), often->first});
  }
  const auto share = [&](std::initializer_list<const char*> names) {
    double part = 0, total = 0;
    for (const PhaseLine& line : status.phases) {
      const std::string name = Phases()[line.phase].name;
      if (line.phase == kTotalPhase) total = line.p50;
      if (std::find(names.begin(), names.end(), name) != names.end()) part += line.p50;
    }
    return total > 0 ? part / total : 0.0;
  };
  status.data_share = share({"data_wait"});
  status.wait_share = share({"feature_gather", "grad_reduce", "weight_gather"});
}

// Flagged only where the same rank is late in most steps, and by more than noise.
void FindStraggler(const std::vector<const StepRow*>& rows, const char* collective,
                   float StepRow::*lateness, int StepRow::*rank, RunStatus& status) {
  std::map<int, std::vector<double>> late;
  for (const StepRow* row : rows) {
    if (row->*rank >= 0) late[row->*rank].push_back(static_cast<double>(row->*lateness));
  }
  for (const auto& [who, seconds] : late) {
    const double share = static_cast<double>(seconds.size()) / static_cast<double>(rows.size());
    const double median = Median(seconds);
    if (rows.size() >= 10 && share >= 0.6 && median > 0.02 * status.step_seconds) {
      status.stragglers.push_back({who, collective, share, median});
    }
  }
}

void FillCheckpoints(const RunDir& run, const RunStore& store, const FileSystem& fs,
                     RunStatus& status) {
  std::map<uint64_t, CheckpointLine> lines;
  for (const CheckpointRecord& record : store.checkpoints()) {
    lines[record.step] = {record.step, false, true, record};
  }
  for (const uint64_t step : OrNothing([&] { return CommittedSteps(run, fs); })) {
    lines[step].step = step;
    lines[step].on_disk = true;
  }
  for (const auto& [step, line] : lines) {
    status.checkpoints.push_back(line);
    if (line.on_disk) status.committed_step = step;
  }
  if (status.step > status.committed_step) status.risk_steps = status.step - status.committed_step;
  if (std::isfinite(status.step_seconds)) {
    status.risk_seconds = static_cast<double>(status.risk_steps) * status.step_seconds;
  }
}

void FillEta(const RunStore& store, RunStatus& status) {
  if (status.total_steps <= status.step || !(status.step_seconds > 0)) return;
  status.eta = static_cast<double>(status.total_steps - status.step) * status.step_seconds;
  const size_t steps = LatestRows(store, kRateWindow).size();
  status.eta_basis = "at the last " + std::to_string(steps) + (steps == 1 ? " step" : " steps") +
                     "; restarts and queueing not included";
}

bool LauncherIsGone(const Lease& lease) {
  if (lease.pid <= 0 || lease.host != HostName()) return false;
  // Of another boot: this host has started anew, or another one bears its name. Without a boot (of
  // an older program) the number has to do.
  if (!lease.boot.empty() && lease.boot != BootId()) return false;
  return ::kill(lease.pid, 0) != 0 && errno == ESRCH;
}

// Long steps and checkpoint stalls are no stall: the limit follows the pace of the run.
double StallLimit(const RunStatus& status) {
  return std::max(60.0, std::isfinite(status.step_seconds) ? 10 * status.step_seconds : 0.0);
}

void SetState(RunStatus& status, const char* state, std::string why = "") {
  status.state = state;
  status.why = std::move(why);
}

// While a launcher holds the run.
void StateOfHeld(const RunStore& store, const Lease& lease, RunStatus& status) {
  const int trained = store.attempts().empty() ? 0 : store.attempts().rbegin()->first.first;
  if (LauncherIsGone(lease)) {
    SetState(status, "failed",
             "the launcher (process " + std::to_string(lease.pid) + " on " + lease.host +
                 ") is gone; go on with: contrail resume " + status.root);
  } else if (lease.state == "restarting") {
    SetState(status, "restarting");
  } else if (trained < lease.attempt || !status.has_steps) {
    SetState(status, "starting");
  } else if (status.silent > StallLimit(status)) {
    SetState(status, "stalled", "no step for " + HumanSeconds(status.silent));
  } else {
    SetState(status, "running");
  }
}

// Without one: a worker started by hand, or a run whose launcher left no summary.
void StateOfFree(const RunStore& store, RunStatus& status) {
  if (store.attempts().empty()) {
    SetState(status, "no telemetry");
  } else if (status.total_steps > 0 && status.step >= status.total_steps) {
    SetState(status, "done");
  } else if (store.attempts().rbegin()->second.closed) {
    SetState(status, "stopped");
  } else if (status.silent <= StallLimit(status)) {
    SetState(status, status.has_steps ? "running" : "starting");
  } else {
    SetState(status, "failed",
             "its telemetry ends without a closing record and no launcher holds the run");
  }
}

void FillState(const RunStore& store, const std::optional<Lease>& lease, RunStatus& status) {
  const bool held = lease && (lease->state == "running" || lease->state == "restarting");
  if (status.summary && held && lease->attempt > status.summary->attempts &&
      lease->time > status.summary->time) {
    status.summary.reset();  // of an earlier end: the run was resumed since
  }
  if (status.summary && status.summary->state == "evaluating") {
    if (held && !LauncherIsGone(*lease)) {
      SetState(status, "evaluating");
    } else {
      SetState(status, "stopped",
               "trained to the last step, and its launcher ended while it evaluated; go on with: "
               "contrail resume " +
                   status.root);
    }
  } else if (status.summary) {
    const std::string& state = status.summary->state;
    SetState(status, state.empty() ? "done" : state.c_str(), status.summary->message);
  } else if (held) {
    StateOfHeld(store, *lease, status);
  } else {
    StateOfFree(store, status);
  }
}

}  // namespace

void CheckRunDir(const FileSystem& fs, const std::string& root) {
  const RunDir run{root};
  if (!fs.Exists(root)) {
    throw UserError("E-VIEW-RUN", root, "no such directory", "give the directory of a run");
  }
  for (const std::string& path : {run.Config(), run.Telemetry(), run.Lease(), run.Summary()}) {
    if (fs.Exists(path)) return;
  }
  throw UserError("E-VIEW-RUN", root,
                  "not a run directory: it holds no config.toml, telemetry/, lease.json or "
                  "summary.json",
                  "give the directory that `contrail train` made");
}

RunStatus ReadStatus(const RunDir& run, const RunStore& store, const FileSystem& fs,
                     const Clock& clock) {
  RunStatus status;
  status.root = run.root;
  status.name = std::filesystem::path(run.root).lexically_normal().filename().string();
  if (status.name.empty()) status.name = run.root;
  try {
    status.model = LoadResolved(run.root).model.name;
  } catch (const Error&) {
    // Shown without it: a config of another version must not hide the run.
  }
  const double now = clock.Now();
  const std::optional<Lease> lease = OrNothing([&] { return ReadLease(run, fs); });
  status.summary = OrNothing([&] { return ReadSummary(run, fs); });
  status.incidents = OrNothing([&] { return ReadIncidents(run, fs); });
  status.evals = OrNothing([&] { return ReadEvals(run, fs); });
  status.files = store.files();
  status.dropped = store.dropped();
  status.superseded = store.superseded().size();
  status.total_steps = store.total_steps();
  for (const Incident& incident : status.incidents) {
    if (incident.action != "restart") continue;
    ++status.restarts;
    if (incident.step > incident.resumed_from) {
      status.trained_again += incident.step - incident.resumed_from;
    }
  }

  double first = 0, last = 0;
  if (!store.attempts().empty()) {
    const auto& [key, latest] = *store.attempts().rbegin();
    status.attempt = key.first;
    first = store.attempts().begin()->second.started;
    last = latest.last_time;
  }
  if (lease) {
    status.attempt = std::max(status.attempt, lease->attempt);
    if (first == 0) first = lease->time;
    if (last == 0) last = lease->time;
  }
  status.elapsed = std::max(0.0, last - first);
  status.silent = last > 0 ? std::max(0.0, now - last) : 0;
  status.epochs = kNan;
  status.step_seconds = kNan;

  const std::vector<const StepRow*> rows = LatestRows(store, kRateWindow);
  if (!rows.empty()) {
    const StepRecord& record = rows.back()->record;
    status.step = record.step;
    status.samples_seen = record.samples_seen;
    status.world_size = record.world_size;
    status.replaced = record.replaced;
    if (record.replaced > 0)
      status.last_replaced = OrNothing([&] { return LastReplaced(run, fs); });
    if (store.samples_per_epoch() > 0) {
      status.epochs =
          static_cast<double>(record.samples_seen) / static_cast<double>(store.samples_per_epoch());
    }
    status.step_seconds = SecondsPerStep(rows);
    FillLearning(LatestRows(store, kRankWindow), status);
    FillPhases(LatestRows(store, kRankWindow), status);
    FindStraggler(LatestRows(store, kRankWindow), "feature gather", &StepRow::gather_lateness,
                  &StepRow::gather_late_rank, status);
    FindStraggler(LatestRows(store, kRankWindow), "gradient reduce", &StepRow::reduce_lateness,
                  &StepRow::reduce_late_rank, status);
    for (const StepRow* row : store.committed()) {
      status.nonfinite_steps += !std::isfinite(row->record.loss);
    }
    if (status.elapsed > 0) {
      status.goodput = std::min(1.0, UsefulSeconds(store.committed()) / status.elapsed);
    }
    status.loss_curve = Bucketed(store.committed(), kCurveBuckets);
    std::vector<const StepRow*> undone = store.superseded();
    std::sort(undone.begin(), undone.end(),
              [](const StepRow* a, const StepRow* b) { return a->record.step < b->record.step; });
    status.undone_curve = Bucketed(undone, kCurveBuckets);
  }
  FillCheckpoints(run, store, fs, status);
  FillState(store, lease, status);
  if (status.state == "running" || status.state == "starting" || status.state == "restarting") {
    FillEta(store, status);
  }
  return status;
}

}  // namespace contrail::monitor
