#include "data/dataset.h"

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "common/error.h"
#include "common/hash.h"
#include "common/log.h"
#include "common/strings.h"
#include "data/disk_patience.h"
#include "data/shard_cache.h"

namespace contrail::data {
namespace {

constexpr uint64_t kMaxIndexedSamples = 2'000'000;  // about 200 MB of index
constexpr uint64_t kMaxGap = 64 * 1024;             // bytes read for nothing to save a second read

std::string BaseName(const std::string& path) { return path.substr(path.rfind('/') + 1); }

class TarDataset : public Dataset {
 public:
  // Reads the heads itself; what it had to scan for them stays open.
  TarDataset(const std::vector<std::string>& paths, const OnShard& on_shard)
      : cache_(paths, ShardCache::DescriptorShare(), kMaxIndexedSamples) {
    std::vector<ShardHead> heads;
    for (size_t shard = 0; shard < paths.size(); ++shard) {
      heads.push_back(cache_.Head(shard));
      if (on_shard) on_shard(heads.back());
    }
    Number(heads);
  }

  explicit TarDataset(const std::vector<ShardHead>& heads)
      : cache_(PathsOf(heads), ShardCache::DescriptorShare(), kMaxIndexedSamples) {
    Number(heads);
  }

  uint64_t size() const override { return start_.back(); }

  std::vector<uint64_t> shard_sizes() const override {
    std::vector<uint64_t> sizes;
    for (size_t i = 1; i < start_.size(); ++i) sizes.push_back(start_[i] - start_[i - 1]);
    return sizes;
  }

  std::vector<ShardHead> shards() const override {
    std::vector<ShardHead> heads;
    for (size_t i = 0; i < bytes_.size(); ++i) {
      heads.push_back({cache_.path(i), bytes_[i], start_[i + 1] - start_[i]});
    }
    return heads;
  }

  std::string Fingerprint() const override { return fingerprint_; }

  std::string Key(uint64_t sample) const override {
    const size_t shard = ShardOf(sample);
    return BaseName(cache_.path(shard)) + "/" + Entry(*cache_.Get(shard), shard, sample).key;
  }

  Sample Read(uint64_t sample) const override {
    const size_t shard = ShardOf(sample);
    for (int tries = 1;; ++tries) {
      std::shared_ptr<const OpenShard> open;
      try {
        open = cache_.Get(shard);
        return ReadSample(*open, Entry(*open, shard, sample), sample);
      } catch (const IoError& error) {
        if (!DiskPatience::MayPass(error)) throw;
        if (patience_.Wait(shard, tries)) {
          if (open) cache_.Forget(shard);  // a stale handle never heals
        } else if (open) {
          throw SampleError(error, /*unreadable=*/true);
        } else {
          throw;  // without the shard nobody knows what is in it
        }
      }
    }
  }

 private:
  // The shard is as it should be: what its bytes lack from here on, this sample lacks.
  Sample ReadSample(const OpenShard& open, const SampleEntry& entry, uint64_t sample) const {
    try {
      return ReadEntry(open, entry, sample);
    } catch (const IoError&) {
      throw;
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::kUser) throw SampleError(error, /*unreadable=*/false);
      throw;
    }
  }

  Sample ReadEntry(const OpenShard& open, const SampleEntry& entry, uint64_t sample) const {
    Sample out;
    std::string label;
    ReadParts(open.file,
              {{entry.image, &out.image}, {entry.caption, &out.caption}, {entry.label, &label}});
    if (entry.label.present()) out.label = ParseLabel(label, sample);
    return out;
  }

  struct Part {
    Extent extent;
    std::string* to;
  };

  static std::vector<std::string> PathsOf(const std::vector<ShardHead>& heads) {
    std::vector<std::string> paths;
    for (const ShardHead& head : heads) paths.push_back(head.path);
    return paths;
  }

  void Number(const std::vector<ShardHead>& heads) {
    std::string identity;
    for (const ShardHead& head : heads) {
      start_.push_back(start_.back() + head.samples);
      bytes_.push_back(head.bytes);
      identity += BaseName(head.path) + " " + std::to_string(head.bytes) + " " +
                  std::to_string(head.samples) + "\n";
    }
    fingerprint_ = Hex64(Fnv1a(identity));
  }

  size_t ShardOf(uint64_t sample) const {
    CONTRAIL_ASSERT(sample < size());
    const auto after = std::upper_bound(start_.begin(), start_.end(), sample);
    return static_cast<size_t>(after - start_.begin()) - 1;
  }

