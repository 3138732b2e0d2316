#include "worker/resume.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "checkpoint/newest.h"
#include "common/error.h"
#include "common/log.h"
#include "common/strings.h"
#include "configs/load.h"
#include "configs/schema.h"
#include "eval/weights.h"
#include "monitoring/first_commit.h"
#include "monitoring/run_files.h"
#include "worker/agree.h"
#include "worker/open_step.h"

namespace contrail::worker {
namespace {

bool Trains(const std::string& key) {
  if (key.starts_with("phase ")) return true;
  const KeySpec* spec = FindKey(key);
  return spec != nullptr && spec->trains;
}

// As TOML; "" where the key is of a phase.
std::string DefaultOf(const std::string& key) {
  Config config;
  const KeySpec* spec = FindKey(key);
  if (spec == nullptr) return "";
  return spec->before.empty() ? FieldToToml(spec->of_config(config)) : spec->before;
}

// Throws where the run cannot go on from this step.
void CheckState(const ckpt::StepReader& step, const Config& config,
                const std::string& data_fingerprint, bool agreed) {
  const ckpt::RunState& state = step.state();
  const auto batch = static_cast<uint64_t>(config.train.global_batch_size);
  if (state.samples_seen != state.step * batch) {
    throw UserError("E-RESUME-BATCH", step.dir(),
                    "the run's global batch size was " +
                        std::to_string(state.step ? state.samples_seen / state.step : 0) +
                        ", the config says " + std::to_string(batch),
                    "a run keeps its batch size; for another one start a new run with "
                    "model.init = \"" +
                        step.dir() + "\"");
  }
  if (state.data_fingerprint != data_fingerprint && !agreed) {
    throw UserError("E-RESUME-DATA", step.dir(),
                    "the shards changed since this step was saved (data fingerprint " +
                        state.data_fingerprint + ", now " + data_fingerprint + ")",
                    "bring the same shards back, or say that you mean it: --set data.train=...");
  }
}

void ReportChanges(const ckpt::RunState& state, const Config& config) {
  if (state.fingerprint == TrainingFingerprint(config)) return;
  for (const std::string& change : TrainingChanges(state.config_toml, ToToml(config))) {
    LogWarning("the run goes on with another setting: " + change);
  }
}

// Reads own slices of all kinds.
void ReadOwn(const ckpt::StepReader& step, FlatParams& flat) {
  const std::vector<ckpt::Range> ranges = flat.RangesOf(flat.rank());
  std::vector<float> own(flat.own_elements());
  for (int kind = 0; kind < ckpt::kNumKinds; ++kind) {
    float* out = own.data();
    for (const ckpt::Range& range : ranges) {
      step.Read(kind, range, out);
      out += range.end - range.begin;
    }
    flat.ImportOwn(kind, own.data());
  }
}

// Reads own slices of the weights alone, at flat's resolution; moments become zero.
void ReadOwnResampled(const ckpt::StepReader& step, FlatParams& flat) {
  std::vector<float> own(flat.own_elements(), 0);
  for (int kind = 1; kind < ckpt::kNumKinds; ++kind) flat.ImportOwn(kind, own.data());
  float* out = own.data();
  for (const ckpt::Range& range : flat.RangesOf(flat.rank())) {
    eval::ReadResampled(step, flat.layout(), range, out);
    out += range.end - range.begin;
  }
  flat.ImportOwn(0, own.data());
}

// Whether the model to go on with has another resolution than the step: only where a phase begins.
bool ChangesResolution(const ckpt::StepReader& step, const model::ModelSpec& spec,
                       const PhasePlan& plan) {
  const ckpt::RunState& state = step.state();
  if (state.resolution == spec.resolution) return false;
  if (plan.BeginsPhase(state.step)) return true;
  throw UserError("E-PHASE-RESOLUTION", step.dir(),
                  "was trained at resolution " + std::to_string(state.resolution) +
                      ", the config's phase trains at " + std::to_string(spec.resolution),
                  "a run changes its resolution where a phase begins; start a new run with "
                  "model.init = \"" +
                      step.dir() + "\"");
}

void LogResampling(int64_t from, int64_t to, const char* moments) {
  LogInfo("resolution " + std::to_string(from) + " -> " + std::to_string(to) +
          ": position embedding resampled (bicubic, antialiased)" + moments);
}

// Weights of others may have a logit scale that the loss does not take: open_clip clamps it after a
// step, not before the first. On every rank alike.
void ClampInitialScale(const Config& config, const std::vector<model::ParamSpec>& params,
                       FlatParams& flat, bool root) {
  const auto is_scale = [](const model::ParamSpec& param) { return param.name == "logit_scale"; };
  const auto found = std::find_if(params.begin(), params.end(), is_scale);
  const auto index = static_cast<size_t>(found - params.begin());
  if (found == params.end()) return;
  const double given = flat.views().weights[index].item<double>();
  const double most = std::log(config.train.logit_scale_max);
  constexpr double kRounding = 1e-3;  // ln 100 as fp16 stores it
  if (given <= most + kRounding) return;
  flat.SetWeight(index, at::full(found->shape, most, at::kFloat));
  if (!root) return;
  LogWarning("W-LOGIT-SCALE: " + config.model.init + ": its logit scale of e^" +
             ExactDouble(given) + " is above train.logit_scale_max; training starts from " +
             ExactDouble(config.train.logit_scale_max));
}

// Whether an error says that a step which is there could not be read now. That a step has vanished
// says so, too: the root has just seen it, and a network file system may be behind on this node.
bool CannotTell(const Error& error) {
  return dynamic_cast<const IoError*>(&error) != nullptr || error.id() == "E-CKPT-MISSING" ||
         error.id() == "E-CKPT-UNCOMMITTED";
}

// The steps to try on the root. {}: nothing was ever committed.
std::vector<ckpt::StepEntry> FindSteps(const FileSystem& fs, const monitor::RunDir& run,
                                       std::optional<uint64_t> from) {
  std::vector<ckpt::StepEntry> steps;
  if (!from) {
    steps = ckpt::ResumeOrder(fs, run.Checkpoints());
    if (!steps.empty()) return steps;
    const auto attempt = monitor::AttemptThatCommitted(run, fs);
    // Runs of older programs have just their summary to tell.
    const auto summary = monitor::ReadSummary(run, fs);
    if (attempt || (summary && summary->checkpoints > 0)) {
      const std::string who = attempt ? "attempt " + std::to_string(*attempt) : "this run";
      throw EnvironmentError("E-CKPT-LOST", run.Checkpoints(),
                             "holds no step, but " + who + " has committed some",
                             "bring the directory back (is its file system mounted?); a run that "
                             "begins again is another run");
    }
    return steps;
  }
  std::vector<ckpt::StepEntry> damaged;
  steps = ckpt::ListSteps(fs, run.Checkpoints(), &damaged);
  steps.insert(steps.end(), damaged.begin(), damaged.end());
  std::erase_if(steps, [from](const ckpt::StepEntry& entry) { return entry.step != *from; });
  return steps;
}

// The root's list of steps on every rank.
std::vector<ckpt::StepEntry> AgreeOnSteps(const FileSystem& fs, Comm& comm,
                                          const monitor::RunDir& run,
                                          std::optional<uint64_t> from) {
  std::string text;
  ReadTogether(comm, [&] {
    if (comm.rank() != 0) return;
    for (const ckpt::StepEntry& entry : FindSteps(fs, run, from)) {
      text += std::to_string(entry.step) + "\n" + entry.dir + "\n" + entry.damage + "\n" +
              std::to_string(entry.unreadable) + "\n";
    }
  });
  const std::vector<std::string> lines = Split(comm.BroadcastText(text, 0), '\n');
  std::vector<ckpt::StepEntry> steps;
  for (size_t i = 0; i + 3 < lines.size(); i += 4) {
    steps.push_back({std::stoull(lines[i]), lines[i + 1], lines[i + 2], std::stoi(lines[i + 3])});
  }
  return steps;
}

}  // namespace

void ReadTogether(Comm& comm, const std::function<void()>& work) {
  Together(comm, [&] {
    try {
      work();
    } catch (const Error& error) {
      if (!CannotTell(error)) throw;
      throw AgreedError(ErrorKind::kEnvironment, error.id(), error.what(), true);
    }
  });
}

namespace {

// Collective. Reads the step into `to` and gathers the weights.
Resumed GoOnFromStep(FileSystem& fs, Comm& comm, const std::string& dir, const Config& config,
                     const PhasePlan& plan, const std::string& data_fingerprint, bool agreed,
                     const ckpt::OnRead& read, const Target& to) {
  Resumed resumed;
  bool resampled = false;
  const auto step = OpenTogether(fs, comm, dir, ReadTogether);
  step->Tell(read);
  ReadTogether(comm, [&] {
    CheckState(*step, config, data_fingerprint, agreed);
    resampled = ChangesResolution(*step, to.spec, plan);
    if (resampled) {
      eval::CheckModelUpToResolution(*step, to.spec, to.flat.layout());
      ReadOwnResampled(*step, to.flat);
    } else {
      eval::CheckModel(*step, to.spec, to.flat.layout());
      ReadOwn(*step, to.flat);
    }
    to.statistics.Import(eval::ReadBuffers(*step, to.statistics.specs()));
    resumed = {step->state(), step->lineage(), step->dir()};
  });
  if (comm.rank() == 0) {
    ReportChanges(resumed.state, config);
    if (resampled) {
      LogResampling(resumed.state.resolution, to.spec.resolution, ", fresh optimizer moments");
    }
  }
  GatherWeights(comm, to.flat);
  return resumed;
}

}  // namespace

std::optional<Resumed> Resume(FileSystem& fs, Comm& comm, const monitor::RunDir& run,
                              std::optional<uint64_t> from, const Config& config,
                              const PhasePlan& plan, const std::string& data_fingerprint,
                              const std::function<Target(uint64_t step)>& target, bool agreed,
                              const OnDamage& on_damage, const ckpt::OnRead& read) {
  const bool root = comm.rank() == 0;
  const std::vector<ckpt::StepEntry> steps = AgreeOnSteps(fs, comm, run, from);
  if (steps.empty() && from) {
    throw AgreedError(UserError("E-CKPT-MISSING", run.Checkpoints(),
                                "holds no committed step " + std::to_string(*from),
                                "`contrail checkpoint list` shows which there are"),
                      root);
  }
  std::optional<Resumed> resumed;
  const auto use = [&](const ckpt::StepEntry& step) {
    resumed = GoOnFromStep(fs, comm, step.dir, config, plan, data_fingerprint, agreed, read,
                           target(step.step));
  };
  const auto passed_over = [&](const ckpt::StepEntry& step) {
    if (from) throw AgreedError(ErrorKind::kEnvironment, "E-CKPT-CORRUPT", step.damage, root);
    if (!root) return;
    LogWarning(step.damage + "; the step before it is used");
    on_damage(step);
  };
  try {
    ckpt::FirstUsable(steps, use, passed_over);
  } catch (const IoError& error) {  // of a step on the list, which is the same on all ranks
    throw AgreedError(ErrorKind::kEnvironment, error.id(), error.what(), root);
  }
  if (resumed || steps.empty()) return resumed;
  throw AgreedError(EnvironmentError("E-CKPT-CORRUPT", run.Checkpoints(),
                                     "none of its " + std::to_string(steps.size()) +
                                         " committed steps can be read",
                                     "the lines above say why; restore one from a copy"),
                    root);
}

void Initialise(FileSystem& fs, Comm& comm, const Config& config,
                const std::vector<model::ParamSpec>& params, const Target& target,
                const ckpt::OnRead& read) {
  FlatParams& flat = target.flat;
  const auto seed = static_cast<uint64_t>(config.run.seed);
  if (config.model.init == "random") {
    for (size_t i = 0; i < params.size(); ++i) {
      at::Tensor value = at::empty(params[i].shape, at::kFloat);
      model::InitParam(params[i], seed, value);
      flat.SetWeight(i, value);
    }
    return;
  }
  int64_t resolution = 0;
  const auto step = OpenTogether(fs, comm, config.model.init);
  step->Tell(read);
  Together(comm, [&] {
    eval::CheckModelUpToResolution(*step, target.spec, flat.layout());
    ReadOwnResampled(*step, flat);
    target.statistics.Import(eval::ReadBuffers(*step, target.statistics.specs()));
    resolution = step->state().resolution;
  });
  if (comm.rank() == 0 && resolution != target.spec.resolution) {
    LogResampling(resolution, target.spec.resolution, "");
  }
  GatherWeights(comm, flat);
  ClampInitialScale(config, params, flat, comm.rank() == 0);
}

void GatherWeights(Comm& comm, FlatParams& flat) {
  for (int bucket = 0; bucket < flat.num_buckets(); ++bucket) {
    flat.RoundOwn(bucket);
    comm.AllGather(flat.weights(bucket), flat.own_working(bucket));
  }
}

std::vector<std::string> TrainingChanges(const std::string& old_toml, const std::string& new_toml) {
  const auto before = ResolvedValues(old_toml);
  auto after = ResolvedValues(new_toml);
  std::vector<std::string> changes;
  for (const auto& [key, value] : before) {
    const auto now = after.find(key);
    const std::string text = now == after.end() ? "(default)" : now->second;
    if (Trains(key) && text != value) changes.push_back(key + ": " + value + " -> " + text);
    if (now != after.end()) after.erase(now);
  }
  for (const auto& [key, value] : after) {
    // A key that the older program did not know stands for what that program did.
    if (Trains(key) && value != DefaultOf(key)) changes.push_back(key + ": (default) -> " + value);
  }
  return changes;
}

}  // namespace contrail::worker
