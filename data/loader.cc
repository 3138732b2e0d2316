#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <thread>

#include "common/clock.h"
#include "common/error.h"
#include "common/rng.h"
#include "data/dataset.h"
#include "data/replace.h"
#include "data/tokenizer.h"
#include "data/transform.h"

namespace contrail::data {
namespace {

// The samples of a batch, and their places in the order where they have any.
struct Rows {
  uint64_t epoch = 0;
  std::vector<uint64_t> samples;
  std::vector<uint64_t> positions = {};
};

// A batch in the making: every sample has its own row, so that any thread may fill any of them.
class BatchMaker {
 public:
  // `known`: rows that cannot be made are replaced, as there where it was done before; nullptr:
  // they are errors.
  BatchMaker(const Dataset& dataset, const Tokenizer& tokenizer, const LoadOptions& options,
             Rows rows, const KnownReplacements* known = nullptr)
      : dataset_(dataset),
        tokenizer_(tokenizer),
        options_(options),
        crop_(ParseCrop(options.crop)),
        rows_(std::move(rows)),
        known_(known),
        tokens_(size()),
        replaced_(known != nullptr ? size() : 0) {
    CONTRAIL_ASSERT(options.resolution > 0);
    batch_.num_samples = static_cast<int64_t>(size());
    batch_.resolution = options.resolution;
    batch_.images.resize(size() * ImageBytes());
    batch_.labels.resize(size());
    batch_.keys.resize(size());
  }

  size_t size() const { return rows_.samples.size(); }

  // Thread safe for different i.
  void Make(size_t i) {
    const uint64_t sample = rows_.samples[i];
    if (known_ == nullptr) {
      Fill(i, sample);
    } else if (const Replaced* before = Before(i)) {
      Replace(i, *before);
    } else {
      try {
        Fill(i, sample);
      } catch (const SampleError& error) {
        Replace(i, {.place = PlaceOf(i),
                    .sample = sample,
                    .key = dataset_.Key(sample),
                    .unreadable = error.unreadable(),
                    .why = error.what()});
      }
    }
  }

  // Once, after all samples are made.
  Batch Finish(double seconds) {
    batch_.text_offsets.push_back(0);
    for (const std::vector<int32_t>& tokens : tokens_) {
      batch_.token_ids.insert(batch_.token_ids.end(), tokens.begin(), tokens.end());
      batch_.text_offsets.push_back(static_cast<int32_t>(batch_.token_ids.size()));
    }
    batch_.load_seconds = seconds;
    for (size_t i = 0; i < replaced_.size(); ++i) {
      const bool own = replaced_[i].tries == 0;
      batch_.consumed += ConsumedDigest(PlaceOf(i), own ? rows_.samples[i] : replaced_[i].with);
      if (!own) batch_.replaced.push_back(std::move(replaced_[i]));
    }
    return std::move(batch_);
  }

 private:
  Place PlaceOf(size_t i) const { return {rows_.epoch, rows_.positions[i]}; }

  // How the row's sample was replaced before; nullptr where it was not.
  const Replaced* Before(size_t i) const {
    if (known_->empty()) return nullptr;
    const auto found = known_->find(PlaceOf(i));
    const bool this_one = found != known_->end() && found->second.sample == rows_.samples[i];
    return this_one ? &found->second : nullptr;
  }

  // Row i from this sample. The draws are the sample's own, whosever place it takes.
  void Fill(size_t i, uint64_t sample) {
    if (dataset_.Make(sample, options_.resolution, batch_.images.data() + i * ImageBytes(),
                      options_.captions ? &tokens_[i] : nullptr)) {
      batch_.keys[i] = dataset_.Key(sample);
      batch_.labels[i] = -1;
      return;
    }
    const Dataset::Sample raw = dataset_.Read(sample);
    batch_.keys[i] = dataset_.Key(sample);
    batch_.labels[i] = raw.label;
    RandomStream draws(options_.seed, rows_.epoch, sample);
    try {
      const Image picture = DecodeImage(raw.image, batch_.keys[i]);
      const Image square = Transform(picture, crop_, static_cast<int>(options_.resolution),
                                     options_.crop_scale_min, draws);
      ToPlanar(square, batch_.images.data() + i * ImageBytes());
      if (options_.captions) tokens_[i] = tokenizer_.Encode(raw.caption);
    } catch (const Error& error) {
      // A broken promise of ours is nobody's sample's fault.
      if (error.kind() == ErrorKind::kUser) throw SampleError(error, /*unreadable=*/false);
      throw;
    }
  }

