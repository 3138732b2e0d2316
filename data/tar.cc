#include "data/tar.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <optional>

#include "common/error.h"
#include "data/file_kind.h"
#include "data/pax.h"

namespace contrail::data {
namespace {

struct Header {
  char name[100];
  char mode[8];
  char uid[8];
  char gid[8];
  char size[12];
  char mtime[12];
  char checksum[8];
  char type;
  char link[100];
  char magic[6];
  char version[2];
  char user[32];
  char group[32];
  char device_major[8];
  char device_minor[8];
  char prefix[155];
  char unused[12];
};
static_assert(sizeof(Header) == kTarBlock);

template <size_t n>
std::string_view Field(const char (&field)[n]) {
  return {field, strnlen(field, n)};
}

// Octal text, or GNU's base-256 form for files of 8 GB and more.
template <size_t n>
std::optional<uint64_t> Number(const char (&field)[n]) {
  if ((field[0] & '\x80') != 0) {
    uint64_t value = 0;
    if (field[0] != '\x80') return std::nullopt;  // negative, or more than 64 bits
    for (size_t i = n > 8 ? n - 8 : 1; i < n; ++i)
      value = value << 8 | static_cast<unsigned char>(field[i]);
    return value;
  }
  uint64_t value = 0;
  size_t i = 0;
  while (i < n && field[i] == ' ') ++i;
  for (; i < n && field[i] != '\0' && field[i] != ' '; ++i) {
    if (field[i] < '0' || field[i] > '7') return std::nullopt;
    value = value << 3 | static_cast<uint64_t>(field[i] - '0');
  }
  return value;
}

uint64_t Checksum(const Header& header) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(&header);
  constexpr size_t kAt = offsetof(Header, checksum);
  uint64_t sum = 0;
  for (size_t i = 0; i < kTarBlock; ++i) sum += i >= kAt && i < kAt + 8 ? ' ' : bytes[i];
  return sum;
}

bool AllZero(const Header& header) {
  static constexpr char kZero[kTarBlock] = {};
  return std::memcmp(&header, kZero, kTarBlock) == 0;
}

std::string NameOf(const Header& header) {
  std::string name(Field(header.name));
  const bool ustar = std::memcmp(header.magic, "ustar\0", 6) == 0;
  if (ustar && header.prefix[0] != '\0') name = std::string(Field(header.prefix)) + "/" + name;
  return name;
}

// Headers are far apart in shards of pictures and close together in shards of thumbnails: one
// buffer serves both, refilled only when a header lies outside it.
class HeaderReader {
 public:
  explicit HeaderReader(const PositionedFile& file) : file_(file) {}

  // False at the end of the file.
  bool ReadAt(uint64_t offset, Header& header) {
    if (offset < start_ || offset + kTarBlock > start_ + filled_) {
      start_ = offset;
      filled_ = file_.ReadSome(buffer_.data(), buffer_.size(), offset);
    }
    const uint64_t left = start_ + filled_ - offset;
    if (left == 0) return false;
    if (left < kTarBlock) End(offset, "the archive ends inside a header");
    std::memcpy(&header, buffer_.data() + (offset - start_), kTarBlock);
    return true;
  }

  [[noreturn]] void Torn(uint64_t offset, const std::string& what,
                         const std::string& fix = "copy or pack the shard again") const {
    throw Bad(offset, what, fix);
  }
  // It just ends, in the contents of `member` where that is known.
  [[noreturn]] void End(uint64_t offset, const std::string& what, const std::string& member = "",
                        const std::string& fix = "copy or pack the shard again") const {
    throw TornTail(Bad(offset, what, fix), member);
  }

 private:
  Error Bad(uint64_t offset, const std::string& what, const std::string& fix) const {
    return UserError("E-DATA-TAR", file_.path() + " at byte " + std::to_string(offset), what, fix);
  }

  const PositionedFile& file_;
  std::array<char, 16384> buffer_;
  uint64_t start_ = 0;
  size_t filled_ = 0;
};

// One walk over an archive, or over several behind one another.
class Scan {
 public:
  Scan(const PositionedFile& file, const std::function<void(const TarMember&)>& visit)
      : file_(file), visit_(visit), reader_(file) {}

