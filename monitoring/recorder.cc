#include "monitoring/recorder.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>
#include <variant>

#include "common/clock.h"
#include "common/error.h"
#include "common/file_system.h"
#include "common/log.h"
#include "monitoring/metrics.h"
#include "monitoring/wire/codec.h"

namespace contrail::monitor {
namespace {

using std::chrono::steady_clock;
constexpr auto kBatchPeriod = std::chrono::milliseconds(250);

using Item = std::variant<StepRecord, CheckpointRecord>;

constexpr std::string_view kEvents = "events.out.tfevents.";

// TensorBoard reads the files of a directory in the order of their names: ours must not sort
// before one that is already there, even if this node's clock is behind. One file an attempt lies
// there, and one rank a job asks.
long NextStamp(const FileSystem& fs, const RunDir& run) {
  long stamp = static_cast<long>(SystemClock().Now());
  for (const std::string& name : fs.List(run.Telemetry())) {
    if (!name.starts_with(kEvents)) continue;
    long taken = 0;
    std::from_chars(name.data() + kEvents.size(), name.data() + name.size(), taken);
    stamp = std::max(stamp, taken + 1);
  }
  return stamp;
}

class FileRecorder : public Recorder {
 public:
  FileRecorder(const Options& options, FileSystem& fs) : options_(options), fs_(fs) {
    fs_.MakeDirs(Folder());
    OpenFile(/*continued=*/false);
    queue_.reserve(options_.queue);
    batch_.reserve(options_.queue);
    thread_ = std::thread([this] { Run(); });
  }

  ~FileRecorder() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }

  void Record(const StepRecord& record) override { Push(Own(record)); }
  void Record(const CheckpointRecord& record) override { Push(record); }
  uint64_t dropped() const override { return dropped_.load(std::memory_order_relaxed); }

  void Flush(double seconds) override {
    std::unique_lock lock(mutex_);
    const uint64_t mine = ++flushes_asked_;
    wake_.notify_one();
    flushed_.wait_for(lock, std::chrono::duration<double>(seconds),
                      [&] { return flushes_done_ >= mine; });
  }

 private:
  bool OfJob() const { return options_.node == 0; }

  // The part of a record that this file is for. Before it waits: hundreds of ranks' times would
  // fill the queue's memory.
  StepRecord Own(const StepRecord& record) const {
    if (options_.ranks.empty()) return record;
    StepRow row;
    if (OfJob()) {
      row = Summarize(record);
      if (!record.ranks.empty()) row.record.over_ranks = row;
    } else {
      row.record.step = record.step;
      row.record.wall_time = record.wall_time;
    }
    for (const int rank : options_.ranks) {
      if (record.ranks.empty()) break;  // a last step, whose times never came
      row.record.ranks.push_back(record.ranks.at(static_cast<size_t>(rank)));
    }
    return std::move(row.record);
  }

  template <typename T>
  void Push(T record) {
    bool half_full = false;
    {
      const std::lock_guard lock(mutex_);  // held elsewhere only to swap two vectors
      if (queue_.size() >= options_.queue) {
        dropped_.fetch_add(1, std::memory_order_relaxed);
        return;
      }
      queue_.emplace_back(std::move(record));
      half_full = queue_.size() == (options_.queue + 1) / 2;
    }
    if (half_full) wake_.notify_one();
  }

  void Run() {
    bool last = false;
    while (!last) {
      uint64_t flushes = 0;
      {
        std::unique_lock lock(mutex_);
        wake_.wait_for(lock, kBatchPeriod, [this] {
          return stopping_ || flushes_asked_ > flushes_done_ ||
                 queue_.size() >= (options_.queue + 1) / 2;
        });
        last = stopping_;
        flushes = flushes_asked_;
        std::swap(queue_, batch_);
      }
      WriteBatch(last);
      batch_.clear();
      if (flushes > flushes_done_) FinishFlush(flushes);
    }
  }

  void FinishFlush(uint64_t flushes) {
    try {
      if (file_) file_->Sync();
    } catch (const Error& error) {
      LogWarning(std::string("telemetry may be lost, training goes on: ") + error.what());
      file_.reset();  // its bytes are in doubt: the next batch opens a new one
    }
    {
      const std::lock_guard lock(mutex_);
      flushes_done_ = flushes;
    }
    flushed_.notify_all();
  }

  void WriteBatch(bool last) {
    bytes_.clear();
    for (const Item& item : batch_) {
      std::visit([this](const auto& record) { Append(EventOf(record)); }, item);
    }
    if (last || reported_drops_ != dropped()) {
      TelemetryEvent event;
      event.wall_time = SystemClock().Now();
      event.step = last_step_;
      event.health = Health{.dropped = dropped(), .closed = last};
      Append(event);
    }
    if (bytes_.empty()) return;
    try {
      if (!file_) Reopen();
      if (file_) {
        file_->PWrite(bytes_.data(), bytes_.size(), offset_);
        offset_ += bytes_.size();
        reported_drops_ = dropped();
        if (last) CloseFile();
        return;
      }
    } catch (const Error& error) {
      // The file's bytes are in doubt; the next one goes on. Training does not stop for telemetry.
      if (!complained_) {
        LogWarning(std::string("telemetry is being lost, training goes on: ") + error.what());
      }
      complained_ = true;
      file_.reset();
      next_reopen_ = steady_clock::now() + reopen_period_;
    }
    dropped_.fetch_add(batch_.size(), std::memory_order_relaxed);
  }

