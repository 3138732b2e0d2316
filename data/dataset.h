#pragma once
// A set of WebDataset tar shards with random access by sample index.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/batch.h"
#include "data/caption.h"
#include "data/left_out.h"
#include "data/order.h"
#include "data/replace.h"
#include "data/shard_index.h"

namespace contrail::data {

class Tokenizer;

// What a data set must know of a shard to number its samples, and what is told of it at a start.
struct ShardHead {
  std::string path;
  uint64_t bytes = 0;
  uint64_t samples = 0;
  uint64_t captions = 0;  // samples with a caption in a .txt
  LeftOut left_out = {};
};
ShardHead HeadOf(const std::string& path, uint64_t bytes, const IndexHead& index);
using OnShard = std::function<void(const ShardHead&)>;  // called after each shard, in order

// Opens the shard once: sidecar `<shard>.index` where present and current, else a scan of the
// headers, of whose progress `passed` is told. A shard that is cut off has its whole samples and
// the torn one; a warning says so. With an index_dir, the sidecar is looked for there first.
// Throws UserError: E-DATA-MISSING, E-DATA-TAR (no tar, or damaged: file and byte offset).
ShardHead ReadShardHead(const std::string& path, const std::string& index_dir = "",
                        const OnBytes& passed = {});

class Dataset {
 public:
  // Expands braces (a directory stands for the .tar files in it) and reads every shard's head, from
  // the folder's list (data/shard_list.h) where it stands there.
  // Throws as ReadShardHead does, and UserError E-DATA-EMPTY.
  static std::shared_ptr<const Dataset> Open(const std::vector<std::string>& patterns,
                                             const OnShard& on_shard = {},
                                             const CaptionKey& caption_key = {},
                                             const std::string& index_dir = "");
  // From heads that were read before, perhaps by another process: opens nothing. A shard is opened
  // when a sample of it is first read; then one of another size or number of samples throws
  // UserError E-DATA-INDEX. May be empty.
  static std::shared_ptr<const Dataset> OpenKnown(const std::vector<ShardHead>& heads,
                                                  const CaptionKey& caption_key = {},
                                                  const std::string& index_dir = "");
  virtual ~Dataset() = default;

  virtual uint64_t size() const = 0;
  virtual std::vector<uint64_t> shard_sizes() const = 0;
  virtual std::vector<ShardHead> shards() const { return {}; }  // empty where they are none
  virtual std::string Key(uint64_t sample) const = 0;           // "pairs-000.tar/000123"
  // Fingerprint of names, sizes and sample counts: ranks that disagree must not train together.
  virtual std::string Fingerprint() const = 0;

  // What lies in the shards and is no sample.
  virtual LeftOut left_out() const { return {}; }
  // How many samples have no caption, and the key of the first. Counted from the shards' heads
  // where captions are .txt members; else told from a sample of the samples, evenly spaced.
  virtual MissingCaptions CountMissingCaptions() const { return {}; }

  struct Sample {
    std::string image;    // encoded bytes (.jpg .jpeg .png .webp)
    std::string caption;  // as the caption key says, cut to what 77 tokens can need; "" where none
    int64_t label = -1;   // .cls
  };
  // Thread safe. Throws SampleError where this one sample cannot be had: it lies beyond the end of
  // its shard (E-DATA-TAR), its picture has more than 256 MB (E-DATA-IMAGE), its .json is none
  // (E-DATA-JSON), its .cls is no number (E-DATA-LABEL), or the disk did not give it up, after
  // several tries (E-IO). Other errors are the data set's.
  virtual Sample Read(uint64_t sample) const = 0;

  // Pictures that need no decoding: writes 3 x R x R bytes to `planar` and, where it is given, the
  // caption's tokens. False where samples are to be read. Thread safe.
  virtual bool Make(uint64_t /*sample*/, int64_t /*resolution*/, uint8_t* /*planar*/,
                    std::vector<int32_t>* /*tokens*/) const {
    return false;
  }
};

// Throws UserError E-DATA-EMPTY where no shard of the data set has a sample.
void CheckNotEmpty(const Dataset& dataset, const std::vector<std::string>& patterns);

// The shards that patterns name: braces expanded; of what is no file, *, ? and [...] stand for the
// files that match; a directory stands for the .tar files in it. Names that start with a dot are
// passed over. `looked` is called after each path that was looked at. Throws UserError
// E-DATA-MISSING where nothing matches.
std::vector<std::string> ShardPaths(const std::vector<std::string>& patterns,
                                    const std::function<void()>& looked = {});

// `text` as one pattern where it names what is there (a path may hold spaces), else as several
// patterns with spaces between.
std::vector<std::string> ShardPatterns(const std::string& text);

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
    OrderKind order = OrderKind::kInterleaved;
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