  const SampleEntry& Entry(const OpenShard& open, size_t shard, uint64_t sample) const {
    const uint64_t within = sample - start_[shard];
    if (open.file.size() != bytes_[shard]) {
      throw UserError("E-DATA-INDEX", open.file.path(),
                      "the shard has " + std::to_string(open.file.size()) + " bytes, and had " +
                          std::to_string(bytes_[shard]) + " when the run started",
                      "every node must see the same shards, and no shard may change under a run");
    }
    if (open.index.samples.size() != start_[shard + 1] - start_[shard]) {
      throw UserError("E-DATA-INDEX", open.file.path(),
                      "the shard and its .index disagree on the number of samples",
                      "run `contrail data index` on it");
    }
    return open.index.samples[within];
  }

  // A sample's members are neighbours in the archive: one read fetches them all.
  static void ReadParts(const PositionedFile& file, const std::vector<Part>& parts) {
    uint64_t begin = ~uint64_t{0};
    uint64_t end = 0;
    uint64_t wanted = 0;
    for (const Part& part : parts) {
      if (!part.extent.present()) continue;
      begin = std::min(begin, part.extent.offset);
      end = std::max(end, part.extent.offset + part.extent.size);
      wanted += part.extent.size;
    }
    if (end > file.size()) {
      throw UserError("E-DATA-TAR", file.path() + " at byte " + std::to_string(file.size()),
                      "the archive ends before the end of a sample",
                      "it is cut off: copy or pack the shard again");
    }
    const bool together = end - begin <= wanted + kMaxGap;
    const std::string span = together ? file.Read(begin, end - begin) : std::string();
    for (const Part& part : parts) {
      if (!part.extent.present()) continue;
      *part.to = together ? span.substr(part.extent.offset - begin, part.extent.size)
                          : file.Read(part.extent.offset, part.extent.size);
    }
  }

  int64_t ParseLabel(const std::string& text, uint64_t sample) const {
    const std::string_view digits = Trim(text);
    int64_t label = 0;
    const auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), label);
    if (code != std::errc() || end != digits.data() + digits.size() || label < 0) {
      throw UserError("E-DATA-LABEL", Key(sample), "its .cls is not a class number",
                      "write the class as a whole number from 0");
    }
    return label;
  }

  mutable ShardCache cache_;
  mutable DiskPatience patience_;
  std::vector<uint64_t> start_{0};
  std::vector<uint64_t> bytes_;
  std::string fingerprint_;
};

}  // namespace

std::vector<std::string> ShardPaths(const std::vector<std::string>& patterns) {
  std::vector<std::string> paths;
  for (const std::string& pattern : patterns) {
    for (const std::string& path : ExpandBraces(pattern)) {
      std::error_code not_there;
      if (!std::filesystem::is_directory(path, not_there)) {
        paths.push_back(path);
        continue;
      }
      for (const std::string& name : PosixFileSystem().List(path)) {
        if (name.ends_with(".tar")) paths.push_back(path + "/" + name);
      }
    }
  }
  return paths;
}

ShardHead ReadShardHead(const std::string& path) {
  const PositionedFile tar(path);
  const std::optional<IndexHead> head = ReadIndexHead(tar);
  if (head) return {path, tar.size(), head->samples};
  const ShardIndex index = ScanShard(tar, AtTear::kNumber);
  if (!index.torn.empty()) LogWarning(index.torn + TornNote(index));
  return {path, tar.size(), index.samples.size()};
}

std::shared_ptr<const Dataset> Dataset::OpenKnown(const std::vector<ShardHead>& heads) {
  return std::make_shared<TarDataset>(heads);
}

std::shared_ptr<const Dataset> Dataset::Open(const std::vector<std::string>& patterns,
                                             const OnShard& on_shard) {
  auto dataset = std::make_shared<TarDataset>(ShardPaths(patterns), on_shard);
  CheckNotEmpty(*dataset, patterns);
  return dataset;
}

void CheckNotEmpty(const Dataset& dataset, const std::vector<std::string>& patterns) {
  if (dataset.size() > 0) return;
  throw UserError("E-DATA-EMPTY", Join(patterns, ", "), "no sample with a picture in it",
                  "a sample is a .jpg, .jpeg or .png member of a tar; see docs/data-format.md");
}

}  // namespace contrail::data
