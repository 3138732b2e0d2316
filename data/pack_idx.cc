// IDX files (MNIST, Fashion-MNIST): a big-endian header, then bytes; usually gzipped.

#include <algorithm>
#include <cstdio>
#include <optional>
#include <stdexcept>

#include "common/error.h"
#include "common/rng.h"
#include "data/gzip.h"
#include "data/image.h"
#include "data/names.h"
#include "data/pack.h"

namespace contrail::data {
namespace {

constexpr uint64_t kCaptionPurpose = 0x63617074696f6e;  // keeps these draws apart from all others

Error Bad(const std::string& path, const std::string& what) {
  return UserError("E-DATA-IDX", path, what, "give MNIST-format files, gzipped or not");
}

struct Idx {
  std::vector<uint32_t> shape;
  std::string bytes;
  size_t data = 0;  // where the elements start
};

uint32_t BigEndian(const std::string& bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = at; i < at + 4; ++i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

// Nothing where it is more than 64 bits hold: a header may say anything.
std::optional<uint64_t> Product(const std::vector<uint32_t>& shape) {
  uint64_t product = 1;
  for (const uint32_t n : shape) {
    if (__builtin_mul_overflow(product, uint64_t{n}, &product)) return std::nullopt;
  }
  return product;
}

// Unsigned bytes of `low` to `high` dimensions.
Idx ReadIdx(const std::string& path, size_t low, size_t high) {
  constexpr size_t kLimit = size_t{8} << 30;
  Idx idx;
  try {
    idx.bytes = ReadGzip(path, kLimit);
  } catch (const std::runtime_error& cause) {
    throw UserError("E-DATA-IDX", path, std::string("cannot read it: ") + cause.what());
  }
  constexpr uint32_t kUnsignedBytes = 0x08;
  const uint32_t magic = idx.bytes.size() >= 4 ? BigEndian(idx.bytes, 0) : 0;
  const size_t dimensions = magic & 0xff;
  idx.data = 4 + 4 * dimensions;
  if (magic >> 8 != kUnsignedBytes || dimensions < low || dimensions > high ||
      idx.bytes.size() < idx.data) {
    throw Bad(path, "not an IDX file of bytes with " + std::to_string(low) +
                        (low == high ? "" : " or " + std::to_string(high)) + " dimensions");
  }
  for (size_t i = 0; i < dimensions; ++i) idx.shape.push_back(BigEndian(idx.bytes, 4 + 4 * i));
  const std::optional<uint64_t> elements = Product(idx.shape);
  if (idx.bytes.size() - idx.data != elements) {
    throw Bad(path, "its header promises " +
                        (elements ? std::to_string(*elements) : std::string("more than 2^64")) +
                        " bytes, it holds " + std::to_string(idx.bytes.size() - idx.data));
  }
  return idx;
}

class IdxSource : public PackSource {
 public:
  IdxSource(const PackOptions& options, const PackNames& names)
      : seed_(options.seed ^ kCaptionPurpose),
        images_(ReadIdx(options.images, 3, 4)),
        labels_(ReadIdx(options.labels, 1, 1)),
        classes_(names.classes),
        templates_(names.templates.empty() ? std::vector<std::string>{"a photo of a {}."}
                                           : names.templates) {
    if (images_.shape[0] != labels_.shape[0]) {
      throw Bad(options.labels, std::to_string(labels_.shape[0]) + " labels for " +
                                    std::to_string(images_.shape[0]) + " images");
    }
    channels_ = images_.shape.size() == 4 ? images_.shape[3] : 1;
    if ((channels_ != 1 && channels_ != 3) || images_.shape[1] == 0 || images_.shape[2] == 0) {
      throw Bad(options.images, "images must be [n, height, width] or [n, height, width, 3]");
    }
    if (int64_t{images_.shape[1]} * images_.shape[2] > kMaxPixels ||
        std::max(images_.shape[1], images_.shape[2]) > kMaxPngEdge) {
      throw Bad(options.images, "pictures of " + std::to_string(images_.shape[2]) + " x " +
                                    std::to_string(images_.shape[1]) + " pixels are too large");
    }
    for (uint32_t i = 0; i < labels_.shape[0]; ++i) {
      if (Label(i) < classes_.size()) continue;
      throw UserError("E-DATA-NAMES", options.classes,
                      std::to_string(classes_.size()) + " class names, but image " +
                          std::to_string(i) + " has label " + std::to_string(Label(i)),
                      "name every class, from label 0");
    }
  }

  bool Next(PackSample& sample) override {
    if (next_ == images_.shape[0]) return false;
    const uint32_t i = next_++;
    const auto height = static_cast<int>(images_.shape[1]);
    const auto width = static_cast<int>(images_.shape[2]);
    const size_t size = size_t{images_.shape[1]} * images_.shape[2] * channels_;
    const auto* pixels =
        reinterpret_cast<const uint8_t*>(images_.bytes.data()) + images_.data + i * size;
    char key[24];
    std::snprintf(key, sizeof key, "%06u", i);
    sample = {};
    sample.key = key;
    sample.extension = "png";
    sample.image = EncodePng(pixels, width, height, static_cast<int>(channels_));
    RandomStream draws(seed_, 0, i);
    sample.caption =
        FillTemplate(templates_[draws.NextBelow(templates_.size())], classes_[Label(i)]);
    sample.has_caption = true;
    sample.label = std::to_string(Label(i));
    return true;
  }

 private:
  size_t Label(uint32_t i) const {
    return static_cast<unsigned char>(labels_.bytes[labels_.data + i]);
  }

  const uint64_t seed_;
  const Idx images_;
  const Idx labels_;
  const std::vector<std::string> classes_;
  const std::vector<std::string> templates_;
  uint32_t channels_ = 1;
  uint32_t next_ = 0;
};

}  // namespace

std::unique_ptr<PackSource> OpenIdxSource(const PackOptions& options, const PackNames& names) {
  if (options.images.empty() || options.labels.empty() || options.classes.empty()) {
    throw UserError("E-DATA-SOURCE", "data pack", "an IDX source needs three files",
                    "give --images, --labels and --classes");
  }
  return std::make_unique<IdxSource>(options, names);
}

}  // namespace contrail::data
