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

bool IsSampleKey(const std::string& key) {
  return !key.empty() && !(key.starts_with("__") && key.ends_with("__"));
}

}  // namespace

std::string TornNote(const ShardIndex& index) {
  return "; training goes on with its " + std::to_string(index.samples.size() - 1) +
         " whole samples, and replaces the torn one";
}

ShardIndex ScanShard(const PositionedFile& tar, AtTear at_tear) {
  ShardIndex index;
  SampleEntry current;
  bool is_tar = false;  // a header was whole
  const auto finish = [&] {
    if (current.image.present()) {
      index.samples.push_back(std::move(current));
    } else if (!current.key.empty()) {
      ++index.skipped;
    }
    current = {};
  };
  const auto visit = [&](const TarMember& member) {
    is_tar = true;
    auto [key, extension] = SplitName(member.name);
    if (!IsSampleKey(key)) return;
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
  };
  try {
    ScanTar(tar, visit);
  } catch (const TornTail& tear) {
    is_tar = is_tar || !tear.member().empty();
    if (at_tear == AtTear::kThrow || !is_tar) throw;
    index.torn = tear.what();
    // What the tear is in is another sample where its name says so; else the last one may lack a
    // member, and nobody can tell.
    const std::string key = SplitName(tear.member()).first;
    if (IsSampleKey(key) && key != current.key) {
      finish();
      current.key = key;
    }
    if (current.key.empty()) current.key = "?";
    current.image = {tar.size(), 1};
  }
  finish();
  return index;
}

}  // namespace contrail::data
