#include "data/synthetic.h"

#include <charconv>
#include <cstring>
#include <utility>

#include "common/error.h"
#include "common/hash.h"
#include "common/rng.h"
#include "common/strings.h"
#include "data/tokenizer.h"

namespace contrail::data {
namespace {

// Keep these draws apart from all others of the run.
constexpr uint64_t kPixelPurpose = 0x706978656c73;
constexpr uint64_t kCaptionPurpose = 0x746f6b656e73;

struct Lengths {
  uint64_t least;
  uint64_t most;
};

bool ParseLength(std::string_view text, uint64_t& length) {
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), length);
  return code == std::errc() && end == text.data() + text.size() && length >= 2 &&
         length <= kContextLength;
}

// "20" or "5-35"; start and end are two of the tokens.
Lengths ParseLengths(const std::string& text) {
  const size_t dash = text.find('-');
  Lengths lengths{};
  if (ParseLength(text.substr(0, dash), lengths.least) &&
      ParseLength(dash == std::string::npos ? text : text.substr(dash + 1), lengths.most) &&
      lengths.least <= lengths.most) {
    return lengths;
  }
  throw UserError("E-DATA-SYNTHETIC", "data.synthetic_caption_tokens",
                  "'" + text + "' is no number of tokens",
                  "write a number from 2 to 77, or a range such as \"5-35\"");
}

class Synthetic : public Dataset {
 public:
  explicit Synthetic(const Config& config)
      : seed_(static_cast<uint64_t>(config.run.seed)),
        size_(static_cast<uint64_t>(config.data.synthetic_samples)) {
    const std::vector<std::string>& texts = config.data.synthetic_caption_tokens;
    for (const std::string& text : texts) lengths_.push_back(ParseLengths(text));
    if (lengths_.empty()) ParseLengths("");
    fingerprint_ = Hex64(Fnv1a("synthetic " + std::to_string(size_) + " " + Join(texts, ",")));
  }

  uint64_t size() const override { return size_; }
  std::vector<uint64_t> shard_sizes() const override { return {size_}; }
  std::string Key(uint64_t sample) const override { return "synthetic/" + std::to_string(sample); }
  std::string Fingerprint() const override { return fingerprint_; }

  std::vector<ShardHead> shards() const override {
    return {{.path = "synthetic", .samples = size_}};
  }

  Sample Read(uint64_t sample) const override {
    throw UserError("E-DATA-SYNTHETIC", Key(sample), "has no file to read: it is made up",
                    "name tar shards");
  }

  bool Make(uint64_t sample, int64_t resolution, uint8_t* planar,
            std::vector<int32_t>* tokens) const override {
    const auto bytes = static_cast<size_t>(3 * resolution * resolution);
    FillWithNoise(Mix64(Mix64(seed_ ^ kPixelPurpose) ^ sample), planar, bytes);
    if (tokens != nullptr) *tokens = Caption(sample);
    return true;
  }

 private:
  static void FillWithNoise(uint64_t key, uint8_t* out, size_t bytes) {
    constexpr uint64_t kStep = 0x9e3779b97f4a7c15;  // splitmix64's
    for (; bytes >= sizeof key; bytes -= sizeof key, out += sizeof key) {
      const uint64_t noise = Mix64(key += kStep);
      std::memcpy(out, &noise, sizeof noise);
    }
    const uint64_t noise = Mix64(key + kStep);
    std::memcpy(out, &noise, bytes);
  }

  std::vector<int32_t> Caption(uint64_t sample) const {
    RandomStream draws(seed_ ^ kCaptionPurpose, 0, sample);
    const Lengths& lengths = lengths_[draws.NextBelow(lengths_.size())];
    const uint64_t length = lengths.least + draws.NextBelow(lengths.most - lengths.least + 1);
    std::vector<int32_t> tokens = {kStartOfText};
    while (tokens.size() + 1 < length) {
      tokens.push_back(static_cast<int32_t>(draws.NextBelow(kStartOfText)));
    }
    tokens.push_back(kEndOfText);
    return tokens;
  }

  const uint64_t seed_;
  const uint64_t size_;
  std::vector<Lengths> lengths_;
  std::string fingerprint_;
};

}  // namespace

std::shared_ptr<const Dataset> MakeSynthetic(const Config& config) {
  return std::make_shared<Synthetic>(config);
}

}  // namespace contrail::data
