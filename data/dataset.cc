#include "data/dataset.h"

#include <algorithm>
#include <charconv>

#include "common/error.h"
#include "common/hash.h"
#include "common/paths.h"
#include "common/strings.h"
#include "data/disk_patience.h"
#include "data/shard_cache.h"
#include "data/shard_list.h"

namespace contrail::data {
namespace {

constexpr uint64_t kMaxIndexedSamples = 16'000'000;  // about 250 MB of index
constexpr uint64_t kMaxLabel = 64;
constexpr uint64_t kMaxGap = 64 * 1024;  // bytes read for nothing to save a second read

class TarDataset : public Dataset {
 public:
  // Reads the heads itself; what it had to scan for them stays open.
  TarDataset(const std::vector<std::string>& paths, const OnShard& on_shard,
             const CaptionKey& caption_key, const std::string& index_dir)
      : caption_key_(caption_key),
        cache_(paths, ShardCache::DescriptorShare(), kMaxIndexedSamples, index_dir) {
    std::vector<ShardHead> heads;
    for (const ListedShard& shard : FindInLists(paths, index_dir)) {
      const std::optional<ShardHead> listed = ListedHead(shard);
      heads.push_back(listed ? *listed : cache_.Head(heads.size()));
      if (on_shard) on_shard(heads.back());
    }
    Number(heads);
  }

  TarDataset(const std::vector<ShardHead>& heads, const CaptionKey& caption_key,
             const std::string& index_dir)
      : caption_key_(caption_key),
        cache_(PathsOf(heads), ShardCache::DescriptorShare(), kMaxIndexedSamples, index_dir) {
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
      heads.push_back({cache_.path(i), bytes_[i], start_[i + 1] - start_[i], captions_[i], {}});
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

  LeftOut left_out() const override { return left_out_; }

  MissingCaptions CountMissingCaptions() const override {
    return caption_key_.json_field.empty() ? CountMissingTexts() : ProbeJson();
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
    RefuseHuge(entry, sample);
    ReadParts(open.file, {{entry.image, &out.image},
                          {CaptionOf(entry), &out.caption},
                          {Start(entry.label, kMaxLabel), &label}});
    if (!caption_key_.json_field.empty() && entry.json.present()) {
      out.caption = JsonCaption(out.caption, caption_key_.json_field, Key(sample));
    }
    if (entry.label.present()) out.label = ParseLabel(label, sample);
    return out;
  }

  struct Part {
    Extent extent;
    std::string* to;
  };

  static Extent Start(Extent extent, uint64_t most) {
    extent.size = std::min(extent.size, most);
    return extent;
  }

  // Of a text no more than its tokens can need; a .json whole.
  Extent CaptionOf(const SampleEntry& entry) const {
    return caption_key_.json_field.empty() ? Start(entry.caption, kMaxCaption) : entry.json;
  }

  void RefuseHuge(const SampleEntry& entry, uint64_t sample) const {
    constexpr uint64_t kMaxImage = 256'000'000;
    constexpr uint64_t kMaxJson = 1'000'000;
    if (entry.image.size > kMaxImage) {
      throw UserError("E-DATA-IMAGE", Key(sample),
                      "a picture of " + HumanBytes(entry.image.size) + ", more than 256 MB");
    }
    if (!caption_key_.json_field.empty() && entry.json.size > kMaxJson) {
      throw UserError("E-DATA-JSON", Key(sample),
                      "a .json of " + HumanBytes(entry.json.size) + ", more than 1 MB");
    }
  }

  MissingCaptions CountMissingTexts() const {
    MissingCaptions missing{.of = size()};
    for (size_t shard = 0; shard < captions_.size(); ++shard) {
      const uint64_t samples = start_[shard + 1] - start_[shard];
      if (captions_[shard] >= samples) continue;
      if (missing.count == 0) missing.first = FirstWithoutText(shard);
      missing.count += samples - captions_[shard];
    }
    return missing;
  }

  std::string FirstWithoutText(size_t shard) const {
    const std::shared_ptr<const OpenShard> open = cache_.Get(shard);
    for (const SampleEntry& entry : open->index.samples) {
      if (!entry.caption.present()) return BaseName(open->file.path()) + "/" + entry.key;
    }
    return BaseName(open->file.path());
  }

  // One that cannot be used is dealt with when its turn comes.
  bool HasCaption(uint64_t sample) const {
    try {
      return !Trim(Read(sample).caption).empty();
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kUser) throw;
      return false;
    }
  }

  MissingCaptions ProbeJson() const {
    constexpr uint64_t kProbes = 256;
    MissingCaptions missing{.of = std::min(kProbes, size())};
    for (uint64_t i = 0; i < missing.of; ++i) {
      const uint64_t sample = i * size() / missing.of;
      if (HasCaption(sample)) continue;
      if (missing.count++ == 0) missing.first = Key(sample);
    }
    return missing;
  }

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
      captions_.push_back(head.captions);
      left_out_.Add(head.left_out);
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

  SampleEntry Entry(const OpenShard& open, size_t shard, uint64_t sample) const {
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

  const CaptionKey caption_key_;
  mutable ShardCache cache_;
  mutable DiskPatience patience_;
  std::vector<uint64_t> start_{0};
  std::vector<uint64_t> bytes_;
  std::vector<uint64_t> captions_;
  LeftOut left_out_;
  std::string fingerprint_;
};

}  // namespace

ShardHead HeadOf(const std::string& path, uint64_t bytes, const IndexHead& index) {
  return {path, bytes, index.samples, index.captions, index.left_out};
}

ShardHead ReadShardHead(const std::string& path, const std::string& index_dir,
                        const OnBytes& passed) {
  const PositionedFile tar(path);
  const std::optional<IndexHead> sidecar = ReadIndexHead(tar, index_dir);
  return HeadOf(path, tar.size(), sidecar ? *sidecar : ScanToTrain(tar, passed).Head());
}

std::shared_ptr<const Dataset> Dataset::OpenKnown(const std::vector<ShardHead>& heads,
                                                  const CaptionKey& caption_key,
                                                  const std::string& index_dir) {
  return std::make_shared<TarDataset>(heads, caption_key, index_dir);
}

std::shared_ptr<const Dataset> Dataset::Open(const std::vector<std::string>& patterns,
                                             const OnShard& on_shard, const CaptionKey& caption_key,
                                             const std::string& index_dir) {
  auto dataset =
      std::make_shared<TarDataset>(ShardPaths(patterns), on_shard, caption_key, index_dir);
  CheckNotEmpty(*dataset, patterns);
  return dataset;
}

void CheckNotEmpty(const Dataset& dataset, const std::vector<std::string>& patterns) {
  if (dataset.size() > 0) return;
  const LeftOut left_out = dataset.left_out();
  throw UserError(
      "E-DATA-EMPTY", Join(patterns, ", "),
      "no sample with a picture in it" + (left_out.Any() ? ": " + Describe(left_out) : ""),
      "a sample is a .jpg, .jpeg, .png or .webp member of a tar; see docs/data-format.md");
}

}  // namespace contrail::data
