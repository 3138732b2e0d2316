#include "model/files/zip.h"

#include <zlib.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "common/strings.h"

namespace contrail::model::files {
namespace {

constexpr uint32_t kLocalSignature = 0x04034b50;
constexpr uint32_t kCentralSignature = 0x02014b50;
constexpr uint32_t kEndSignature = 0x06054b50;
constexpr uint32_t kEnd64Signature = 0x06064b50;
constexpr uint32_t kLocator64Signature = 0x07064b50;
constexpr uint64_t kLocalBytes = 30, kCentralBytes = 46, kEndBytes = 22, kEnd64Bytes = 56,
                   kLocator64Bytes = 20;
constexpr uint64_t kMostDirectoryBytes = 256 << 20;
constexpr uint16_t kZip64Extra = 1;
constexpr uint16_t kEncrypted = 1, kSizesFollow = 8;  // flags

// Little-endian fields of a text; reading past its end gives nothing.
class Fields {
 public:
  explicit Fields(std::string_view bytes) : bytes_(bytes) {}
  uint64_t Number(uint64_t offset, uint64_t size) const {
    CONTRAIL_ASSERT(offset + size <= bytes_.size());
    uint64_t value = 0;
    for (uint64_t i = size; i-- > 0;) {
      value = value << 8 | static_cast<unsigned char>(bytes_[offset + i]);
    }
    return value;
  }
  uint16_t U16(uint64_t offset) const { return static_cast<uint16_t>(Number(offset, 2)); }
  uint32_t U32(uint64_t offset) const { return static_cast<uint32_t>(Number(offset, 4)); }
  uint64_t U64(uint64_t offset) const { return Number(offset, 8); }

 private:
  std::string_view bytes_;
};

// The zip64 record of an entry's extra fields, or "" (also where the fields are torn).
std::string_view Zip64Record(std::string_view extra) {
  while (extra.size() >= 4) {
    const Fields field(extra);
    const uint64_t size = field.U16(2);
    if (size > extra.size() - 4) return {};
    if (field.U16(0) == kZip64Extra) return extra.substr(4, size);
    extra.remove_prefix(4 + size);
  }
  return {};
}

struct Directory {
  uint64_t offset = 0;
  uint64_t bytes = 0;
  uint64_t entries = 0;
};

class Reader {
 public:
  explicit Reader(const FileBytes& file) : file_(file) {}

  std::map<std::string, ZipEntry> Read() {
    const Directory directory = FindDirectory();
    const std::string text = file_.Text(directory.offset, directory.bytes, "its directory");
    std::string_view rest = text;
    for (uint64_t i = 0; i < directory.entries; ++i) AddEntry(&rest, directory.offset);
    if (!rest.empty()) throw Bad("its directory holds more than it says");
    CheckOverlaps();
    return std::move(entries_);
  }

 private:
  Error Bad(const std::string& what) const { return Damaged(file_.path(), what); }

  // The end record closes the file; a comment may follow it, which torch never writes.
  uint64_t FindEnd() const {
    constexpr uint64_t kMostComment = 65535;
    const uint64_t size = std::min(file_.size(), kEndBytes + kMostComment);
    const std::string tail = file_.Text(file_.size() - size, size, "its directory");
    for (uint64_t back = kEndBytes; back <= size; ++back) {
      const Fields end(std::string_view(tail).substr(size - back));
      if (end.U32(0) == kEndSignature && end.U16(20) == back - kEndBytes) {
        return file_.size() - back;
      }
    }
    throw Bad("has no zip directory at its end: it is cut short");
  }

  Directory FindDirectory() const {
    const uint64_t at = FindEnd();
    const std::string text = file_.Text(at, kEndBytes, "its directory");
    const Fields end(text);
    if (end.U16(4) != 0 || end.U16(6) != 0 || end.U16(8) != end.U16(10)) {
      throw Bad("is a part of a split zip archive");
    }
    Directory directory{end.U32(16), end.U32(12), end.U16(10)};
    uint64_t directory_end = at;
    if (at >= kLocator64Bytes) {
      const std::string locator_text =
          file_.Text(at - kLocator64Bytes, kLocator64Bytes, "its directory");
      const Fields locator(locator_text);
      if (locator.U32(0) == kLocator64Signature) {
        directory_end = locator.U64(8);
        directory = Directory64(directory_end, directory);
        if (directory_end > at - kLocator64Bytes) throw Bad("has a torn zip directory");
      }
    }
    if (directory.offset > directory_end || directory.bytes != directory_end - directory.offset ||
        directory.bytes > kMostDirectoryBytes ||
        directory.entries > directory.bytes / kCentralBytes) {
      throw Bad("its zip directory does not lie where it says");
    }
    return directory;
  }

  Directory Directory64(uint64_t at, const Directory& small) const {
    const std::string text = file_.Text(at, kEnd64Bytes, "its zip64 directory");
    const Fields end(text);
    if (end.U32(0) != kEnd64Signature) throw Bad("has a torn zip64 directory");
    const Directory large{end.U64(48), end.U64(40), end.U64(32)};
    const auto agrees = [](uint64_t value, uint64_t narrow, uint64_t saturated) {
      return narrow == saturated || narrow == value;
    };
    if (!agrees(large.offset, small.offset, UINT32_MAX) ||
        !agrees(large.bytes, small.bytes, UINT32_MAX) ||
        !agrees(large.entries, small.entries, UINT16_MAX)) {
      throw Bad("its two zip directories contradict each other");
    }
    return large;
  }

