#include "data/shard_index.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <map>

#include "common/error.h"
#include "common/hash.h"
#include "common/paths.h"
#include "common/strings.h"
#include "data/index_text.h"

namespace contrail::data {
namespace {

constexpr std::string_view kMagic = "contrail-index 2";
constexpr size_t kProbe = 4096;    // bytes compared at either end of the archive
constexpr size_t kMaxHead = 1024;  // the first line is shorter

std::string ProbeCrc(const PositionedFile& tar, uint64_t offset) {
  char buffer[kProbe];
  const size_t got = tar.ReadSome(buffer, kProbe, offset);
  return CrcText(Crc32c(0, buffer, got));
}

// A stamp is of a file that nobody has opened.
std::string HeadProbe(const FileStamp&) { return "?"; }
std::string TailProbe(const FileStamp&) { return "?"; }

std::string HeadProbe(const PositionedFile& tar) { return ProbeCrc(tar, 0); }
std::string TailProbe(const PositionedFile& tar) {
  return ProbeCrc(tar, tar.size() > kProbe ? tar.size() - kProbe : 0);
}

bool ParseU64(std::string_view text, uint64_t& value) {
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  return code == std::errc() && end == text.data() + text.size();
}

// Up to `most` bytes of a file, opened once; "" where it is not there or cannot be read.
std::string Beginning(const std::string& path, size_t most) {
  try {
    const PositionedFile file(path);
    std::string text(std::min<uint64_t>(most, file.size()), '\0');
    text.resize(file.ReadSome(text.data(), text.size(), 0));
    return text;
  } catch (const IoError& error) {
    if (OutOfDescriptors(error)) throw;  // a scan of the archive would only hide it
    return "";
  } catch (const Error&) {
    return "";
  }
}

std::string SidecarText(const PositionedFile& tar, const std::string& index_dir, size_t most) {
  std::string text;
  if (!index_dir.empty()) text = Beginning(IndexPath(tar.path(), index_dir), most);
  return text.empty() ? Beginning(IndexPath(tar.path()), most) : text;
}

// The first line where it is whole and describes `tar`, a PositionedFile or a FileStamp.
template <typename Archive>
std::optional<IndexHead> CheckHead(std::string_view text, const Archive& tar) {
  const size_t newline = text.find('\n');
  if (newline == std::string_view::npos || !text.starts_with(kMagic)) return std::nullopt;
  const std::string_view line = text.substr(0, newline);
  std::map<std::string, std::string> fields;
  for (const std::string& field : Split(line.substr(kMagic.size()), ' ')) {
    const size_t equals = field.find('=');
    if (equals != std::string::npos) fields[field.substr(0, equals)] = field.substr(equals + 1);
  }
  if (fields["bytes"] != std::to_string(tar.size())) return std::nullopt;
  if (fields["mtime_ns"] != std::to_string(tar.mtime_ns()) &&
      (fields["head"] != HeadProbe(tar) || fields["tail"] != TailProbe(tar))) {
    return std::nullopt;
  }
  IndexHead head;
  if (!ParseU64(fields["samples"], head.samples) || !ParseU64(fields["captions"], head.captions) ||
      !ParseLeftOut(fields["left_out"], head.left_out)) {
    return std::nullopt;
  }
  // Every sample has a header of its own in the archive.
  if (head.samples > tar.size() / kTarBlock || head.captions > head.samples) return std::nullopt;
  return head;
}

// "image_offset image_size caption_offset caption_size label_offset label_size json_offset
// json_size key"; false where it is something else, or lies outside an archive of `bytes` bytes.
bool ParseSample(std::string_view line, uint64_t bytes, SampleEntry& entry) {
  Extent* const extents[] = {&entry.image, &entry.caption, &entry.label, &entry.json};
  for (Extent* extent : extents) {
    for (uint64_t* value : {&extent->offset, &extent->size}) {
      const size_t space = line.find(' ');
      if (space == std::string_view::npos || !ParseU64(line.substr(0, space), *value)) return false;
      line.remove_prefix(space + 1);
    }
    if (extent->offset > bytes || extent->size > bytes - extent->offset) return false;
  }
  if (!entry.image.present()) return false;
  entry.key = UnescapeField(line);
  return true;
}

}  // namespace

std::string IndexPath(const std::string& tar_path, const std::string& index_dir) {
  if (index_dir.empty()) return tar_path + ".index";
  return index_dir + std::filesystem::absolute(tar_path).lexically_normal().string() + ".index";
}

std::optional<IndexHead> HeadOfLine(std::string_view line, const FileStamp& stamp) {
  return CheckHead(std::string(line) + "\n", stamp);
}

std::optional<IndexHead> ReadIndexHead(const PositionedFile& tar, const std::string& index_dir) {
  return CheckHead(SidecarText(tar, index_dir, kMaxHead), tar);
}

std::optional<ShardIndex> ReadIndex(const PositionedFile& tar, const std::string& index_dir) {
  const std::string text = SidecarText(tar, index_dir, std::numeric_limits<size_t>::max());
  const std::optional<IndexHead> head = CheckHead(text, tar);
  if (!head) return std::nullopt;
  const std::optional<std::string_view> sealed = BodyOf(text);
  if (!sealed) return std::nullopt;
  const std::string_view body = *sealed;
  ShardIndex index;
  index.left_out = head->left_out;
  size_t at = body.find('\n') + 1;
  while (at < body.size()) {
    const size_t newline = std::min(body.find('\n', at), body.size());
    SampleEntry entry;
    if (!ParseSample(body.substr(at, newline - at), tar.size(), entry)) return std::nullopt;
    index.samples.push_back(entry);
    at = newline + 1;
  }
  index.samples.shrink_to_fit();
  if (index.samples.size() != head->samples) return std::nullopt;
  return index;
}

IndexHead ShardIndex::Head() const {
  const auto captions = std::count_if(samples.begin(), samples.end(),
                                      [](const SampleEntry& e) { return e.caption.present(); });
  return {samples.size(), static_cast<uint64_t>(captions), left_out};
}

std::string IndexText(const PositionedFile& tar, const ShardIndex& index) {
  std::string text(kMagic);
  text += " bytes=" + std::to_string(tar.size()) + " mtime_ns=" + std::to_string(tar.mtime_ns()) +
          " head=" + HeadProbe(tar) + " tail=" + TailProbe(tar) +
          " samples=" + std::to_string(index.samples.size()) +
          " captions=" + std::to_string(index.Head().captions) +
          " left_out=" + FieldOf(index.left_out) + "\n";
  for (const SampleEntry& entry : index.samples) {
    for (const Extent& extent : {entry.image, entry.caption, entry.label, entry.json}) {
      text += std::to_string(extent.offset) + " " + std::to_string(extent.size) + " ";
    }
    text += EscapeField(entry.key, "\n") + "\n";
  }
  return Sealed(std::move(text));
}

void WriteIndex(FileSystem& files, const PositionedFile& tar, const ShardIndex& index,
                const std::string& index_dir) {
  const std::string path = IndexPath(tar.path(), index_dir);
  if (!index_dir.empty()) files.MakeDirs(FolderOf(path));
  files.WriteAtomically(path, IndexText(tar, index));
}

}  // namespace contrail::data
