#include "launcher/data_audit.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include "checkpoint/load.h"
#include "checkpoint/newest.h"
#include "common/error.h"
#include "data/order.h"
#include "data/replace.h"
#include "launcher/commands.h"
#include "monitoring/store/run_store.h"
#include "monitoring/trained_on.h"
#include "monitoring/viewer/status.h"

namespace contrail::launcher {
namespace {

using monitor::ReplacedSample;

// The steps after `from`, up to the next one's, as this attempt trained them.
struct Segment {
  uint64_t from = 0;
  int attempt = 0;
  monitor::TrainedOn on;
};

// What the run wrote down after a step.
struct Sum {
  uint64_t consumed = 0;
  uint64_t replaced = 0;
};

std::string Steps(uint64_t first, uint64_t last) {
  return first == last ? "step " + std::to_string(first)
                       : "steps " + std::to_string(first) + " to " + std::to_string(last);
}

std::vector<int> Attempts(const FileSystem& fs, const monitor::RunDir& run) {
  constexpr std::string_view kPrefix = "attempt_";
  std::vector<int> attempts;
  for (const std::string& name : fs.List(run.root + "/attempts")) {
    if (name.starts_with(kPrefix)) attempts.push_back(std::atoi(name.c_str() + kPrefix.size()));
  }
  std::sort(attempts.begin(), attempts.end());
  return attempts;
}

// Which attempt trained which steps of what attempt `last` has made of the run.
std::vector<Segment> Lineage(const FileSystem& fs, const monitor::RunDir& run, int last) {
  std::vector<Segment> segments;
  for (const int attempt : Attempts(fs, run)) {
    const auto on = monitor::ReadTrainedOn(run, attempt, fs);
    if (!on || attempt > last) continue;
    while (!segments.empty() && segments.back().from >= on->resumed_step) segments.pop_back();
    segments.push_back({on->resumed_step, attempt, *on});
  }
  return segments;
}

const Segment* SegmentOf(const std::vector<Segment>& segments, uint64_t step) {
  const Segment* found = nullptr;
  for (const Segment& segment : segments) {
    if (segment.from < step) found = &segment;
  }
  return found;
}

// A data set's order, and what was replaced in it.
struct Order {
  Order(const monitor::TrainedOn& on, const std::vector<monitor::ShardLine>& shards_of)
      : seed(on.seed),
        shards(shards_of),
        order(on.seed, Sizes(shards_of), on.shuffle_window, data::ParseOrder(on.order)) {}

  static std::vector<uint64_t> Sizes(const std::vector<monitor::ShardLine>& shards) {
    std::vector<uint64_t> sizes;
    for (const monitor::ShardLine& shard : shards) sizes.push_back(shard.samples);
    return sizes;
  }

  // "/data/a.tar, sample 17 of it": the shard itself is not opened.
  std::string Name(uint64_t sample) const {
    for (const monitor::ShardLine& shard : shards) {
      if (sample < shard.samples) {
        return shard.name + ", sample " + std::to_string(sample) + " of it (from 0)";
      }
      sample -= shard.samples;
    }
    return "sample " + std::to_string(sample);
  }

  uint64_t seed;
  std::vector<monitor::ShardLine> shards;
  data::SampleOrder order;
};

class Walk {
 public:
  Walk(const FileSystem& fs, const monitor::RunDir& run) : fs_(fs), run_(run) {
    for (const ReplacedSample& one : monitor::ReadReplaced(run, fs)) {
      replaced_[one.data][{one.epoch, one.position}] = one;
    }
  }

  Audit Run() {
    const uint64_t last = FindSums();
    if (last == 0) {
      Problem("no step is committed or recorded");
      return std::move(audit_);
    }
    const uint64_t from = begin_;
    if (from > 0) {
      Problem(Steps(1, from) + ": trained by a program that kept no record of samples");
    }
    if (from >= last) return std::move(audit_);
    audit_.first_step = from + 1;
    audit_.last_step = last;
    compared_ = from;
    std::vector<int> attempts;
    for (uint64_t step = from + 1; step <= last; ++step) {
      const Segment* segment = SegmentOf(segments_, step);
      if (segment == nullptr || !Take(*segment, step)) blind_ = true;
      if (segment != nullptr && (attempts.empty() || attempts.back() != segment->attempt)) {
        attempts.push_back(segment->attempt);
      }
      if (const auto sum = sums_.find(step); sum != sums_.end()) Compare(step, sum->second);
    }
    EndEpoch();
    if (compared_ < last) Problem(Steps(compared_ + 1, last) + ": no record has their samples");
    audit_.attempts = static_cast<int>(attempts.size());
    return std::move(audit_);
  }

 private:
  void Problem(std::string line) { audit_.problems.push_back(std::move(line)); }