  // Row i from another sample: the one it was before, or else the next that can be used.
  void Replace(size_t i, Replaced replaced) {
    Substitutes substitutes(options_.seed, replaced.place, dataset_.size());
    const int before = std::max(1, replaced.tries);
    int unreadable = replaced.unreadable ? 1 : 0;
    for (int tries = 1;; ++tries) {
      const uint64_t sample = substitutes.Next();
      if (tries < before) continue;
      try {
        Fill(i, sample);
        replaced.with = sample;
        replaced.with_key = batch_.keys[i];
        replaced.tries = tries;
        replaced_[i] = std::move(replaced);
        return;
      } catch (const SampleError& error) {
        unreadable += error.unreadable() ? 1 : 0;
        if (unreadable >= kMostUnreadable) throw;  // the disk is ill, not the samples
        if (tries >= before + kMostSubstitutes) NothingUsable(replaced, tries, error);
      }
    }
  }

  [[noreturn]] static void NothingUsable(const Replaced& replaced, int tries, const Error& last) {
    throw Error(last.kind(), last.id(), "",
                std::string(last.what()).substr(last.id().size() + 2) + "; it is the last of " +
                    std::to_string(tries) + " drawn in place of " + replaced.key +
                    ", and none of them can be used",
                "run `contrail data check` on the shards");
  }

  size_t ImageBytes() const {
    return static_cast<size_t>(3 * options_.resolution * options_.resolution);
  }

  const Dataset& dataset_;
  const Tokenizer& tokenizer_;
  const LoadOptions& options_;
  const CropKind crop_;
  const Rows rows_;
  const KnownReplacements* const known_;
  std::vector<std::vector<int32_t>> tokens_;
  std::vector<Replaced> replaced_;  // by row; no tries: its own sample is there
  Batch batch_;
};

class ThreadedLoader : public BatchLoader {
 public:
  ThreadedLoader(std::shared_ptr<const Dataset> dataset, std::shared_ptr<const Tokenizer> tokenizer,
                 const Options& options)
      : dataset_(std::move(dataset)),
        tokenizer_(std::move(tokenizer)),
        options_(options),
        order_(options.seed, dataset_->shard_sizes(), options.shuffle_window, options.order),
        next_to_make_(options.first_step),
        next_to_deliver_(options.first_step) {
    ParseCrop(options.load.crop);  // a bad name is reported by Start, not by Next
    for (int i = 0; i < std::max(1, options.workers); ++i) {
      threads_.emplace_back([this] { Work(); });
    }
  }

  ~ThreadedLoader() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    work_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  Batch Next() override {
    std::unique_lock lock(mutex_);
    Slot* slot = nullptr;
    ready_.wait(lock, [&] {
      slot = slots_.empty() ? nullptr : slots_.front().get();
      return slot != nullptr && slot->step == next_to_deliver_ && slot->left == 0;
    });
    if (slot->error) std::rethrow_exception(slot->error);  // it stays in front: every call throws
    const std::unique_ptr<Slot> done = std::move(slots_.front());
    slots_.pop_front();
    ++next_to_deliver_;
    lock.unlock();
    work_.notify_all();
    return done->maker->Finish(done->seconds);
  }

 private:
  // Samples a thread takes at a time: enough to make locking free, few enough that all threads
  // work on the batch that is needed next.
  static constexpr size_t kChunk = 8;

