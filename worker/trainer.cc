#include "worker/trainer.h"

#include <cmath>

#include "data/order.h"
#include "worker/replica_check.h"
#include "worker/signals.h"
#include "worker/stopwatch.h"

namespace contrail::worker {

using monitor::Activity;

Outcome Trainer::Run() {
  progress_.Enter(monitor::Phase::kTraining);
  progress_.Do(Activity::kComputing);
  while (done_ < plan_->total_steps()) {
    if (plan_->ResolutionAt(done_) != spec_.resolution) ChangeResolution();
    Stopwatch watch;
    monitor::StepTimes times;
    const data::Batch batch = NextBatch();
    times.data_wait = watch.Lap();

    step_->Encode(batch, times);
    step_->Gather(times);
    const model::LossOutput loss = step_->Loss(times);
    // The same on every rank, as the gradient norm: all of them skip a step, or none.
    const bool finite_loss = std::isfinite(loss.loss);
    if (finite_loss) step_->Backward(times);
    ReportLateness();

    Pulse pulse = {.grad_norm_squared = finite_loss ? step_->OwnGradSquares() : NAN,
                   .correct = loss.correct_image_to_text,
                   .replaced = std::ssize(batch.replaced),
                   .consumed = batch.consumed,
                   .weights_hash = ReplicaHash(),
                   .stop = StopRequested(),
                   .times = times_};
    saver_->Fill(pulse);
    Verdict verdict = Exchange(comm_, pulse);
    reporter_->Times(verdict.times);
    CheckReplicas(comm_, verdict.weights_hashes, done_ + 1);
    CountSamples(verdict, batch);

    const double lr = plan_->LearningRate(done_);
    if (plan_->UpdatesBefore(done_) == 0) updates_ = 0;  // fresh moments
    const double scale = step_->logit_scale();           // as the loss was computed with
    const double loss_scale = step_->loss_scale().value();
    if (std::isfinite(verdict.grad_norm)) {
      step_->Update(++updates_, lr, verdict.grad_norm, times);
      bad_steps_->Good();
      loss_ = loss.loss;
    } else {
      step_->Skip();
      if (finite_loss && step_->ScaleOverflowed()) {
        bad_steps_->Overflowed();
      } else {
        const Doing doing(progress_, Activity::kSaving);  // a line of its record is synced
        bad_steps_->Bad(done_, finite_loss ? "gradient norm" : "loss",
                        finite_loss ? verdict.grad_norm : loss.loss, *step_);
      }
    }
    ++done_;
    verdict.hold_save = bad_steps_->in_a_row() > 0;
    times.checkpoint_stall = SaveWhereDue(verdict);
    times.total = watch.Total();
    times_ = times;
    Report(verdict, loss.loss, lr, scale, loss_scale);
    if (verdict.stop) break;
  }
  CommitThisStep();
  return done_ < plan_->total_steps() ? Outcome::kStopped : Outcome::kDone;
}

data::Batch Trainer::NextBatch() {
  const Doing doing(progress_, Activity::kData);
  return loader_->Next();
}

// Collective. What was replaced is on disk before the step counts; where it is too much, the steps
// before this one are committed and the run stops.
void Trainer::CountSamples(const Verdict& verdict, const data::Batch& batch) {
  const Doing doing(progress_, Activity::kSaving);
  try {
    replacements_->Count(done_, verdict, batch.replaced);
  } catch (const TooManyReplaced&) {
    step_->Skip();
    CommitThisStep();
    throw;
  }
}

void Trainer::ReportLateness() {
  const Doing doing(progress_, Activity::kExchanging);
  reporter_->Late(lateness_.Exchange());
}

float Trainer::SaveWhereDue(const Verdict& verdict) {
  const Doing doing(progress_, Activity::kSaving);
  return static_cast<float>(saver_->AfterStep(verdict, State(), [this] { return TakeSnapshot(); }));
}

// Collective. Waits until the last step is committed, and its telemetry durable before it.
void Trainer::CommitThisStep() {
  progress_.Enter(monitor::Phase::kSaving);
  const Doing doing(progress_, Activity::kSaving);
  step_->WaitForWeights();
  ReportLateness();
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
  state.skipped_steps = bad_steps_->skipped();
  state.updates = updates_;
  state.consumed = replacements_->consumed();
  state.replaced = replacements_->replaced();
  if (const LossScale& scale = step_->loss_scale(); scale.on()) {
    state.loss_scale = scale.value();
    state.loss_scale_good_steps = scale.state().good_steps;
    state.loss_scale_overflows = scale.state().overflows;
  }
  return state;
}

std::shared_ptr<const ckpt::Snapshot> Trainer::TakeSnapshot() {
  std::shared_ptr<ckpt::Snapshot> snapshot = snapshots_->Take();
  for (int kind = 0; kind < ckpt::kNumKinds; ++kind)
    flat_->ExportOwn(kind, snapshot->data[kind].data());
  return snapshot;
}

// 0 in steps that do not compare.
uint32_t Trainer::ReplicaHash() {
  const auto every = static_cast<uint64_t>(config_.train.replica_check_steps);
  if (every == 0 || comm_.size() == 1 || (done_ + 1) % every != 0) return 0;
  step_->WaitForWeights();
  return HashOfWeights(*flat_);
}

void Trainer::Report(const Verdict& verdict, double loss, double lr, double scale,
                     double loss_scale) {
  const auto batch = static_cast<uint64_t>(config_.train.global_batch_size);
  monitor::StepRecord record;
  record.step = done_;
  record.epoch = data::PositionOfStep(done_ - 1, dataset_->size(), batch).epoch;
  record.samples_seen = done_ * batch;
  record.wall_time = SystemClock().Now();
  record.loss = loss;
  record.lr = lr;
  record.logit_scale = scale;
  record.grad_norm = verdict.grad_norm;
  record.accuracy_image_to_text = static_cast<double>(verdict.correct) / static_cast<double>(batch);
  record.samples_per_second = static_cast<double>(batch) / times_.total;
  record.world_size = comm_.size();
  record.skipped_steps = bad_steps_->skipped();
  record.loss_scale = loss_scale;
  record.replaced = replacements_->replaced();
  record.consumed = replacements_->consumed();
  reporter_->Step(std::move(record));
}

}  // namespace contrail::worker