  // Fills segments_ and sums_; gives the last step to judge.
  uint64_t FindSums() {
    const std::vector<ckpt::StepEntry> steps = ckpt::ResumeOrder(fs_, run_.Checkpoints());
    uint64_t last = 0;
    for (const ckpt::StepEntry& entry : steps) {
      if (!entry.damage.empty()) continue;
      ckpt::RunState state;
      try {
        state = ckpt::StepReader::Open(fs_, entry.dir)->state();
      } catch (const Error& error) {
        if (!ckpt::IsDamage(error)) throw;
        continue;  // `contrail checkpoint verify` says so
      }
      if (last == 0) {
        last = state.step;
        begin_ = state.consumed_from;
        segments_ = Lineage(fs_, run_, static_cast<int>(state.attempt));
      }
      // Of another branch, or without a sum.
      const Segment* segment = SegmentOf(segments_, state.step);
      if (segment == nullptr || segment->attempt != static_cast<int>(state.attempt)) continue;
      if (state.step > last || state.step <= state.consumed_from) continue;
      sums_[state.step] = {state.consumed, state.replaced};
      ++audit_.checkpoints;
    }
    const bool committed = last > 0;
    if (!committed) {
      segments_ = Lineage(fs_, run_, std::numeric_limits<int>::max());
      if (!segments_.empty()) begin_ = segments_.front().on.consumed_from;
    }
    const monitor::RunStore store(run_, fs_);
    for (const auto& [key, attempt] : store.attempts()) {
      for (const monitor::StepRow& row : attempt.rows) {
        const uint64_t step = row.record.step;
        const Segment* segment = SegmentOf(segments_, step);
        if (row.record.consumed == 0 || segment == nullptr || segment->attempt != key.first ||
            (committed && step > last)) {
          continue;
        }
        last = std::max(last, step);
        sums_.insert({step, {row.record.consumed, row.record.replaced}});
        ++audit_.records;
      }
    }
    return last;
  }

  // The order of the segment's data set; nullptr where its shards are not known.
  Order* OrderOf(const Segment& segment) {
    const auto key = std::pair(segment.attempt, segment.on.data);
    const auto found = orders_.find(key);
    if (found != orders_.end()) return found->second.get();
    const auto shards = monitor::ReadShards(run_, segment.on.data, fs_);
    std::unique_ptr<Order> order;
    if (shards) order = std::make_unique<Order>(segment.on, *shards);
    if (order && data::StepsPerEpoch(order->order.size(), segment.on.global_batch_size) == 0) {
      order.reset();
    }
    if (!order) {
      Problem("attempt " + std::to_string(segment.attempt) + ": " + run_.Shards(segment.on.data) +
              " is missing or damaged, so its order cannot be told");
    }
    return (orders_[key] = std::move(order)).get();
  }

  // The places of one step. False where they cannot be told.
  bool Take(const Segment& segment, uint64_t step) {
    if (segment.on.global_batch_size == 0) return false;
    Order* order = OrderOf(segment);
    if (order == nullptr) return false;
    const uint64_t batch = segment.on.global_batch_size;
    const data::BatchPosition at = data::PositionOfStep(step - 1, order->order.size(), batch);
    BeginEpoch(segment.on.data, at.epoch, order->order.size());
    for (uint64_t position = at.first; position < at.first + batch; ++position) {
      const uint64_t own = order->order.At(at.epoch, position);
      if (seen_[own] && doubled_++ == 0) {
        first_doubled_ = order->Name(own) + ", again in step " + std::to_string(step);
      }
      seen_[own] = true;
      expected_.consumed += data::ConsumedDigest({at.epoch, position},
                                                 Taken(segment, *order, {at.epoch, position}, own));
    }
    audit_.epochs.back().places += batch;
    audit_.samples += batch;
    return true;
  }

  // The sample that was trained on in this place.
  uint64_t Taken(const Segment& segment, const Order& order, data::Place place, uint64_t own) {
    const auto of_data = replaced_.find(segment.on.data);
    if (of_data == replaced_.end()) return own;
    const auto found = of_data->second.find(place);
    if (found == of_data->second.end() || found->second.sample != own) return own;
    const ReplacedSample& line = found->second;
    data::Substitutes substitutes(order.seed, place, order.order.size());
    uint64_t drawn = own;
    for (int i = 0; i < std::min(line.tries, 1000); ++i) drawn = substitutes.Next();
    if (drawn != line.with) {
      Problem("epoch " + std::to_string(place.epoch) + ", position " +
              std::to_string(place.position) + ": replaced.jsonl says " + line.with_key +
              ", which the rule does not draw");
    }
    audit_.replaced.push_back(line);
    ++audit_.epochs.back().replaced;
    ++expected_.replaced;
    return line.with;
  }

  void BeginEpoch(const std::string& data, uint64_t epoch, uint64_t samples) {
    if (!audit_.epochs.empty() && audit_.epochs.back().data == data &&
        audit_.epochs.back().epoch == epoch) {
      return;
    }
    EndEpoch();
    audit_.epochs.push_back({.data = data, .epoch = epoch, .samples = samples});
    seen_.assign(samples, false);
  }

