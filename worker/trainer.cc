#include "worker/trainer.h"

#include "common/error.h"
#include "common/log.h"
#include "common/strings.h"
#include "configs/load.h"
#include "data/order.h"
#include "data/tokenizer.h"
#include "worker/agree.h"
#include "worker/micro_batch.h"
#include "worker/signals.h"
#include "worker/start_checks.h"
#include "worker/stopwatch.h"

namespace contrail::worker {

Outcome Trainer::Run() {
  progress_.Enter(monitor::Phase::kTraining);
  while (done_ < plan_->total_steps()) {
    Stopwatch watch;
    monitor::StepTimes times;
    const data::Batch batch = loader_->Next();
    times.data_wait = watch.Lap();

    step_->Encode(batch, times);
    step_->Gather(times);
    const model::LossOutput loss = step_->Loss(times);
    CheckFinite("loss", loss.loss);
    step_->Backward(times);

    Pulse pulse = {
        .grad_norm_squared = step_->OwnGradSquares(), .stop = StopRequested(), .times = times_};
    saver_->Fill(pulse);
    const Verdict verdict = Exchange(comm_, pulse);
    reporter_->Times(verdict.times);
    CheckFinite("gradient norm", verdict.grad_norm);

    const double lr = plan_->LearningRate(done_);
    const double scale = step_->Update(done_ + 1, lr, verdict.grad_norm, times);
    ++done_;
    loss_ = loss.loss;
    times.checkpoint_stall =
        static_cast<float>(saver_->AfterStep(verdict, State(), [this] { return TakeSnapshot(); }));
    times.total = watch.Total();
    times_ = times;
    Report(verdict, lr, scale);
    if (verdict.stop) break;
  }
  progress_.Enter(monitor::Phase::kSaving);
  reporter_->Times(Exchange(comm_, {.times = times_}).times);
  saver_->Finish(State(), [this] { return TakeSnapshot(); });
  return done_ < plan_->total_steps() ? Outcome::kStopped : Outcome::kDone;
}

Trainer::Trainer(Comm& comm, Progress& progress, const Launch& launch)
    : comm_(comm), progress_(progress), launch_(launch), config_(launch_.config) {
  CheckStart();
  Restore();
  StartReporter();
  if (done_ < plan_->total_steps()) StartLoader();
}

Trainer::~Trainer() = default;

// Everything that can be wrong, before anything is written.
void Trainer::CheckStart() {
  Together(comm_, [&] {
    CheckConfig(config_, comm_.size());
    spec_ = model::FindModel(config_.model.name);
    if (!config_.model.activation.empty()) spec_.activation = config_.model.activation;
    dataset_ = data::Dataset::Open(config_.data.train);
    CheckDataSize(dataset_->size(), config_);
    plan_ = std::make_unique<PhasePlan>(
        config_, spec_,
        data::StepsPerEpoch(dataset_->size(),
                            static_cast<uint64_t>(config_.train.global_batch_size)));
    data_fingerprint_ = dataset_->Fingerprint();
    model_ = model::ClipModel::Create(spec_);
    flat_ = std::make_unique<FlatParams>(model_->params(), comm_.rank(), comm_.size());
  });
  CheckSameEverywhere(comm_, TrainingFingerprint(config_), data_fingerprint_);
  WarnIfOneCore(comm_);
  progress_.SetTotalSteps(plan_->total_steps());
}

// Weights and moments: from the newest usable step, else from model.init.
void Trainer::Restore() {
  FileSystem& fs = PosixFileSystem();
  std::optional<Resumed> resumed;
  if (!launch_.fresh) {
    resumed = Resume(fs, comm_, launch_.run.Checkpoints(), launch_.from, config_, spec_,
                     data_fingerprint_, *flat_);
  }
  if (resumed) {
    done_ = resumed->state.step;
    loss_ = resumed->state.loss;
    state_.parent = resumed->lineage;
  } else {
    Initialise(fs, comm_, config_, spec_, model_->params(), *flat_);
  }
  state_.world_size = static_cast<uint64_t>(comm_.size());
  state_.attempt = static_cast<uint64_t>(launch_.attempt);
  state_.model = spec_.name;
  state_.activation = spec_.activation;
  state_.resolution = spec_.resolution;
  state_.fingerprint = TrainingFingerprint(config_);
  state_.data_fingerprint = data_fingerprint_;
  state_.config_toml = ToToml(config_);
  model_->Bind(flat_->views());
  MakeRunDir(comm_, launch_);
  try {
    CheckShared(comm_, launch_.run);
  } catch (const AgreedError&) {
    if (launch_.fresh && comm_.rank() == 0) fs.RemoveTree(launch_.run.root);
    throw;
  }

  const bool resnet = spec_.name.starts_with("RN") || spec_.name == "tiny-rn";
  const auto& train = config_.train;
  const int64_t share = train.global_batch_size / comm_.size();
  const int64_t micro = train.micro_batch_size > 0
                            ? train.micro_batch_size
                            : FitMicroBatch(*model_, share, ActivationBudget(RanksHere(comm_)));
  step_ = std::make_unique<TrainStep>(
      comm_, *model_, *flat_,
      TrainStep::Options{.global_batch_size = train.global_batch_size,
                         .micro_batch_size = micro,
                         .adamw = {.beta1 = train.beta1,
                                   .beta2 = train.beta2 > 0 ? train.beta2
                                            : resnet        ? 0.999
                                                            : 0.98,
                                   .epsilon = train.eps > 0 ? train.eps
                                              : resnet      ? 1e-8
                                                            : 1e-6,
                                   .weight_decay = train.weight_decay},
                         .grad_clip_norm = train.grad_clip_norm,
                         .logit_scale_max = train.logit_scale_max});

  Saver::Options saver{.run = launch_.run,
                       .attempt = launch_.attempt,
                       .every_steps = static_cast<uint64_t>(config_.checkpoint.every_steps),
                       .every_minutes = config_.checkpoint.every_minutes,
                       .keep_last = static_cast<int>(config_.checkpoint.keep_last),
                       .resumed_step = done_,
                       .layout = flat_->layout(),
                       .ranges_of_rank = {},
                       .before_commit = [this] { reporter_->WaitUntilDurable(); }};
  for (int rank = 0; rank < comm_.size(); ++rank) {
    saver.ranges_of_rank.push_back(flat_->RangesOf(rank));
  }
  saver_ = std::make_unique<Saver>(fs, comm_, std::move(saver),
                                   [this](const monitor::CheckpointRecord& record) {
                                     progress_.Commit(record.step);
                                     if (comm_.rank() == 0) reporter_->Checkpoint(record);
                                   });
  progress_.Resume(done_);
}

void Trainer::StartLoader() {
  const auto batch = static_cast<uint64_t>(config_.train.global_batch_size);
  const uint64_t share = batch / static_cast<uint64_t>(comm_.size());
  const auto seed = static_cast<uint64_t>(config_.run.seed);
  loader_ = data::BatchLoader::Start(
      dataset_, data::Tokenizer::Load(config_.data.tokenizer),
      {.load = {.resolution = spec_.resolution,
                .crop = config_.data.crop,
                .crop_scale_min = config_.data.crop_scale_min,
                .seed = seed,
                .captions = true},
       .seed = seed,
       .shuffle_window = static_cast<uint64_t>(config_.data.shuffle_window),
       .global_batch_size = batch,
       .slice_begin = static_cast<uint64_t>(comm_.rank()) * share,
       .slice_end = static_cast<uint64_t>(comm_.rank() + 1) * share,
       .first_step = done_,
       .workers = static_cast<int>(config_.data.workers),
       .prefetch = 2});
}

void Trainer::StartReporter() {
  std::unique_ptr<monitor::Recorder> recorder;
  if (comm_.local_rank() == 0) {
    recorder = monitor::Recorder::Open({.run = launch_.run,
                                        .attempt = launch_.attempt,
                                        .node = comm_.node_of_rank()[comm_.rank()],
                                        .resumed_step = done_,
                                        .config_toml = ToToml(config_),
                                        .total_steps = plan_->total_steps(),
                                        .samples_per_epoch = dataset_->size()});
  }
  reporter_ = std::make_unique<Reporter>(
      Reporter::Options{.prints = comm_.rank() == 0,
                        .total_steps = plan_->total_steps(),
                        .every_steps = static_cast<uint64_t>(config_.telemetry.every_steps),
                        .status_seconds = config_.telemetry.status_seconds},
      progress_, std::move(recorder));
  if (comm_.rank() != 0) return;
  LogInfo(launch_.run.root + ": " + spec_.name + ", " + std::to_string(comm_.size()) + " ranks, " +
          std::to_string(dataset_->size()) + " samples, steps " + std::to_string(done_ + 1) +
          " to " + std::to_string(plan_->total_steps()));
}

ckpt::RunState Trainer::State() const {
  const size_t phase = plan_->IndexOf(done_);
  ckpt::RunState state = state_;
  state.step = done_;
  state.samples_seen = done_ * static_cast<uint64_t>(config_.train.global_batch_size);
  state.phase = phase;
  state.phase_step = done_ - plan_->phases()[phase].first_step;
  state.loss = loss_;
  return state;
}

ckpt::Snapshot Trainer::TakeSnapshot() const {
  ckpt::Snapshot snapshot;
  snapshot.ranges = flat_->RangesOf(comm_.rank());
  for (int kind = 0; kind < ckpt::kNumKinds; ++kind) {
    snapshot.data[kind].resize(flat_->own_elements());
    flat_->ExportOwn(kind, snapshot.data[kind].data());
  }
  return snapshot;
}

// The value is the same on every rank, so all of them leave together, before weights are touched.
void Trainer::CheckFinite(const char* what, double value) const {
  if (std::isfinite(value)) return;
  const data::SampleOrder order(static_cast<uint64_t>(config_.run.seed), dataset_->shard_sizes(),
                                static_cast<uint64_t>(config_.data.shuffle_window));
  const auto batch = static_cast<uint64_t>(config_.train.global_batch_size);
  const data::BatchPosition position = data::PositionOfStep(done_, dataset_->size(), batch);
  const std::vector<int64_t> rows = step_->BrokenRows();
  std::string who = "every feature of the batch is finite";
  if (rows.size() == batch) {
    who = "no feature of the batch is finite: the weights have diverged";
  } else if (!rows.empty()) {
    who = std::to_string(rows.size()) + " samples have broken features, first " +
          dataset_->Key(order.At(position.epoch, position.first + rows[0]));
  }
  throw AgreedError(
      EnvironmentError("E-NONFINITE", "step " + std::to_string(done_ + 1),
                       std::string("the ") + what + " is " + ExactDouble(value) +
                           ", batch of epoch " + std::to_string(position.epoch) +
                           " from position " + std::to_string(position.first) + "; " + who,
                       "lower train.lr or set train.grad_clip_norm, then resume"),
      comm_.rank() == 0);
}

void Trainer::Report(const Verdict& verdict, double lr, double scale) {
  const auto batch = static_cast<uint64_t>(config_.train.global_batch_size);
  monitor::StepRecord record;
  record.step = done_;
  record.epoch = data::PositionOfStep(done_ - 1, dataset_->size(), batch).epoch;
  record.samples_seen = done_ * batch;
  record.wall_time = SystemClock().Now();
  record.loss = loss_;
  record.lr = lr;
  record.logit_scale = scale;
  record.grad_norm = verdict.grad_norm;
  record.accuracy_image_to_text = static_cast<double>(verdict.correct) / static_cast<double>(batch);
  record.samples_per_second = static_cast<double>(batch) / times_.total;
  record.world_size = comm_.size();
  reporter_->Step(std::move(record));
}

}  // namespace contrail::worker
