#include "data/tar.h"

#include <array>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <optional>

#include "common/error.h"

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
    for (size_t i = n - 8; i < n; ++i) value = value << 8 | static_cast<unsigned char>(field[i]);
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

// What extension records say about the member after them.
struct Extension {
  std::string name;
  std::optional<uint64_t> size;
};

// pax: "<length> <key>=<value>\n", the length counting the whole record.
void ParsePax(std::string_view text, Extension& next) {
  while (!text.empty()) {
    size_t length = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), length);
    if (code != std::errc() || length < 4 || length > text.size() || *end != ' ') return;
    std::string_view record = text.substr(0, length - 1);
    record.remove_prefix(static_cast<size_t>(end - text.data()) + 1);
    text.remove_prefix(length);
    const size_t equals = record.find('=');
    if (equals == std::string_view::npos) continue;
    const std::string_view key = record.substr(0, equals);
    const std::string_view value = record.substr(equals + 1);
    if (key == "path") next.name = value;
    if (key == "size") {
      uint64_t size = 0;
      std::from_chars(value.data(), value.data() + value.size(), size);
      next.size = size;
    }
  }
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

  [[noreturn]] void Torn(uint64_t offset, const std::string& what) const {
    throw UserError("E-DATA-TAR", file_.path() + " at byte " + std::to_string(offset), what,
                    "copy or pack the shard again");
  }
  // It just ends, in the contents of `member` where that is known.
  [[noreturn]] void End(uint64_t offset, const std::string& what, const std::string& member = "",
                        const std::string& fix = "copy or pack the shard again") const {
    throw TornTail(
        UserError("E-DATA-TAR", file_.path() + " at byte " + std::to_string(offset), what, fix),
        member);
  }

 private:
  const PositionedFile& file_;
  std::array<char, 16384> buffer_;
  uint64_t start_ = 0;
  size_t filled_ = 0;
};

}  // namespace

void ScanTar(const PositionedFile& file, const std::function<void(const TarMember&)>& visit) {
  constexpr uint64_t kMaxExtension = 1 << 20;
  HeaderReader reader(file);
  Extension next;
  uint64_t offset = 0;
  Header header;
  while (reader.ReadAt(offset, header)) {
    if (AllZero(header)) return;
    const std::optional<uint64_t> sum = Number(header.checksum);
    if (sum != Checksum(header)) reader.Torn(offset, "not a tar header (bad checksum)");
    std::optional<uint64_t> size = Number(header.size);
    const bool extension = header.type == 'L' || header.type == 'K' || header.type == 'x' ||
                           header.type == 'g' || header.type == 'X';
    if (!extension && next.size) size = next.size;
    if (!size) reader.Torn(offset, "a size that is no number in the header");
    const uint64_t contents = offset + kTarBlock;
    const uint64_t end = contents + *size + TarPadding(*size);
    if (*size > file.size() || end > file.size()) {
      const std::string name = next.name.empty() ? NameOf(header) : next.name;
      reader.End(offset, "the archive ends inside the contents of '" + name + "'",
                 extension ? "" : name);
    }
    if (extension) {
      if (*size > kMaxExtension) reader.Torn(offset, "an extension record of more than 1 MB");
      const std::string text = file.Read(contents, *size);
      if (header.type == 'L') next.name = text.c_str();  // up to its terminating zero
      if (header.type == 'x' || header.type == 'X') ParsePax(text, next);
    } else {
      if (header.type == '0' || header.type == '\0' || header.type == '7') {
        visit({next.name.empty() ? NameOf(header) : next.name, contents, *size});
      }
      next = {};
    }
    offset = end;
  }
  // Python's tarfile and webdataset always write the marker: without it a copy stopped here.
  reader.End(offset, "the archive ends without its end marker", "",
             "copy or pack the shard again; if this is all there was, append 1024 zero bytes");
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
