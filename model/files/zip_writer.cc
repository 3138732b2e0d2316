#include "model/files/zip_writer.h"

#include <zlib.h>

#include "common/error.h"

namespace contrail::model::files {
namespace {

constexpr uint64_t kAlignment = 64;

// Little-endian fields.
class Record {
 public:
  Record& U16(uint64_t value) { return Number(value, 2); }
  Record& U32(uint64_t value) { return Number(value, 4); }
  Record& Text(std::string_view text) {
    bytes_.append(text);
    return *this;
  }
  std::string& bytes() { return bytes_; }

 private:
  Record& Number(uint64_t value, int size) {
    for (int i = 0; i < size; ++i) bytes_.push_back(static_cast<char>(value >> (8 * i) & 0xff));
    return *this;
  }
  std::string bytes_;
};

// What both headers of an entry have in common: version, flags, method "stored", a fixed date
// (1 January 1980: equal weights make equal files), checksum, sizes, length of the name.
Record& Common(Record& record, uint32_t crc32, uint32_t bytes, size_t name) {
  constexpr uint64_t kVersion = 20, kDate = 1 << 5 | 1;
  return record.U16(kVersion).U16(0).U16(0).U16(0).U16(kDate).U32(crc32).U32(bytes).U32(bytes).U16(
      name);
}

}  // namespace

uint32_t ZipWriter::Narrow(uint64_t value) const {
  if (value < UINT32_MAX) return static_cast<uint32_t>(value);
  throw UserError("E-EXPORT-SIZE", "", "the model is too large for one .pt archive",
                  "export it as .safetensors");
}

void ZipWriter::Add(const std::string& name, std::string_view bytes) {
  const auto crc =
      static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
  Entry entry{name, Narrow(file_->size()), Narrow(bytes.size()), crc};
  constexpr uint64_t kHeaderBytes = 30, kExtraHeader = 4;
  const uint64_t begin = file_->size() + kHeaderBytes + name.size() + kExtraHeader;
  const uint64_t padding = (kAlignment - begin % kAlignment) % kAlignment;
  Record header;
  header.U32(0x04034b50);
  Common(header, crc, entry.bytes, name.size()).U16(kExtraHeader + padding).Text(name);
  header.Text("FB").U16(padding).Text(std::string(padding, 'Z'));  // torch's own kind of padding
  file_->Append(header.bytes());
  file_->Append(bytes);
  entries_.push_back(std::move(entry));
}

void ZipWriter::Finish() {
  const uint32_t begin = Narrow(file_->size());
  for (const Entry& entry : entries_) {
    Record record;
    record.U32(0x02014b50).U16(0);
    Common(record, entry.crc32, entry.bytes, entry.name.size());
    record.U16(0).U16(0).U16(0).U16(0).U32(0).U32(entry.offset).Text(entry.name);
    file_->Append(record.bytes());
  }
  Record end;
  end.U32(0x06054b50).U16(0).U16(0).U16(entries_.size()).U16(entries_.size());
  end.U32(file_->size() - begin).U32(begin).U16(0);
  Narrow(file_->size());
  CONTRAIL_ASSERT(entries_.size() < UINT16_MAX);
  file_->Append(end.bytes());
}

}  // namespace contrail::model::files