  void Reopen() {
    if (steady_clock::now() < next_reopen_) return;
    next_reopen_ = steady_clock::now() + reopen_period_;
    std::string pending = std::move(bytes_);
    OpenFile(/*continued=*/true);
    bytes_ = std::move(pending);
    complained_ = false;
  }

  std::string Folder() const {
    return OfJob() ? options_.run.Telemetry() : options_.run.Attempt(options_.attempt);
  }

  std::unique_ptr<WritableFile> NewFile() {
    const std::string node = ".node_" + std::to_string(options_.node);
    if (OfJob()) {
      return fs_.Open(Folder() + "/" + std::string(kEvents) +
                          std::to_string(NextStamp(fs_, options_.run)) + ".attempt_" +
                          std::to_string(options_.attempt) + node,
                      FileSystem::Mode::kExclusive);
    }
    for (auto stamp = static_cast<long>(SystemClock().Now());; ++stamp) {
      try {
        return fs_.Open(Folder() + "/rank_times." + std::to_string(stamp) + node,
                        FileSystem::Mode::kExclusive);
      } catch (const IoError& error) {
        if (error.number() != EEXIST) throw;  // an earlier file of the same second
      }
    }
  }

  void OpenFile(bool continued) {
    file_ = NewFile();
    offset_ = 0;
    bytes_.clear();
    AppendOpening(continued);
    file_->PWrite(bytes_.data(), bytes_.size(), 0);
    offset_ = bytes_.size();
    bytes_.clear();
    // Hundreds of nodes need not have one folder synced for details.
    if (OfJob()) fs_.SyncDir(Folder());
  }

  void AppendOpening(bool continued) {
    TelemetryEvent version;
    version.wall_time = SystemClock().Now();
    version.file_version = "brain.Event:2";
    Append(version);
    // Before the points and before the text, so that neither is purged by it.
    if (!continued && (options_.attempt > 1 || options_.resumed_step > 0)) {
      TelemetryEvent start;
      start.wall_time = version.wall_time;
      start.step = options_.resumed_step + 1;
      start.start = true;
      Append(start);
    }
    TelemetryEvent header;
    header.wall_time = version.wall_time;
    header.step = options_.resumed_step;
    header.header = FileHeader{.attempt = options_.attempt,
                               .node = options_.node,
                               .resumed_step = options_.resumed_step,
                               .total_steps = options_.total_steps,
                               .samples_per_epoch = options_.samples_per_epoch,
                               .config_toml = OfJob() ? options_.config_toml : "",
                               .continued = continued,
                               .ranks = options_.ranks};
    if (!continued && OfJob()) {
      header.text_tag = "config";
      header.text = "```toml\n" + options_.config_toml + "\n```";
    }
    Append(header);
  }

  TelemetryEvent EventOf(const StepRecord& record) {
    TelemetryEvent event;
    event.wall_time = record.wall_time;
    event.step = last_step_ = record.step;
    event.step_record = record;
    if (!OfJob()) return event;
    const StepRow row = Summarize(record);
    for (const Metric& metric : Metrics()) {
      if (!metric.tensorboard || metric.of_step == nullptr) continue;
      const double value = metric.of_step(row, metric.phase);
      if (metric.nan_is_missing && value != value) continue;
      event.scalars.push_back({metric.name, static_cast<float>(value)});
    }
    return event;
  }

  TelemetryEvent EventOf(const CheckpointRecord& record) {
    TelemetryEvent event;
    event.wall_time = record.wall_time;
    event.step = record.step;
    event.checkpoint = record;
    if (!OfJob()) return event;
    for (const Metric& metric : Metrics()) {
      if (!metric.tensorboard || metric.of_checkpoint == nullptr) continue;
      event.scalars.push_back({metric.name, static_cast<float>(metric.of_checkpoint(record))});
    }
    return event;
  }

  void Append(const TelemetryEvent& event) { AppendFrame(bytes_, EncodeEvent(event)); }

  void CloseFile() {
    file_->Sync();
    file_->Close();
    file_.reset();
  }

  const Options options_;
  FileSystem& fs_;
  const steady_clock::duration reopen_period_ = std::chrono::duration_cast<steady_clock::duration>(
      std::chrono::duration<double>(options_.reopen_seconds));
  std::atomic<uint64_t> dropped_{0};

  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Item> queue_;  // guarded by mutex_
  bool stopping_ = false;    // guarded by mutex_
  std::condition_variable flushed_;
  uint64_t flushes_asked_ = 0;  // guarded by mutex_
  uint64_t flushes_done_ = 0;   // guarded by mutex_, written by the background thread

  // The background thread's own.
  std::vector<Item> batch_;
  std::unique_ptr<WritableFile> file_;
  uint64_t offset_ = 0;
  std::string bytes_;
  uint64_t last_step_ = 0;
  uint64_t reported_drops_ = 0;
  bool complained_ = false;
  steady_clock::time_point next_reopen_{};
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Recorder> Recorder::Open(const Options& options, FileSystem& fs) {
  return std::make_unique<FileRecorder>(options, fs);
}

}  // namespace contrail::monitor
