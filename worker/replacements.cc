#include "worker/replacements.h"

#include <cstdio>

#include "common/clock.h"
#include "common/error.h"
#include "common/log.h"
#include "common/strings.h"
#include "worker/resume.h"

namespace contrail::worker {
namespace {

constexpr uint64_t kAlwaysAllowed = 10;  // chance must not stop a run that is young
constexpr size_t kNamed = 5;
constexpr double kTellSeconds = 60;

std::string Percent(uint64_t part, uint64_t whole) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2g %%",
                100 * static_cast<double>(part) / static_cast<double>(whole));
  return text;
}

data::KnownReplacements ToKnown(const std::string& lines) {
  data::KnownReplacements known;
  for (monitor::ReplacedSample& line : monitor::ParseReplaced(lines)) {
    const data::Place place{line.epoch, line.position};
    known[place] = {.place = place,
                    .sample = line.sample,
                    .key = std::move(line.key),
                    .with = line.with,
                    .with_key = std::move(line.with_key),
                    .tries = line.tries,
                    .unreadable = line.unreadable,
                    .why = std::move(line.why)};
  }
  return known;
}

}  // namespace

Replacements::Replacements(Comm& comm, Options options)
    : comm_(comm),
      options_(std::move(options)),
      replaced_(options_.replaced),
      consumed_(options_.consumed) {
  if (options_.limit <= 0) return;
  std::string lines;
  ReadTogether(comm_, [&] {
    if (comm_.rank() != 0) return;
    lines.clear();
    for (const monitor::ReplacedSample& line : monitor::ReadReplaced(options_.writer.run)) {
      if (line.step <= options_.resumed_step || line.data != options_.data) continue;
      lines += monitor::ReplacedLine(line) + "\n";
    }
  });
  known_ = std::make_shared<data::KnownReplacements>(ToKnown(comm_.BroadcastText(lines, 0)));
}

void Replacements::Count(uint64_t done, const Verdict& verdict,
                         const std::vector<data::Replaced>& mine) {
  now_.clear();
  if (verdict.replaced > 0) {
    const std::vector<monitor::ReplacedSample> samples = Gather(done + 1, mine);
    Together(comm_, [&] {
      if (comm_.rank() == 0) Record(samples);
    });
    const uint64_t total = replaced_ + samples.size();
    const uint64_t seen = (done + 1) * options_.global_batch_size;
    Tell(samples, total, seen);
    if (total > kAlwaysAllowed &&
        static_cast<double>(total) > options_.limit * static_cast<double>(seen)) {
      throw TooManyReplaced(
          UserError("E-DATA-REPLACED", options_.writer.run.Replaced(),
                    std::to_string(total) + " of " + std::to_string(seen) +
                        " samples could not be used, which is " + Percent(total, seen) +
                        " and more than data.max_replaced = " + ExactDouble(options_.limit) +
                        " allows: " + Join(named_, ", ") + (total > named_.size() ? ", ..." : ""),
                    "repair or remove them (`contrail data check` lists all), or resume with a "
                    "larger --set data.max_replaced"),
          comm_.rank() == 0);
    }
    replaced_ = total;
  }
  consumed_ += verdict.consumed;
}

std::vector<monitor::ReplacedSample> Replacements::Gather(uint64_t step,
                                                          const std::vector<data::Replaced>& mine) {
  std::string lines;
  for (const data::Replaced& one : mine) {
    lines += monitor::ReplacedLine({.step = step,
                                    .epoch = one.place.epoch,
                                    .position = one.place.position,
                                    .sample = one.sample,
                                    .key = one.key,
                                    .with = one.with,
                                    .with_key = one.with_key,
                                    .tries = one.tries,
                                    .unreadable = one.unreadable,
                                    .why = one.why,
                                    .data = options_.data,
                                    .attempt = options_.writer.attempt,
                                    .time = SystemClock().Now()}) +
             "\n";
  }
  std::vector<monitor::ReplacedSample> samples =
      monitor::ParseReplaced(Join(comm_.AllGatherText(lines), ""));
  for (const monitor::ReplacedSample& sample : samples) {
    now_[{sample.epoch, sample.position}] = sample.with_key;
    if (named_.size() < kNamed) named_.push_back(sample.key);
  }
  return samples;
}

// Those that the file does not have yet.
void Replacements::Record(const std::vector<monitor::ReplacedSample>& samples) {
  std::vector<monitor::ReplacedSample> unknown;
  for (const monitor::ReplacedSample& sample : samples) {
    const auto before = known_->find({sample.epoch, sample.position});
    const bool there = before != known_->end() && before->second.sample == sample.sample &&
                       before->second.with == sample.with;
    if (!there) unknown.push_back(sample);
  }
  if (unknown.empty()) return;
  CheckFence(options_.writer, PosixFileSystem());
  monitor::AppendReplaced(options_.writer.run, unknown);
}

void Replacements::Tell(const std::vector<monitor::ReplacedSample>& samples, uint64_t total,
                        uint64_t seen) {
  if (comm_.rank() != 0) return;
  const double now = SystemClock().Monotonic();
  if (told_at_ > 0 && now - told_at_ < kTellSeconds) return;
  const monitor::ReplacedSample& newest = samples.back();
  std::string line = newest.key + " (epoch " + std::to_string(newest.epoch) + ", position " +
                     std::to_string(newest.position) + ") cannot be used, and " + newest.with_key +
                     " takes its place: " + newest.why;
  if (total > 1) {
    line += "; " + std::to_string(total) + " samples are replaced so far, " + Percent(total, seen) +
            " of those seen";
    if (told_at_ > 0) line += ", " + std::to_string(total - told_) + " since the last such line";
  }
  LogWarning(line);
  told_at_ = now;
  told_ = total;
}

std::string Replacements::KeyAt(data::Place place) const {
  const auto found = now_.find(place);
  return found == now_.end() ? "" : found->second;
}

}  // namespace contrail::worker