  void Run() {
    RefuseOtherKinds();
    uint64_t offset = 0;
    Header header;
    while (reader_.ReadAt(offset, header)) {
      if (!AllZero(header)) {
        offset = Member(offset, header);
        continue;
      }
      const uint64_t after = EndOfZeros(offset);
      CheckEndMarker(offset, after);
      offset = start_ = after;
      if (after == file_.size()) return;
    }
    // Python's tarfile and webdataset always write the marker: without it a copy stopped here.
    reader_.End(offset, "the archive ends without its end marker", "",
                "copy or pack the shard again; if this is all there was, append 1024 zero bytes");
  }

 private:
  // A file that is no tar at all is named for what it is.
  void RefuseOtherKinds() const {
    char head[256];
    const size_t got = file_.ReadSome(head, sizeof head, 0);
    Header header;
    if (got == sizeof head && file_.ReadSome(&header, kTarBlock, 0) == kTarBlock &&
        Number(header.checksum) == Checksum(header)) {
      return;
    }
    const std::string_view kind = KindOfBytes({head, got});
    if (!kind.empty()) {
      reader_.Torn(0, "not a tar but " + std::string(kind),
                   "unpack, fetch or pack the shard again");
    }
  }

  // The first byte from `offset` on that is not zero, in whole blocks; the file's size where there
  // is none. No end marker is so long that all of a huge hole need be read.
  uint64_t EndOfZeros(uint64_t offset) {
    const uint64_t far_enough = offset + 2 * kLongestRecord;
    std::array<char, kTarBlock> block;
    while (offset < file_.size() && offset < far_enough) {
      const size_t got = file_.ReadSome(block.data(), block.size(), offset);
      if (std::any_of(block.data(), block.data() + got, [](char c) { return c != 0; })) break;
      offset += got;
    }
    return offset;
  }

  // Writers fill up to a whole record: GNU tar and Python to 20 blocks, others to a power of two.
  // More zeros than that are a hole where members were.
  void CheckEndMarker(uint64_t from, uint64_t to) const {
    const uint64_t length = to - start_;
    const auto fits = [&](uint64_t record) {
      return length % record == 0 && to - from < record + 2 * kTarBlock;
    };
    for (uint64_t blocks = 1; blocks <= 20; ++blocks) {
      if (fits(blocks * kTarBlock)) return;
    }
    for (uint64_t record = kTarBlock; record <= kLongestRecord; record *= 2) {
      if (fits(record)) return;
    }
    if (to == file_.size() && to - from < 3 * kTarBlock) return;  // some end in half a block
    const bool tail = to == file_.size();
    reader_.Torn(from,
                 std::to_string(to - from) + (tail ? "" : " or more") +
                     " zero bytes, more than an end marker has: a copy that never finished",
                 tail ? "copy or pack the shard again; if this is all there was, cut it: truncate "
                        "-s " +
                            std::to_string(from + 2 * kTarBlock) + " FILE"
                      : "copy or pack the shard again");
  }

