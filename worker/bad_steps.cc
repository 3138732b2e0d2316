#include "worker/bad_steps.h"

#include <cmath>

#include "common/clock.h"
#include "common/error.h"
#include "common/host_name.h"
#include "common/log.h"
#include "common/strings.h"
#include "monitoring/bad_step.h"
#include "worker/agree.h"

namespace contrail::worker {
namespace {

constexpr size_t kNamed = 8;  // samples

}  // namespace

BadSteps::BadSteps(Comm& comm, std::shared_ptr<const data::Dataset> dataset, Options options)
    : comm_(comm),
      dataset_(std::move(dataset)),
      options_(std::move(options)),
      order_(options_.seed, dataset_->shard_sizes(), options_.shuffle_window, options_.order),
      skipped_(options_.skipped) {}

std::string BadSteps::Key(const data::BatchPosition& position, int64_t row) const {
  const data::Place place{position.epoch, position.first + static_cast<uint64_t>(row)};
  const std::string other = options_.replaced ? options_.replaced(place) : "";
  return other.empty() ? dataset_->Key(order_.At(place.epoch, place.position)) : other;
}

void BadSteps::Bad(uint64_t done, const char* what, double value, const TrainStep& step) {
  ++in_a_row_;
  ++skipped_;
  const data::BatchPosition position =
      data::PositionOfStep(done, dataset_->size(), options_.global_batch_size);
  monitor::BadStep bad{.step = done + 1,
                       .what = what,
                       .value = value,
                       .epoch = position.epoch,
                       .position = position.first,
                       .time = SystemClock().Now()};

  const int64_t share = step.local_batch_size();
  const std::vector<int64_t> rows = step.BrokenRows();
  const bool all = rows.size() == options_.global_batch_size;
  for (size_t i = 0; i < std::min(rows.size(), kNamed); ++i) {
    bad.samples.push_back(Key(position, rows[i]));
  }
  // Features travel, so every rank sees whose are broken; a gradient is only known where it is.
  const bool mine_broken = rows.empty() && std::isfinite(step.loss()) && step.OwnGradientBroken();
  const std::string mine = HostName() + (mine_broken ? "\nbroken" : "");
  const std::vector<std::string> ranks = comm_.AllGatherText(mine);
  std::vector<int> broken;
  for (int rank = 0; rank < comm_.size(); ++rank) {
    const auto of_rank = [&](int64_t row) { return row / share == rank; };
    if (ranks[rank].ends_with("\nbroken") || std::any_of(rows.begin(), rows.end(), of_rank)) {
      broken.push_back(rank);
    }
  }
  if (broken.size() == 1) {
    bad.rank = broken[0];
    bad.host = ranks[bad.rank].substr(0, ranks[bad.rank].find('\n'));
  }

  std::string why = "every feature of the batch is finite";
  if (all) {
    why = "no feature of the batch is finite: the weights have diverged";
  } else if (!rows.empty()) {
    why = std::to_string(rows.size()) + " of " + std::to_string(options_.global_batch_size) +
          " samples have broken features: " + Join(bad.samples, ", ") +
          (rows.size() > kNamed ? ", ..." : "");
  }
  if (bad.rank >= 0 && comm_.size() > 1) {
    why += "; only rank " + std::to_string(bad.rank) + " on " + bad.host + " is concerned";
  }
  bad.detail = std::string("the ") + what + " is " + ExactDouble(value) + ", batch of epoch " +
               std::to_string(position.epoch) + " from position " + std::to_string(position.first) +
               "; " + why;
  if (comm_.rank() == 0) {
    LogWarning("step " + std::to_string(bad.step) + " is skipped: " + bad.detail);
    try {
      monitor::AppendBadStep(options_.run, options_.attempt, bad);
    } catch (const Error& error) {
      LogWarning(std::string("a bad step could not be recorded: ") + error.what());
    }
  }
  if (in_a_row_ < options_.limit) return;
  AgreedError error(
      EnvironmentError("E-NONFINITE", "step " + std::to_string(bad.step),
                       std::to_string(in_a_row_) + " bad steps in a row (" +
                           std::to_string(bad.step + 1 - static_cast<uint64_t>(in_a_row_)) +
                           " to " + std::to_string(bad.step) + "); the last: " + bad.detail,
                       "go on from the last checkpoint; if the same samples fail again, lower "
                       "train.lr, set train.grad_clip_norm or take the samples out"),
      comm_.rank() == 0);
  if (bad.rank >= 0 && comm_.size() > 1) error.Blame(bad.rank);
  throw error;
}

}  // namespace contrail::worker