  struct Slot {
    uint64_t step = 0;
    std::unique_ptr<BatchMaker> maker;
    size_t next = 0;  // first sample nobody has taken
    size_t left = 0;  // samples not yet made
    double seconds = 0;
    size_t error_at = ~size_t{0};  // the first sample that failed, whichever thread was faster
    std::exception_ptr error;
  };

  Rows RowsOf(uint64_t step) const {
    const BatchPosition batch = PositionOfStep(step, order_.size(), options_.global_batch_size);
    Rows rows{.epoch = batch.epoch, .samples = {}};
    for (uint64_t i = options_.slice_begin; i < options_.slice_end; ++i) {
      rows.samples.push_back(order_.At(batch.epoch, batch.first + i));
      rows.positions.push_back(batch.first + i);
    }
    return rows;
  }

  // The oldest batch with samples to make, or a new one where there is room. Under the lock.
  Slot* FindWork() {
    for (const auto& slot : slots_) {
      if (slot->next < slot->maker->size()) return slot.get();
    }
    if (slots_.size() >= static_cast<size_t>(std::max(1, options_.prefetch))) return nullptr;
    auto slot = std::make_unique<Slot>();
    slot->step = next_to_make_++;
    slot->maker = std::make_unique<BatchMaker>(*dataset_, *tokenizer_, options_.load,
                                               RowsOf(slot->step), options_.known.get());
    slot->left = slot->maker->size();
    slots_.push_back(std::move(slot));
    return slots_.back().get();
  }

  void Work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      Slot* slot = nullptr;
      work_.wait(lock, [&] { return stopping_ || (slot = FindWork()) != nullptr; });
      if (stopping_) return;
      const size_t begin = slot->next;
      const size_t end = std::min(begin + kChunk, slot->maker->size());
      slot->next = end;
      lock.unlock();
      const double start = SystemClock().Monotonic();
      std::exception_ptr error;
      size_t i = begin;
      try {
        for (; i < end; ++i) {
          slot->maker->Make(i);
          if (options_.made) options_.made();
        }
      } catch (...) {
        error = std::current_exception();
      }
      const double seconds = SystemClock().Monotonic() - start;
      lock.lock();
      slot->seconds += seconds;
      if (error && i < slot->error_at) {
        slot->error_at = i;
        slot->error = error;
      }
      slot->left -= end - begin;
      if (slot->left == 0) ready_.notify_all();
    }
  }

  const std::shared_ptr<const Dataset> dataset_;
  const std::shared_ptr<const Tokenizer> tokenizer_;
  const Options options_;
  const SampleOrder order_;
  std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable ready_;
  std::deque<std::unique_ptr<Slot>> slots_;  // consecutive steps
  uint64_t next_to_make_;
  uint64_t next_to_deliver_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace

Batch LoadBatch(const Dataset& dataset, const Tokenizer& tokenizer, const LoadOptions& options,
                uint64_t epoch, const std::vector<uint64_t>& samples) {
  const double start = SystemClock().Monotonic();
  BatchMaker maker(dataset, tokenizer, options, {.epoch = epoch, .samples = samples});
  for (size_t i = 0; i < maker.size(); ++i) maker.Make(i);
  return maker.Finish(SystemClock().Monotonic() - start);
}

std::unique_ptr<BatchLoader> BatchLoader::Start(std::shared_ptr<const Dataset> dataset,
                                                std::shared_ptr<const Tokenizer> tokenizer,
                                                const Options& options) {
  CONTRAIL_ASSERT(options.global_batch_size > 0);
  CONTRAIL_ASSERT(options.slice_begin < options.slice_end &&
                  options.slice_end <= options.global_batch_size);
  if (dataset->size() < options.global_batch_size) {
    throw UserError("E-DATA-SMALL", "train.global_batch_size",
                    "a batch of " + std::to_string(options.global_batch_size) +
                        " from a data set of " + std::to_string(dataset->size()) + " samples",
                    "use a smaller batch or more data");
  }
  return std::make_unique<ThreadedLoader>(std::move(dataset), std::move(tokenizer), options);
}

}  // namespace contrail::data
