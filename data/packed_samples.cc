#include <iterator>

#include "common/error.h"
#include "data/shard_index.h"

namespace contrail::data {
namespace {

constexpr uint64_t kBlock = 8;  // entries are found by walking to them from the last block's begin

constexpr Extent SampleEntry::*kExtents[] = {&SampleEntry::image, &SampleEntry::caption,
                                             &SampleEntry::label, &SampleEntry::json};
static_assert(sizeof(SampleEntry) == sizeof(std::string) + std::size(kExtents) * sizeof(Extent),
              "every member of an entry is packed");

void PutNumber(std::string& text, uint64_t value) {
  for (; value >= 0x80; value >>= 7) text += static_cast<char>(value | 0x80);
  text += static_cast<char>(value);
}

uint64_t TakeNumber(const char*& at) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = static_cast<unsigned char>(*at++);
    value |= uint64_t{byte & 0x7fu} << shift;
    if (byte < 0x80) return value;
  }
}

// Small numbers stay small whichever sign they have.
uint64_t Folded(uint64_t difference) {
  return difference << 1 ^ (difference >> 63 != 0 ? ~uint64_t{0} : 0);
}
uint64_t Unfolded(uint64_t folded) { return folded >> 1 ^ (~(folded & 1) + 1); }

size_t SharedPrefix(const std::string& a, const std::string& b) {
  size_t n = 0;
  while (n < a.size() && n < b.size() && a[n] == b[n]) ++n;
  return n;
}

// Members of a sample follow one another in the archive, and so do samples.
uint64_t EndOf(const SampleEntry& entry) { return entry.image.offset + entry.image.size; }

void Put(std::string& text, const SampleEntry& entry, const SampleEntry& before) {
  unsigned present = 0;  // a bit each
  for (size_t i = 0; i < std::size(kExtents); ++i) {
    present |= static_cast<unsigned>((entry.*kExtents[i]).present()) << i;
  }
  text += static_cast<char>(present);
  uint64_t expected = EndOf(before);
  for (const auto extent : kExtents) {
    const Extent& part = entry.*extent;
    if (!part.present()) continue;
    PutNumber(text, Folded(part.offset - expected));
    PutNumber(text, part.size);
    expected = part.offset + part.size;
  }
  const size_t shared = SharedPrefix(entry.key, before.key);
  PutNumber(text, shared);
  PutNumber(text, entry.key.size() - shared);
  text.append(entry.key, shared);
}

// `entry` is the one before, and becomes the next.
void Take(const char*& at, SampleEntry& entry) {
  uint64_t expected = EndOf(entry);
  const auto present = static_cast<unsigned char>(*at++);
  for (size_t i = 0; i < std::size(kExtents); ++i) {
    Extent& part = entry.*kExtents[i];
    part = {};
    if ((present >> i & 1) == 0) continue;
    part.offset = Unfolded(TakeNumber(at)) + expected;
    part.size = TakeNumber(at);
    expected = part.offset + part.size;
  }
  entry.key.resize(TakeNumber(at));
  const uint64_t fresh = TakeNumber(at);
  entry.key.append(at, fresh);
  at += fresh;
}

}  // namespace

void PackedSamples::push_back(const SampleEntry& entry) {
  if (size_++ % kBlock == 0) {
    blocks_.push_back(text_.size());
    last_ = {};
  }
  Put(text_, entry, last_);
  last_ = entry;
}

SampleEntry PackedSamples::operator[](uint64_t i) const {
  CONTRAIL_ASSERT(i < size_);
  const char* at = text_.data() + blocks_[i / kBlock];
  SampleEntry entry;
  for (uint64_t n = 0; n <= i % kBlock; ++n) Take(at, entry);
  return entry;
}

void PackedSamples::shrink_to_fit() {
  text_.shrink_to_fit();
  blocks_.shrink_to_fit();
}

}  // namespace contrail::data
