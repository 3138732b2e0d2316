#pragma once
// One rank's training loop, from the first step it has to do to the end of the run.

#include <memory>
#include <string>

#include "data/dataset.h"
#include "data/tokenizer.h"
#include "model/clip.h"
#include "worker/bad_steps.h"
#include "worker/comm/comm.h"
#include "worker/flat.h"
#include "worker/lateness.h"
#include "worker/launch.h"
#include "worker/phases.h"
#include "worker/precision.h"
#include "worker/progress.h"
#include "worker/replacements.h"
#include "worker/reporter.h"
#include "worker/resume.h"
#include "worker/saver.h"
#include "worker/statistics.h"
#include "worker/step.h"

namespace contrail::worker {

enum class Outcome { kDone, kStopped };

class Trainer {
 public:
  // Collective. Runs every start check, makes the run directory of a fresh run, resumes or
  // initialises. Throws AgreedError; nothing is written where a check fails.
  Trainer(Comm& comm, Progress& progress, const Launch& launch);
  ~Trainer();

  // Collective. Trains until the plan ends or a stop is asked for; the last step is committed
  // then. Throws AgreedError (E-NONFINITE, E-REPLICA, E-CKPT-SAVE) or this rank's error alone.
  Outcome Run();

 private:
  void CheckStart();
  void BuildModel(int64_t resolution);
  void Restore(std::optional<uint64_t> from, bool fresh);
  void NoteDamage(const ckpt::StepEntry& step) const;
  void ResumeLossScale(const ckpt::RunState& state);
  void ChangeResolution();
  void MakeSharedRunDir();
  Writer AsWriter() const;
  void MakeRoom();
  void MakeStep();
  void MakeSaver();
  void NoteData();
  void StartLoader();
  void StartReporter();
  data::Batch NextBatch();
  void CountSamples(const Verdict& verdict, const data::Batch& batch);
  void ReportLateness();
  float SaveWhereDue(const Verdict& verdict);
  void CommitThisStep();
  ckpt::RunState State() const;
  std::shared_ptr<const ckpt::Snapshot> TakeSnapshot();
  uint32_t ReplicaHash();
  void Report(const Verdict& verdict, double loss, double lr, double scale, double loss_scale);

  Comm& comm_;
  Progress& progress_;
  const Launch launch_;
  const Config& config_;
  model::ModelSpec spec_;

  std::shared_ptr<const data::Dataset> dataset_;
  std::shared_ptr<const data::Tokenizer> tokenizer_;
  std::unique_ptr<PhasePlan> plan_;
  std::unique_ptr<model::ClipModel> model_;
  std::unique_ptr<FlatParams> flat_;
  std::unique_ptr<RunningStatistics> statistics_;
  std::unique_ptr<TrainStep> step_;
  std::unique_ptr<data::BatchLoader> loader_;
  std::shared_ptr<Reporter> reporter_;  // a commit that was left behind may hold it, too
  std::unique_ptr<ckpt::SnapshotPool> snapshots_;
  std::unique_ptr<Saver> saver_;
  std::unique_ptr<BadSteps> bad_steps_;
  std::unique_ptr<Replacements> replacements_;
  Lateness lateness_;

  Precision precision_;
  LossScale loss_scale_;  // where this attempt begins
  std::string instruction_sets_;
  std::optional<ckpt::RunState> before_;  // what this attempt goes on from
  ckpt::RunState state_;                  // the part that stays the same in this attempt
  std::string data_fingerprint_;
  std::string resumed_dir_;   // the step that this attempt goes on from; "": none
  uint64_t done_ = 0;         // steps done, the skipped ones too
  uint64_t updates_ = 0;      // that the moments have seen
  double loss_ = 0;           // of the last one that was not skipped
  monitor::StepTimes times_;  // of the last one
};

}  // namespace contrail::worker
