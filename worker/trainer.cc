#include "worker/trainer.h"

#include "common/error.h"
#include "common/strings.h"
#include "data/order.h"
#include "worker/agree.h"
#include "worker/signals.h"
#include "worker/stopwatch.h"

namespace contrail::worker {

Outcome Trainer::Run() {
  progress_.Enter(monitor::Phase::kTraining);
  while (done_ < plan_->total_steps()) {
    if (plan_->ResolutionAt(done_) != spec_.resolution) ChangeResolution();
    Stopwatch watch;
    monitor::StepTimes times;
    const data::Batch batch = loader_->Next();
    times.data_wait = watch.Lap();

    step_->Encode(batch, times);
    step_->Gather(times);
    const model::LossOutput loss = step_->Loss(times);
    CheckFinite("loss", loss.loss);
    step_->Backward(times);
    reporter_->Late(lateness_.Exchange());

    Pulse pulse = {.grad_norm_squared = step_->OwnGradSquares(),
                   .correct = loss.correct_image_to_text,
                   .stop = StopRequested(),
                   .times = times_};
    saver_->Fill(pulse);
    const Verdict verdict = Exchange(comm_, pulse);
    reporter_->Times(verdict.times);
    CheckFinite("gradient norm", verdict.grad_norm);

    const double lr = plan_->LearningRate(done_);
    const double scale = step_->logit_scale();  // as the loss was computed with
    step_->Update(plan_->UpdatesBefore(done_) + 1, lr, verdict.grad_norm, times);
    ++done_;
    loss_ = loss.loss;
    times.checkpoint_stall =
        static_cast<float>(saver_->AfterStep(verdict, State(), [this] { return TakeSnapshot(); }));
    times.total = watch.Total();
    times_ = times;
    Report(verdict, lr, scale);
    if (verdict.stop) break;
  }
  CommitThisStep();
  return done_ < plan_->total_steps() ? Outcome::kStopped : Outcome::kDone;
}

// Collective. Waits until the last step is committed, and its telemetry durable before it.
void Trainer::CommitThisStep() {
  progress_.Enter(monitor::Phase::kSaving);
  step_->WaitForWeights();
  reporter_->Late(lateness_.Exchange());
  reporter_->Times(Exchange(comm_, {.times = times_}).times);
  saver_->Finish(State(), [this] { return TakeSnapshot(); });
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