  void EndEpoch() {
    if (doubled_ > 0) {
      Problem("epoch " + std::to_string(audit_.epochs.back().epoch) + ": " +
              std::to_string(doubled_) + " samples were taken twice, the first: " + first_doubled_);
    }
    doubled_ = 0;
  }

  void Compare(uint64_t step, const Sum& sum) {
    const Segment* segment = SegmentOf(segments_, step);
    const std::string where =
        Steps(compared_ + 1, step) +
        (segment != nullptr ? " (attempt " + std::to_string(segment->attempt) + ")" : "");
    if (blind_) {
      Problem(where + ": which samples they took cannot be told");
    } else if (sum.replaced != expected_.replaced) {
      Problem(where + ": " +
              std::to_string(static_cast<int64_t>(sum.replaced - at_compared_.replaced)) +
              " samples were replaced, and replaced.jsonl names " +
              std::to_string(expected_.replaced - at_compared_.replaced));
    } else if (sum.consumed != expected_.consumed) {
      Problem(where +
              ": not the samples that the order and replaced.jsonl say; one is missing, "
              "doubled or another");
    }
    blind_ = false;
    expected_ = at_compared_ = sum;  // what follows is judged on its own
    compared_ = step;
  }

  const FileSystem& fs_;
  const monitor::RunDir run_;
  std::map<std::string, std::map<data::Place, ReplacedSample>> replaced_;  // by data set
  std::vector<Segment> segments_;
  std::map<uint64_t, Sum> sums_;  // by step
  std::map<std::pair<int, std::string>, std::unique_ptr<Order>> orders_;
  uint64_t begin_ = 0;  // sums count from the step after
  Sum expected_, at_compared_;
  uint64_t compared_ = 0;  // the last step whose sum was compared
  bool blind_ = false;     // a step since then is not known
  std::vector<bool> seen_;
  uint64_t doubled_ = 0;
  std::string first_doubled_;
  Audit audit_;
};

}  // namespace

Audit AuditRun(const FileSystem& fs, const monitor::RunDir& run) {
  monitor::CheckRunDir(fs, run.root);
  return Walk(fs, run).Run();
}

std::string AuditText(const Audit& audit) {
  std::string text;
  const auto line = [&](const std::string& what, const std::string& value) {
    text += what + std::string(16 - std::min<size_t>(what.size(), 15), ' ') + value + "\n";
  };
  if (audit.last_step > 0) {
    line("judged", Steps(audit.first_step, audit.last_step) + " of " +
                       std::to_string(audit.attempts) +
                       (audit.attempts == 1 ? " attempt" : " attempts") + ", by " +
                       std::to_string(audit.checkpoints) + " checkpoints and " +
                       std::to_string(audit.records) + " telemetry records");
    line("samples", std::to_string(audit.samples));
  }
  for (const AuditedEpoch& epoch : audit.epochs) {
    line("epoch " + std::to_string(epoch.epoch), std::to_string(epoch.places) + " of " +
                                                     std::to_string(epoch.samples) + " places, " +
                                                     std::to_string(epoch.replaced) + " replaced");
  }
  line("replaced", std::to_string(audit.replaced.size()));
  for (const ReplacedSample& one : audit.replaced) {
    text += "  epoch " + std::to_string(one.epoch) + ", position " + std::to_string(one.position) +
            ": " + one.key + " by " + one.with_key + "; " + one.why + "\n";
  }
  for (const std::string& problem : audit.problems) text += "NOT PROVEN: " + problem + "\n";
  if (audit.problems.empty()) text += "every place was taken once\n";
  return text;
}

std::string AuditJson(const Audit& audit) {
  using Json = nlohmann::ordered_json;
  Json epochs = Json::array();
  for (const AuditedEpoch& epoch : audit.epochs) {
    epochs.push_back({{"data", epoch.data},
                      {"epoch", epoch.epoch},
                      {"samples", epoch.samples},
                      {"places", epoch.places},
                      {"replaced", epoch.replaced}});
  }
  Json replaced = Json::array();
  for (const ReplacedSample& one : audit.replaced) {
    replaced.push_back(Json::parse(monitor::ReplacedLine(one), nullptr, false));
  }
  const Json json = {{"proven", audit.problems.empty()}, {"first_step", audit.first_step},
                     {"last_step", audit.last_step},     {"attempts", audit.attempts},
                     {"samples", audit.samples},         {"checkpoints", audit.checkpoints},
                     {"records", audit.records},         {"epochs", std::move(epochs)},
                     {"replaced", std::move(replaced)},  {"problems", audit.problems}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

int RunDataAudit(const ParsedArgs& args) {
  const Audit audit = AuditRun(PosixFileSystem(), {args.positional.at(0)});
  const std::string text = args.Has("--json") ? AuditJson(audit) : AuditText(audit);
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    throw EnvironmentError("E-IO", "stdout", "could not write the output");
  }
  return audit.problems.empty() ? kExitDone : kExitUser;
}

}  // namespace contrail::launcher
