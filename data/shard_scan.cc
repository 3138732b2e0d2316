#include <algorithm>
#include <cctype>
#include <utility>

#include "common/error.h"
#include "data/shard_index.h"

namespace contrail::data {
namespace {

// "dir/000123.seg.png" -> {"dir/000123", "seg.png"}; an empty key where there is none.
std::pair<std::string, std::string> SplitName(const std::string& name) {
  const size_t slash = name.rfind('/');
  const size_t base = slash == std::string::npos ? 0 : slash + 1;
  const size_t dot = name.find('.', base);
  if (dot == std::string::npos || dot == base) return {};
  std::string extension = name.substr(dot + 1);
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  std::string key = name.substr(0, dot);
  if (key.starts_with("./")) key.erase(0, 2);
  return {std::move(key), std::move(extension)};
}

Extent* SlotFor(SampleEntry& entry, const std::string& extension) {
  if (extension == "jpg" || extension == "jpeg" || extension == "png") return &entry.image;
  if (extension == "txt") return &entry.caption;
  if (extension == "cls") return &entry.label;
  return nullptr;
}

}  // namespace

ShardIndex ScanShard(const PositionedFile& tar, const std::function<void()>& looked) {
  ShardIndex index;
  SampleEntry current;
  const auto finish = [&] {
    if (current.image.present()) {
      index.samples.push_back(current);
    } else if (!current.key.empty()) {
      ++index.skipped;
    }
    current = {};
  };
  ScanTar(tar, [&](const TarMember& member) {
    if (looked) looked();
    auto [key, extension] = SplitName(member.name);
    if (key.empty() || (key.starts_with("__") && key.ends_with("__"))) return;
    if (key != current.key) {
      finish();
      current.key = std::move(key);
    }
    Extent* slot = SlotFor(current, extension);
    if (slot == nullptr) return;
    if (slot->present()) {
      throw UserError(
          "E-DATA-TAR", tar.path() + " at byte " + std::to_string(member.offset),
          "sample '" + current.key + "' has a second ." + extension + " (or a second picture)",
          "keys must be unique within a shard: pack it again");
    }
    *slot = {member.offset, member.size};
  });
  finish();
  return index;
}

}  // namespace contrail::data
