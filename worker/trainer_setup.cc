// How a Trainer comes to be: checks, weights, and the parts of a step.
#include <algorithm>

#include "common/clock.h"
#include "common/error.h"
#include "common/log.h"
#include "configs/load.h"
#include "data/order.h"
#include "data/synthetic.h"
#include "data/tokenizer.h"
#include "monitoring/damaged_step.h"
#include "monitoring/data_consent.h"
#include "monitoring/trained_on.h"
#include "worker/agree.h"
#include "worker/fence.h"
#include "worker/loss_check.h"
#include "worker/make_room.h"
#include "worker/micro_batch.h"
#include "worker/open_data.h"
#include "worker/same_bits.h"
#include "worker/start_checks.h"
#include "worker/trainer.h"

namespace contrail::worker {
namespace {

constexpr int kBatchesAhead = 2;       // kept ready by the loader
constexpr double kLongestTidyUp = 60;  // seconds for one operation of making room

FlatParams::Options FlatOptions(const Config& config, at::ScalarType precision) {
  const bool text_masters = config.train.text_weights == "fp32";
  if (!text_masters && precision != at::kBFloat16) {
    throw UserError("E-PRECISION", "train.text_weights",
                    "text weights in bf16 alone need products in bf16, and this run computes in "
                    "another format",
                    "set train.precision to \"bf16\", or train.text_weights to \"fp32\"");
  }
  FlatParams::Options options;
  options.matrix_type = precision;
  options.moment_type = config.train.moments == "bf16" ? at::kBFloat16 : at::kFloat;
  options.text_masters = text_masters;
  return options;
}

}  // namespace

Trainer::Trainer(Comm& comm, Progress& progress, const Launch& launch)
    : comm_(comm), progress_(progress), launch_(launch), config_(launch_.config), lateness_(comm) {
  CheckStart();
  Restore(launch_.from, launch_.fresh);
  MakeSharedRunDir();
  MakeRoom();
  NoteData();
  MakeStep();
  StartReporter();
  MakeSaver();
  if (done_ < plan_->total_steps()) StartLoader();
}

Trainer::~Trainer() = default;

// Everything that can be wrong, before anything is written.
void Trainer::CheckStart() {
  Together(comm_, [&] {
    CheckConfig(config_, comm_.size());
    spec_ = model::FindModel(config_.model.name);
    if (!config_.model.activation.empty()) spec_.activation = config_.model.activation;
    spec_.resnet.bn_group_size = config_.model.bn_group_size;
    spec_.loss = config_.train.loss;
    spec_.mean_std = config_.data.mean_std;
    CheckMicroBatch(config_, spec_, comm_.size());
  });
  precision_ = ChoosePrecision(PosixFileSystem(), comm_, config_, spec_,
                               launch_.fresh ? "" : launch_.run.Checkpoints(), launch_.from);
  instruction_sets_ = InstructionSets(comm_, precision_.name != "fp32");
  {
    const Doing doing(progress_, monitor::Activity::kIndexing);
    if (!config_.synthetic()) {
      dataset_ = OpenData(
          comm_, config_.data.train, data::ParseCaptionKey(config_.data.caption_key),
          [this](uint64_t amount) { progress_.Work(monitor::Activity::kIndexing, amount); },
          config_.data.index_dir);
      CheckCaptions(comm_, *dataset_, config_);
    }
  }
  Together(comm_, [&] {
    if (config_.synthetic()) dataset_ = data::MakeSynthetic(config_);
    CheckDataSize(dataset_->size(), config_);
    plan_ = std::make_unique<PhasePlan>(
        config_, spec_,
        data::StepsPerEpoch(dataset_->size(),
                            static_cast<uint64_t>(config_.train.global_batch_size)));
    data_fingerprint_ = dataset_->Fingerprint();
    tokenizer_ = data::Tokenizer::Load(config_.data.tokenizer);
    BuildModel(plan_->ResolutionAt(0));
  });
  CheckSameEverywhere(comm_, config_,
                      std::to_string(dataset_->size()) + " samples, " + data_fingerprint_);
  CheckLoss(comm_, spec_.loss);
  WarnIfOneCore(comm_);
  WarnIfFewCores(comm_, launch_.threads_asked, launch_.threads);
  WarnIfGpusIdle(comm_);
  if (config_.synthetic() && comm_.rank() == 0) {
    LogWarning("synthetic pairs: this run tells how fast a model trains, and trains none");
  }
  if (const std::string poor = data::PoorMixing(dataset_->shard_sizes(), config_);
      !poor.empty() && comm_.rank() == 0) {
    LogWarning(poor);
  }
  progress_.SetTotalSteps(plan_->total_steps());
}

// Weights, moments and statistics for images of this resolution, not filled yet.
void Trainer::BuildModel(int64_t resolution) {
  if (model_ && spec_.resolution == resolution) return;
  spec_.resolution = resolution;
  model_.reset();  // the old ones go first: memory may not hold both
  flat_.reset();
  model_ = model::ClipModel::Create(spec_);
  flat_ = std::make_unique<FlatParams>(model_->params(), comm_.rank(), comm_.size(),
                                       FlatOptions(config_, precision_.type()));
  statistics_ = std::make_unique<RunningStatistics>(model_->buffers());
}

// Weights and moments: from the newest usable step, or exactly `from`, else from model.init.
void Trainer::Restore(std::optional<uint64_t> from, bool fresh) {
  FileSystem& fs = PosixFileSystem();
  std::optional<Resumed> resumed;
  const Doing doing(progress_, monitor::Activity::kReading);
  const auto read = [this](uint64_t bytes) { progress_.Work(monitor::Activity::kReading, bytes); };
  if (!fresh) {
    // The root asks, and uses a consent up; its answer is everybody's.
    std::string agreed;
    Together(comm_, [&] {
      if (comm_.rank() != 0) return;
      if (monitor::AgreedToData(launch_.run, launch_.consent, data_fingerprint_)) agreed = "yes";
    });
    agreed = comm_.BroadcastText(agreed, 0);
    resumed = Resume(
        fs, comm_, launch_.run, from, config_, *plan_, data_fingerprint_,
        [this](uint64_t step) {
          BuildModel(plan_->ResolutionAt(step));
          return Target{spec_, *flat_, *statistics_};
        },
        !agreed.empty(), [this](const ckpt::StepEntry& step) { NoteDamage(step); }, read);
  }
  if (resumed) {
    before_ = resumed->state;
    done_ = resumed->state.step;
    resumed_dir_ = resumed->dir;
    progress_.Resume(done_);
    loss_ = resumed->state.loss;
    state_.parent = resumed->lineage;
    state_.skipped_steps = resumed->state.skipped_steps;
    state_.consumed = resumed->state.consumed;
    state_.consumed_from = resumed->state.consumed_from;
    state_.replaced = resumed->state.replaced;
    updates_ = state_.skipped_steps > 0 ? resumed->state.updates : plan_->UpdatesBefore(done_);
    ResumeLossScale(resumed->state);
  } else {
    BuildModel(plan_->ResolutionAt(0));
    Initialise(fs, comm_, config_, model_->params(), {spec_, *flat_, *statistics_}, read);
  }
  model::BoundParams bound = flat_->views();
  bound.buffers = statistics_->views();
  model_->Bind(std::move(bound));
}

// The launcher makes an incident of it.
void Trainer::NoteDamage(const ckpt::StepEntry& step) const {
  try {
    monitor::AppendDamagedStep(launch_.run, launch_.attempt,
                               {step.step, step.dir, step.damage, SystemClock().Now()});
  } catch (const Error& error) {
    LogWarning(std::string("the damage could not be recorded: ") + error.what());
  }
}

void Trainer::ResumeLossScale(const ckpt::RunState& state) {
  if (precision_.name == "fp16" && state.loss_scale > 0) {
    loss_scale_ =
        LossScale({state.loss_scale, state.loss_scale_good_steps, state.loss_scale_overflows});
  }
  if (state.precision == precision_.name || comm_.rank() != 0) return;
  LogWarning("the run goes on in " + precision_.name + "; until step " +
             std::to_string(state.step) + " it was trained in " + state.precision);
}

// The next phase has another resolution. The step before it is committed and read back as a resume
// would read it, so a run that is killed here or later goes on with the same bits.
void Trainer::ChangeResolution() {
  CommitThisStep();
  {
    const Doing doing(progress_, monitor::Activity::kData);
    loader_.reset();  // its threads end with the reads that they are in
  }
  step_.reset();
  Restore(done_, /*fresh=*/false);
  MakeStep();
  MakeSaver();
  StartLoader();
  progress_.Enter(monitor::Phase::kTraining);
}

// A fresh run whose directory turns out not to be shared leaves nothing behind.
void Trainer::MakeSharedRunDir() {
  MakeRunDir(comm_, launch_);
  try {
    CheckShared(comm_, launch_.run);
  } catch (const AgreedError&) {
    if (launch_.fresh && comm_.rank() == 0) {
      launch_.claim->lease.reset();  // or it is written anew
      PosixFileSystem().RemoveTree(launch_.run.root);
    }
    throw;
  }
}

Writer Trainer::AsWriter() const { return {launch_.run, launch_.attempt, launch_.owner}; }

void Trainer::MakeRoom() {
  const Doing doing(progress_, monitor::Activity::kSaving);
  ReadTogether(comm_, [&] {
    if (comm_.rank() != 0) return;
    worker::MakeRoom(
        PosixFileSystem(),
        {.writer = AsWriter(),
         .keep_last = static_cast<int>(config_.checkpoint.keep_last),
         .resumed_step = done_,
         .resumed_dir = resumed_dir_,
         .stall_seconds = std::min(config_.checkpoint.stall_seconds, kLongestTidyUp)},
        [this](uint64_t amount) { progress_.Work(monitor::Activity::kSaving, amount); });
  });
}

// What `contrail data audit` proves the run by, and what earlier attempts replaced.
void Trainer::NoteData() {
  const auto seed = static_cast<uint64_t>(config_.run.seed);
  const auto batch = static_cast<uint64_t>(config_.train.global_batch_size);
  Together(comm_, [&] {
    if (comm_.rank() != 0) return;
    std::vector<monitor::ShardLine> shards;
    for (const data::ShardHead& shard : dataset_->shards()) {
      shards.push_back({shard.path, shard.bytes, shard.samples});
    }
    FileSystem& fs = PosixFileSystem();
    CheckFence(AsWriter(), fs);
    monitor::WriteTrainedOn(launch_.run, launch_.attempt,
                            {.resumed_step = done_,
                             .world_size = comm_.size(),
                             .seed = seed,
                             .global_batch_size = batch,
                             .shuffle_window = data::ShuffleWindow(config_),
                             .order = config_.data.order,
                             .data = data_fingerprint_,
                             .consumed = state_.consumed,
                             .consumed_from = state_.consumed_from,
                             .replaced = state_.replaced},
                            shards, fs);
  });
  replacements_ = std::make_unique<Replacements>(
      comm_, Replacements::Options{.writer = AsWriter(),
                                   .data = data_fingerprint_,
                                   .global_batch_size = batch,
                                   .limit = config_.data.max_replaced,
                                   .resumed_step = done_,
                                   .consumed = state_.consumed,
                                   .replaced = state_.replaced});
}

void Trainer::MakeStep() {
  const bool resnet = !spec_.resnet.layers.empty();
  const auto& train = config_.train;
  const int64_t share = train.global_batch_size / comm_.size();
  std::string message;
  const int64_t kept = before_ ? MicroBatchToKeep(*before_, comm_.size(), spec_.resolution) : 0;
  const MicroBatch micro = SmallestMicroBatch(
      comm_,
      ChooseMicroBatch(config_, *model_, MeasureFixed(config_, spec_, *flat_, share, kBatchesAhead),
                       share, MemoryOfRank(RanksHere(comm_)), kept, &message));
  if (comm_.rank() == 0) (micro.fits ? LogInfo : LogWarning)(message);
  state_.micro_batch = static_cast<uint64_t>(micro.samples);
  step_ = std::make_unique<TrainStep>(
      comm_, *model_, *flat_,
      TrainStep::Options{
          .global_batch_size = train.global_batch_size,
          .micro_batch_size = micro.samples,
          .recompute = RecomputeOf(config_),
          .adamw = {.beta1 = train.beta1,
                    .beta2 = train.beta2 > 0 ? train.beta2
                             : resnet        ? 0.999
                                             : 0.98,
                    .epsilon = train.eps > 0 ? train.eps
                               : resnet      ? 1e-8
                                             : 1e-6,
                    .weight_decay = train.weight_decay,
                    .seed = static_cast<uint64_t>(config_.run.seed)},
          .grad_clip_norm = train.grad_clip_norm,
          .logit_scale_max = train.logit_scale_max,
          .overlap = train.overlap == "on",
          .gradients = train.grad_reduce == "bf16" ? Wire::kBFloat16 : Wire::kAsStored,
          .loss_scale = precision_.name != "fp16" ? LossScale()
                        : loss_scale_.on()        ? loss_scale_
                                                  : LossScale::On(train.initial_scale_power),
          .progress = &progress_});
}

void Trainer::MakeSaver() {
  bad_steps_ = std::make_unique<BadSteps>(
      comm_, dataset_,
      BadSteps::Options{
          .run = launch_.run,
          .attempt = launch_.attempt,
          .limit = static_cast<int>(config_.train.bad_steps_in_a_row),
          .seed = static_cast<uint64_t>(config_.run.seed),
          .shuffle_window = data::ShuffleWindow(config_),
          .order = data::ParseOrder(config_.data.order),
          .global_batch_size = static_cast<uint64_t>(config_.train.global_batch_size),
          .replaced = [this](data::Place place) { return replacements_->KeyAt(place); },
          .skipped = state_.skipped_steps});
  state_.world_size = static_cast<uint64_t>(comm_.size());
  state_.attempt = static_cast<uint64_t>(launch_.attempt);
  state_.model = spec_.name;
  state_.activation = spec_.activation;
  state_.precision = precision_.name;
  state_.resolution = spec_.resolution;
  state_.mean_std = spec_.mean_std;
  state_.instruction_sets = instruction_sets_;
  state_.fingerprint = TrainingFingerprint(config_);
  state_.data_fingerprint = data_fingerprint_;
  state_.config_toml = ToToml(config_);
  if (before_ && comm_.rank() == 0) {
    for (const std::string& reason : WhyBitsDiffer(*before_, state_)) LogWarning(reason);
  }

  Saver::Options saver{
      .writer = AsWriter(),
      .every_steps = static_cast<uint64_t>(config_.checkpoint.every_steps),
      .every_minutes = config_.checkpoint.every_minutes,
      .keep_last = static_cast<int>(config_.checkpoint.keep_last),
      .resumed_step = done_,
      .layout = flat_->layout(),
      .ranges_of_rank = {},
      .take_buffers =
          [this] {
            statistics_->Average(comm_);
            return statistics_->Export();
          },
      .before_commit = [reporter = reporter_] { reporter->WaitUntilDurable(); },
      .stall_seconds = config_.checkpoint.stall_seconds,
      .moved = [this](uint64_t amount) { progress_.Work(monitor::Activity::kSaving, amount); }};
  for (int rank = 0; rank < comm_.size(); ++rank) {
    saver.ranges_of_rank.push_back(flat_->RangesOf(rank));
  }
  snapshots_ = std::make_unique<ckpt::SnapshotPool>(flat_->RangesOf(comm_.rank()));
  saver_ = std::make_unique<Saver>(PosixFileSystem(), comm_, std::move(saver),
                                   [this](const monitor::CheckpointRecord& record) {
                                     progress_.Commit(record.step);
                                     if (comm_.rank() == 0) reporter_->Checkpoint(record);
                                   });
}

void Trainer::StartLoader() {
  const auto batch = static_cast<uint64_t>(config_.train.global_batch_size);
  const uint64_t share = batch / static_cast<uint64_t>(comm_.size());
  const auto seed = static_cast<uint64_t>(config_.run.seed);
  loader_ =
      data::BatchLoader::Start(dataset_, tokenizer_,
                               {.load = {.resolution = spec_.resolution,
                                         .crop = config_.data.crop,
                                         .crop_scale_min = config_.data.crop_scale_min,
                                         .seed = seed,
                                         .captions = true},
                                .seed = seed,
                                .shuffle_window = data::ShuffleWindow(config_),
                                .order = data::ParseOrder(config_.data.order),
                                .global_batch_size = batch,
                                .slice_begin = static_cast<uint64_t>(comm_.rank()) * share,
                                .slice_end = static_cast<uint64_t>(comm_.rank() + 1) * share,
                                .first_step = done_,
                                .workers = static_cast<int>(config_.data.workers),
                                .prefetch = kBatchesAhead,
                                .known = replacements_->known(),
                                .made = [this] { progress_.Work(monitor::Activity::kData, 1); }});
}

void Trainer::StartReporter() {
  std::unique_ptr<monitor::Recorder> recorder;
  if (comm_.local_rank() == 0) {
    const std::vector<int>& nodes = comm_.node_of_rank();
    const int node = nodes[comm_.rank()];
    std::vector<int> ranks;  // of this node, where there are others
    for (int rank = 0; rank < comm_.size(); ++rank) {
      if (nodes[rank] == node) ranks.push_back(rank);
    }
    if (std::ssize(ranks) == comm_.size()) ranks.clear();
    recorder = monitor::Recorder::Open({.run = launch_.run,
                                        .attempt = launch_.attempt,
                                        .node = node,
                                        .ranks = std::move(ranks),
                                        .resumed_step = done_,
                                        .config_toml = ToToml(config_),
                                        .total_steps = plan_->total_steps(),
                                        .samples_per_epoch = dataset_->size()});
  }
  reporter_ = std::make_shared<Reporter>(
      Reporter::Options{.prints = comm_.rank() == 0,
                        .total_steps = plan_->total_steps(),
                        .every_steps = static_cast<uint64_t>(config_.telemetry.every_steps),
                        .status_seconds = config_.telemetry.status_seconds},
      progress_, std::move(recorder));
  if (comm_.rank() != 0) return;
  LogInfo(launch_.run.root + ": " + spec_.name + ", " + std::to_string(comm_.size()) + " ranks, " +
          std::to_string(dataset_->size()) + " samples, steps " + std::to_string(done_ + 1) +
          " to " + std::to_string(plan_->total_steps()) + ", " + precision_.name + " (" +
          precision_.reason + ")");
}

}  // namespace contrail::worker