  void AddEntry(std::string_view* rest, uint64_t directory) {
    if (rest->size() < kCentralBytes) throw Bad("its zip directory is torn");
    const Fields fields(*rest);
    const uint64_t name_bytes = fields.U16(28), extra_bytes = fields.U16(30);
    const uint64_t all = kCentralBytes + name_bytes + extra_bytes + fields.U16(32);
    if (fields.U32(0) != kCentralSignature || all > rest->size()) {
      throw Bad("its zip directory is torn");
    }
    const std::string name(rest->substr(kCentralBytes, name_bytes));
    const auto extra = Zip64Record(rest->substr(kCentralBytes + name_bytes, extra_bytes));
    rest->remove_prefix(all);
    if (fields.U16(8) & kEncrypted) throw Bad("'" + name + "' is encrypted");

    uint64_t used = 0;  // of the zip64 record, which holds only what does not fit elsewhere
    const auto wide = [&](uint32_t narrow) -> uint64_t {
      if (narrow != UINT32_MAX) return narrow;
      if (used + 8 > extra.size()) throw Bad("'" + name + "' lacks its zip64 sizes");
      used += 8;
      return Fields(extra).U64(used - 8);
    };
    ZipEntry entry;
    entry.inflated = wide(fields.U32(24));
    entry.bytes = wide(fields.U32(20));
    const uint64_t header = wide(fields.U32(42));
    entry.crc32 = fields.U32(16);
    entry.stored = fields.U16(10) == 0;
    entry.offset = CheckLocal(name, header, entry, fields);
    if (entry.stored && entry.bytes != entry.inflated) throw Bad("'" + name + "' has two sizes");
    if (entry.offset > directory || entry.bytes > directory - entry.offset) {
      throw Bad("'" + name + "' reaches into the zip directory");
    }
    if (!entries_.emplace(name, entry).second) throw Bad("holds '" + name + "' twice");
    stretches_.push_back({header, entry.offset + entry.bytes});
  }

  // Compares the entry's own header with the directory; returns where its bytes begin.
  uint64_t CheckLocal(const std::string& name, uint64_t header, const ZipEntry& entry,
                      const Fields& central) const {
    const std::string text = file_.Text(header, kLocalBytes, "'" + name + "'");
    const Fields local(text);
    const auto lies = [&] { return Bad("'" + name + "' is not what the zip directory says"); };
    if (local.U32(0) != kLocalSignature || local.U16(26) != name.size() ||
        local.U16(8) != central.U16(10) || (local.U16(6) & kEncrypted)) {
      throw lies();
    }
    if (file_.Text(header + kLocalBytes, name.size(), "'" + name + "'") != name) throw lies();
    const bool sizes_follow = (local.U16(6) & kSizesFollow) != 0;
    const auto agrees = [&](uint32_t narrow, uint64_t value) {
      return sizes_follow || narrow == UINT32_MAX || narrow == value;
    };
    if (!agrees(local.U32(18), entry.bytes) || !agrees(local.U32(22), entry.inflated) ||
        (!sizes_follow && local.U32(14) != entry.crc32)) {
      throw lies();
    }
    return header + kLocalBytes + name.size() + local.U16(28);
  }

  void CheckOverlaps() {
    std::sort(stretches_.begin(), stretches_.end());
    for (size_t i = 1; i < stretches_.size(); ++i) {
      if (stretches_[i].first < stretches_[i - 1].second) throw Bad("has entries that overlap");
    }
  }

  const FileBytes& file_;
  std::map<std::string, ZipEntry> entries_;
  std::vector<std::pair<uint64_t, uint64_t>> stretches_;  // [header, end of bytes)
};

}  // namespace

bool LooksLikeZip(const FileBytes& file) {
  return file.size() >= kEndBytes && Fields(file.Text(0, 4, "itself")).U32(0) == kLocalSignature;
}

std::map<std::string, ZipEntry> ReadZipDirectory(const FileBytes& file) {
  return Reader(file).Read();
}

void RequireStored(const FileBytes& file, const std::string& name, const ZipEntry& entry) {
  if (entry.stored) return;
  throw UserError("E-WEIGHTS-COMPRESSED", file.path(),
                  "'" + name + "' is compressed (" + HumanBytes(entry.bytes) + " for " +
                      HumanBytes(entry.inflated) + "), which torch.save never does",
                  "write the file again with torch.save or as safetensors");
}

std::string ReadZipText(const FileBytes& file, const std::string& name, const ZipEntry& entry,
                        uint64_t limit) {
  RequireStored(file, name, entry);
  if (entry.bytes > limit) {
    throw UserError("E-WEIGHTS-PICKLE", file.path(),
                    "'" + name + "' has " + HumanBytes(entry.bytes) + ", too many for a model");
  }
  std::string text = file.Text(entry.offset, entry.bytes, "'" + name + "'");
  const uLong crc = crc32(crc32(0, nullptr, 0), reinterpret_cast<const Bytef*>(text.data()),
                          static_cast<uInt>(text.size()));
  if (crc != entry.crc32) {
    throw Damaged(file.path(), "the checksum of '" + name + "' differs: its bytes are damaged");
  }
  return text;
}

}  // namespace contrail::model::files
