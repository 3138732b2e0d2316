#pragma once
// A set of WebDataset tar shards with random access by sample index.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/batch.h"
#include "data/order.h"
#include "data/replace.h"

namespace contrail::data {

class Tokenizer;

// What a data set must know of a shard to number its samples.
struct ShardHead {
  std::string path;
  uint64_t bytes = 0;
  uint64_t samples = 0;
};
using OnShard = std::function<void(const ShardHead&)>;  // called after each shard, in order

// Opens the shard once: sidecar `<shard>.index` where present and current, else a scan of the
// headers. A shard that is cut off has its whole samples and the torn one; a warning says so.
// Throws UserError: E-DATA-MISSING, E-DATA-TAR (no tar, or damaged: file and byte offset).
ShardHead ReadShardHead(const std::string& path);

class Dataset {
 public:
  // Expands braces (a directory stands for the .tar files in it) and reads every shard's head.
  // Throws as ReadShardHead does, and UserError E-DATA-EMPTY.
  static std::shared_ptr<const Dataset> Open(const std::vector<std::string>& patterns,
                                             const OnShard& on_shard = {});
  // From heads that were read before, perhaps by another process: opens nothing. A shard is opened
  // when a sample of it is first read; then one of another size or number of samples throws
  // UserError E-DATA-INDEX. May be empty.
  static std::shared_ptr<const Dataset> OpenKnown(const std::vector<ShardHead>& heads);
  virtual ~Dataset() = default;

  virtual uint64_t size() const = 0;
  virtual std::vector<uint64_t> shard_sizes() const = 0;
  virtual std::vector<ShardHead> shards() const { return {}; }  // empty where they are none
  virtual std::string Key(uint64_t sample) const = 0;           // "pairs-000.tar/000123"
  // Fingerprint of names, sizes and sample counts: ranks that disagree must not train together.
  virtual std::string Fingerprint() const = 0;

  struct Sample {
    std::string image;    // encoded bytes (.jpg .jpeg .png)
    std::string caption;  // .txt; empty where the shard has none
    int64_t label = -1;   // .cls
  };
  // Thread safe. Throws SampleError where this one sample cannot be had: it lies beyond the end of
  // its shard (E-DATA-TAR), its .cls is no number (E-DATA-LABEL), or the disk did not give it up,
  // after several tries (E-IO). Other errors are the data set's.
  virtual Sample Read(uint64_t sample) const = 0;
};

// Throws UserError E-DATA-EMPTY where no shard of the data set has a sample.
void CheckNotEmpty(const Dataset& dataset, const std::vector<std::string>& patterns);

// The shards that patterns name: braces expanded, a directory stands for the .tar files in it.
std::vector<std::string> ShardPaths(const std::vector<std::string>& patterns);

// How a batch is made from samples.
struct LoadOptions {
  int64_t resolution = 224;
  std::string crop = "center";  // "random-square" | "random-resized" | "center"
  double crop_scale_min = 0.9;
  uint64_t seed = 0;     // augmentation draws are keyed by (seed, epoch, sample)
  bool captions = true;  // tokenise .txt
};

// Decodes, crops, resizes, tokenises the given samples. One that cannot be used throws SampleError;
// an undecodable image E-DATA-IMAGE naming shard, key and cause.
Batch LoadBatch(const Dataset& dataset, const Tokenizer& tokenizer, const LoadOptions& options,
                uint64_t epoch, const std::vector<uint64_t>& samples);

// Loads this rank's slice of consecutive global batches ahead of time on background threads.
class BatchLoader {
 public:
  struct Options {
    LoadOptions load;
    uint64_t seed = 0;
    uint64_t shuffle_window = 65536;
    uint64_t global_batch_size = 0;
    uint64_t slice_begin = 0;  // this rank's positions inside the global batch
    uint64_t slice_end = 0;
    uint64_t first_step = 0;  // data step: index of the first global batch to deliver
    int workers = 1;
    int prefetch = 2;  // batches kept ready
    // Where given, a sample that cannot be used is replaced, as in `known` where it was before;
    // else it is an error.
    std::shared_ptr<const KnownReplacements> known = {};
    // Called by the loader's threads after each sample.
    std::function<void()> made = {};
  };
  // Throws UserError E-DATA-SMALL (fewer samples than a global batch), E-DATA-CROP.
  static std::unique_ptr<BatchLoader> Start(std::shared_ptr<const Dataset> dataset,
                                            std::shared_ptr<const Tokenizer> tokenizer,
                                            const Options& options);
  virtual ~BatchLoader() = default;  // stops the threads
  // The next batch, in step order, always. Rethrows the error of the thread that made it.
  virtual Batch Next() = 0;
};

}  // namespace contrail::data