  // The byte after the member whose header is at `offset`.
  uint64_t Member(uint64_t offset, const Header& header) {
    if (Number(header.checksum) != Checksum(header)) {
      reader_.Torn(offset, start_ == offset && offset > 0
                               ? "neither a tar header nor the end of the file"
                               : "not a tar header (bad checksum)");
    }
    const bool extension = header.type == 'L' || header.type == 'K' || header.type == 'x' ||
                           header.type == 'g' || header.type == 'X';
    const std::string name = next_.name.empty() || extension ? NameOf(header) : next_.name;
    const bool link = header.type == '1' || header.type == '2';
    std::optional<uint64_t> size = Number(header.size);
    if (!extension && next_.size) size = next_.size;
    if (link) size = 0;  // some writers give the target's size; no contents follow
    if (!size) reader_.Torn(offset, "a size that is no number in the header");
    const uint64_t contents = offset + kTarBlock;
    const uint64_t end = contents + *size + TarPadding(*size);
    if (*size > file_.size() || end > file_.size()) {
      reader_.End(offset, "the archive ends inside the contents of '" + name + "'",
                  extension ? "" : name);
    }
    if (extension) {
      Extend(offset, header.type, *size);
      return end;
    }
    RefuseUnreadable(offset, header.type, name);
    if (header.type == '0' || header.type == '\0' || header.type == '7') {
      visit_({.name = name, .offset = contents, .size = *size, .target = {}});
    } else if (link) {
      const LinkKind kind = header.type == '1' ? LinkKind::kHard : LinkKind::kSymbolic;
      visit_({.name = name,
              .offset = offset,
              .link = kind,
              .target = next_.link.empty() ? std::string(Field(header.link)) : next_.link});
    }
    next_ = {};
    return end;
  }

  void Extend(uint64_t offset, char type, uint64_t size) {
    constexpr uint64_t kMaxExtension = 1 << 20;
    if (size > kMaxExtension) reader_.Torn(offset, "an extension record of more than 1 MB");
    const std::string text = file_.Read(offset + kTarBlock, size);
    if (type == 'L') next_.name = text.c_str();  // up to its terminating zero
    if (type == 'K') next_.link = text.c_str();
    if (type == 'L' || type == 'K') return;
    TarExtension for_all;  // a global header names no member
    if (!ParsePax(text, type == 'g' ? for_all : next_)) {
      reader_.Torn(offset, "a malformed record in an extended (pax) header");
    }
  }

  void RefuseUnreadable(uint64_t offset, char type, const std::string& name) const {
    if (type == 'S' || next_.sparse) {
      reader_.Torn(offset, "'" + name + "' is stored as a sparse file",
                   "pack the shard again without GNU tar's --sparse");
    }
    if (type == 'M') {
      reader_.Torn(offset, "'" + name + "' began in another volume of the archive",
                   "pack the shard again as one archive");
    }
  }

  static constexpr uint64_t kLongestRecord = 1 << 20;
  const PositionedFile& file_;
  const std::function<void(const TarMember&)>& visit_;
  HeaderReader reader_;
  TarExtension next_;
  uint64_t start_ = 0;  // of the archive, where several lie behind one another
};

}  // namespace

void ScanTar(const PositionedFile& file, const std::function<void(const TarMember&)>& visit) {
  Scan(file, visit).Run();
}

std::string TarHeader(std::string_view name, uint64_t size) {
  std::string out;
  if (name.size() > sizeof(Header::name)) {
    const std::string text = std::string(name) + '\0';
    Header header{};
    std::memcpy(&header, TarHeader("././@LongLink", text.size()).data(), kTarBlock);
    header.type = 'L';
    std::snprintf(header.checksum, sizeof header.checksum, "%06o",
                  static_cast<unsigned>(Checksum(header)));
    header.checksum[7] = ' ';
    out.assign(reinterpret_cast<const char*>(&header), kTarBlock);
    out += text;
    out.append(TarPadding(text.size()), '\0');
  }
  Header header{};
  std::memcpy(header.name, name.data(), std::min(name.size(), sizeof header.name));
  std::memcpy(header.mode, "0000644", 8);
  std::memcpy(header.uid, "0000000", 8);
  std::memcpy(header.gid, "0000000", 8);
  CONTRAIL_ASSERT(size < (uint64_t{1} << 33));
  std::snprintf(header.size, sizeof header.size, "%011llo", static_cast<unsigned long long>(size));
  std::memcpy(header.mtime, "00000000000", 12);
  header.type = '0';
  std::memcpy(header.magic, "ustar", 6);
  std::memcpy(header.version, "00", 2);
  std::snprintf(header.checksum, sizeof header.checksum, "%06o",
                static_cast<unsigned>(Checksum(header)));
  header.checksum[7] = ' ';
  out.append(reinterpret_cast<const char*>(&header), kTarBlock);
  return out;
}

}  // namespace contrail::data
